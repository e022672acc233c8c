"""What a training mixture is made of, and what is done to it: the stages of `palmetto corpus build`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from palmetto.errors import nearest
from palmetto.recipe.languages import CODES
from palmetto.recipe.section import NonNegative, Positive, Rate, Section, Share, impossible

Names = Annotated[tuple[str, ...], Field(strict=False)]
File = Annotated[str, Field(min_length=1)]
"""A path or an address: an empty one would be the working directory."""
Files = Annotated[tuple[File, ...], Field(strict=False, min_length=1)]
AtLeastOne = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Part = Annotated[float, Field(ge=0, le=1)]
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


WEIGHTS: dict[str, dict[str, float]] = {
    "palm": {"conversations": 50, "web": 27, "books": 13, "code": 5, "wikipedia": 4, "news": 1},
    "glam": {"web": 42, "conversations": 28, "books": 20, "wikipedia": 6, "forums": 2, "news": 2},
}
"""Shares of tokens in percent: PaLM (arXiv 2204.02311, table 2) and GLaM (arXiv 2112.06905, table 3)."""


Rules = Literal["none", "gopher", "c4", "both"]


_NO_LANGUAGE = "no language; expected a code of ISO 639-1, such as en, de or ko"


class Source(Section):
    """One part of the mixture."""

    paths: Files
    """Files, folders, patterns (*, **) or addresses that fsspec opens (gs://, s3://); relative ones lie in `root`."""
    weight: Rate | None = None
    """Its part of the mixture's tokens, over the sum of all weights; null: the preset's for its name, without one 1."""
    kind: Literal["prose", "dialogue", "code"] = "prose"
    """Prose is judged by the rules for running text; dialogue and code are not."""
    text: AtLeastOne = ("text",)
    """The fields of .jsonl, .csv, .tsv and .parquet that hold the text; of several, a line each. Of a table whose first
    row is no header, numbers of columns: ["1"] is the first."""
    url: str | None = "url"
    """The field that holds the address, if there is one."""
    markup: Literal["html", "wikitext", "none"] | None = None
    """What the text is written in; null: by the kind of file."""
    language: str | None = None
    """Its ISO 639-1 code, where it is not to be identified."""
    licence: str | None = None
    """Of everything in it, where records and repositories do not say."""
    quality: bool = False
    """Whether it is sampled by the classifier's score."""
    filters: Rules | None = None
    """Its own rules for running text; null: those of `filters`. C4's suit web pages, a paragraph a line: of books whose
    lines are wrapped they would cut most."""


class Filters(Section):
    """Rules for running text, after Gopher (arXiv 2112.11446, appendix A.1) and C4 (arXiv 1910.10683, section 2.2);
    thresholds in words are for languages that put spaces between words, and have counterparts in characters."""

    minimum_words: Positive = 50
    maximum_words: Positive = 100_000
    rules: Rules = "both"
    bad_words: str | None = None
    """A file of words, one a line: a text with one of them is dropped, as C4's authors did; none comes with this."""


class Quality(Section):
    """Sampling by the score of a classifier (GLaM, arXiv 2112.06905, section 3)."""

    classifier: str
    """The file that `palmetto corpus quality train` has written."""
    alpha: Rate = 9.0
    """Of the Pareto distribution: a document stays if a draw from it is above 1 - score."""


class Duplicates(Section):
    """What is taken for one and the same text. Of several documents the longest stays, then that of the smallest id."""

    exact: bool = True
    near: Part | None = 0.8
    """Jaccard similarity of 5-grams from which documents are near duplicates; null: they stay."""
    permutations: Annotated[int, Field(ge=1, le=2**16)] = 128
    code: Part | None = 0.9
    """Levenshtein similarity from which files of code are near duplicates; null: they stay."""
    span: NonNegative = 0
    """Words (characters of unspaced scripts) from which a passage that occurs before is cut out; 0: none is."""


class Contamination(Section):
    """Overlap with evaluation sets (PaLM, arXiv 2204.02311, section 8): 8-grams."""

    evaluation: Files
    """Folders and files of examples."""
    action: Literal["flag", "drop"] = "drop"
    """What becomes of a training document that holds a contaminated example."""


class Mixture(Section):
    """How much is taken of each source. No document is taken twice."""

    preset: Literal["palm", "glam"] | None = None
    """Weights of a paper's sources, by name (WEIGHTS)."""
    tokens: Positive | None = None
    """The budget; null: the largest that fits."""
    short: Literal["refuse", "redistribute"] = "refuse"
    """What if a source has less than its part: refuse, or take all of it and the rest from the others."""


class Build(Section):
    """A mixture and what is done to it."""

    root: File | None = None
    """The folder that relative paths lie in; null: the working directory."""
    sources: Annotated[dict[SourceName, Source], Field(min_length=1)]
    failures: Share = 0.01
    """Share of a source's documents, files or bytes that may be unreadable before the build stops."""
    languages: Names | None = None
    """Those kept; null: all."""
    personal_data: Literal["mask", "keep"] = "mask"
    copyleft: Literal["drop", "keep"] = "drop"
    """Code under a licence that asks for the same licence."""
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
                raise impossible(
                    f"corpus.build.sources.{name}.language",
                    source.language,
                    _NO_LANGUAGE + nearest(source.language, CODES),
                )
        for language in self.languages or ():
            if language not in CODES and language not in stated:
                raise impossible("corpus.build.languages", language, _NO_LANGUAGE + nearest(language, CODES))
        scored = [name for name, source in self.sources.items() if source.quality]
        if scored and self.quality is None:
            raise impossible(f"corpus.build.sources.{scored[0]}.quality", True, "needs corpus.build.quality.classifier"
                             ", which `palmetto corpus quality train` makes")  # fmt: skip
        preset = WEIGHTS.get(self.mixture.preset or "")
        for name, source in self.sources.items():
            if preset is not None and source.weight is None and name not in preset:
                raise impossible(f"corpus.build.sources.{name}.weight", None, f"the preset {self.mixture.preset} has "
                                 f"no such source{nearest(name, preset)}; it has {', '.join(preset)}")  # fmt: skip
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Of every source."""
        preset = WEIGHTS.get(self.mixture.preset or "", {})
        return {
            name: source.weight if source.weight is not None else preset.get(name, 1.0)
            for name, source in self.sources.items()
        }


class Corpus(Section):
    """Where the text comes from and how it is divided."""

    source: File | None = None
    """The short way: a file or folder, or `python`: the text of the running Python's installation."""
    build: Build | None = None
    """The long way: a mixture of several sources, cleaned; where a source is given, that takes its place."""
    validation_share: Share = 0.02
    """Share of the documents held out, chosen by the hash of their content."""
    section_bytes: Positive = 65536
    """Longer documents are cut at a line break into sections of about this many bytes, each a document."""
