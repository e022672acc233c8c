"""The sources of a corpus, and the settings of the stages that build it (`palmetto corpus build`)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from palmetto.errors import nearest
from palmetto.recipe.languages import CODES
from palmetto.recipe.section import NonNegative, Positive, Rate, Section, Share, impossible

Names = Annotated[tuple[str, ...], Field(strict=False)]
File = Annotated[str, Field(min_length=1)]
"""A path or an address. An empty one is refused, since it would mean the working directory."""
Files = Annotated[tuple[File, ...], Field(strict=False, min_length=1)]
AtLeastOne = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Part = Annotated[float, Field(ge=0, le=1)]
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


WEIGHTS: dict[str, dict[str, float]] = {
    "palm": {"conversations": 50, "web": 27, "books": 13, "code": 5, "wikipedia": 4, "news": 1},
    "glam": {"web": 42, "conversations": 28, "books": 20, "wikipedia": 6, "forums": 2, "news": 2},
}
"""Each source's share of the tokens in percent: PaLM (arXiv 2204.02311, table 2), GLaM (arXiv 2112.06905, table 3)."""


Rules = Literal["none", "gopher", "c4", "both"]


_NO_LANGUAGE = "no language; expected a code of ISO 639-1, such as en, de or ko"


class Source(Section):
    """One source of the mixture."""

    paths: Files
    """Files, folders, patterns (*, **) or addresses for fsspec (gs://, s3://). Relative paths start at `root`."""
    weight: Rate | None = None
    """The source's share of the tokens, relative to the sum of all weights. Null means the preset's weight, or 1."""
    kind: Literal["prose", "dialogue", "code"] = "prose"
    """The kind of text. The rules for running text apply to prose only."""
    text: AtLeastOne = ("text",)
    """The fields of .jsonl, .csv, .tsv and .parquet records that hold the text. Several are joined, one a line. In a
    table without a header they are column numbers: ["1"] is the first column."""
    url: str | None = "url"
    """The field that holds the document's address, if there is one."""
    markup: Literal["html", "wikitext", "none"] | None = None
    """The markup of the text; null means that the file type decides."""
    language: str | None = None
    """The ISO 639-1 code of all documents; null means that each document's language is identified."""
    licence: str | None = None
    """The licence of documents for which neither the record nor the repository states one."""
    quality: bool = False
    """True if documents are sampled by the classifier's score."""
    filters: Rules | None = None
    """The source's own rules for running text; null means those of `Build.filters`. C4's rules are for web pages with a
    paragraph on each line. They would remove most of a book whose lines are wrapped."""


class Filters(Section):
    """Rules for running text, from Gopher (arXiv 2112.11446, appendix A.1) and C4 (arXiv 1910.10683, section 2.2).

    Thresholds in words are for languages with spaces between words; for other languages characters are counted.
    """

    minimum_words: Positive = 50
    maximum_words: Positive = 100_000
    rules: Rules = "both"
    bad_words: str | None = None
    """A file of words, one a line. A document that contains one of them is dropped, as in C4. No list is shipped."""


class Quality(Section):
    """Sampling of documents by a classifier's score (GLaM, arXiv 2112.06905, section 3)."""

    classifier: str
    """The file that `palmetto corpus quality train` has written."""
    alpha: Rate = 9.0
    """The shape of the Pareto distribution. A document stays if a draw from it is above 1 - score."""


class Duplicates(Section):
    """Removal of duplicates. The longest of several duplicates stays; of equally long ones, that of the smallest id."""

    exact: bool = True
    """True if exact duplicates are removed."""
    near: Part | None = 0.8
    """The Jaccard similarity of 5-grams from which documents are near duplicates; null keeps near duplicates."""
    permutations: Annotated[int, Field(ge=1, le=2**16)] = 128
    """The number of hash functions of MinHash."""
    code: Part | None = 0.9
    """The Levenshtein similarity from which files of code are near duplicates; null keeps them."""
    span: NonNegative = 0
    """The length, in words (characters of unspaced scripts), from which a repeated passage is cut out; 0 cuts none."""


class Contamination(Section):
    """Detection of evaluation sets in the text by common 8-grams (PaLM, arXiv 2204.02311, section 8)."""

    evaluation: Files
    """Folders and files of evaluation examples."""
    action: Literal["flag", "drop"] = "drop"
    """The treatment of a training document that holds a contaminated example."""


class Mixture(Section):
    """The tokens that are taken of each source. No document is taken twice."""

    preset: Literal["palm", "glam"] | None = None
    """The paper whose weights are used for sources of the same name (`WEIGHTS`)."""
    tokens: Positive | None = None
    """The number of tokens in all; null means the most that the sources can fill."""
    short: Literal["refuse", "redistribute"] = "refuse"
    """The action if a source is too small for its share: the build stops, or the other sources fill the rest."""


class Build(Section):
    """A mixture of several sources, and the stages that clean it."""

    root: File | None = None
    """The folder where relative paths start; null means the working directory."""
    sources: Annotated[dict[SourceName, Source], Field(min_length=1)]
    failures: Share = 0.01
    """The share of a source's documents, files or bytes that may be unreadable before the build stops."""
    languages: Names | None = None
    """The ISO 639-1 codes of the languages to keep; null keeps all."""
    personal_data: Literal["mask", "keep"] = "mask"
    copyleft: Literal["drop", "keep"] = "drop"
    """The treatment of code under a copyleft licence."""
    filters: Filters = Filters()
    quality: Quality | None = None
    duplicates: Duplicates = Duplicates()
    contamination: Contamination | None = None
    mixture: Mixture = Mixture()

    @model_validator(mode="after")
    def _check(self) -> "Build":
        stated = {source.language for source in self.sources.values()}
        for name, source in self.sources.items():
            if source.kind != "code" and source.language is not None and source.language not in CODES:
                key = f"corpus.build.sources.{name}.language"
                raise impossible(key, source.language, _NO_LANGUAGE + nearest(source.language, CODES))
        for language in self.languages or ():
            if language not in CODES and language not in stated:
                raise impossible("corpus.build.languages", language, _NO_LANGUAGE + nearest(language, CODES))
        scored = [name for name, source in self.sources.items() if source.quality]
        if scored and self.quality is None:
            needs = "needs corpus.build.quality.classifier, which `palmetto corpus quality train` makes"
            raise impossible(f"corpus.build.sources.{scored[0]}.quality", True, needs)
        preset = WEIGHTS.get(self.mixture.preset or "")
        for name, source in self.sources.items():
            if preset is not None and source.weight is None and name not in preset:
                unknown = f"no such source{nearest(name, preset)}; it has {', '.join(preset)}"
                key = f"corpus.build.sources.{name}.weight"
                raise impossible(key, None, f"the preset {self.mixture.preset} has {unknown}")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every source, by name."""
        preset = WEIGHTS.get(self.mixture.preset or "", {})
        return {
            name: source.weight if source.weight is not None else preset.get(name, 1.0)
            for name, source in self.sources.items()
        }


class Corpus(Section):
    """The text of a run, and how it is divided into documents."""

    source: File | None = None
    """A file or folder of text that is used as it is, or `python` for the text of the running Python's installation."""
    build: Build | None = None
    """A cleaned mixture of several sources. It is ignored if `source` is given."""
    validation_share: Share = 0.02
    """The share of the documents that is held out, chosen by the hash of their content."""
    section_bytes: Positive = 65536
    """A longer document is cut at line breaks into sections of about this many bytes, each a document."""
