"""Builds a corpus: runs every stage in order, from the sources to the weighted and documented documents.

DIR/documents/SOURCE/…parquet    text, source, language, address, licence, quality, tokens, ids
DIR/vocabulary.model             trained on a sample of the documents
DIR/contamination/               a mark for every evaluation example
DIR/manifest.json                what was done, and every file with its digest; written last, when the rest is whole
DIR/stages/                      the stages' notes, from which a later build continues
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from palmetto.corpus import directory, inventory, separation, writing
from palmetto.corpus.contamination import Contamination, other_files, read_examples
from palmetto.corpus.contamination import stage as contamination
from palmetto.corpus.documents import DOCUMENTS, MANIFEST, VOCABULARY
from palmetto.corpus.duplicates.exact import ExactDuplicates
from palmetto.corpus.duplicates.near import NearDuplicates
from palmetto.corpus.duplicates.spans import RepeatedSpans
from palmetto.corpus.engine import Engine
from palmetto.corpus.extras import need
from palmetto.corpus.measuring import Tokenizer, Tokens, sample
from palmetto.corpus.mixture import PARTS, Mixture
from palmetto.corpus.quality.sampling import Quality
from palmetto.corpus.reading.extraction import extract
from palmetto.corpus.rules.filters import Filters
from palmetto.corpus.rules.language import Language
from palmetto.corpus.rules.licences.stage import Licences
from palmetto.corpus.rules.personal_data import PersonalData
from palmetto.corpus.stage import Say, Stage, digest_of, run
from palmetto.files import locked, read_json, sha256, write_bytes, write_json
from palmetto.recipe.corpus import Build

_FORMAT = 1
_SHOWN = 5


Watch = Callable[[Engine, str], Engine]
"""Wraps an engine so that it shows the progress of the stage with the given name."""


def build(recipe: Build, tokenizer: Tokenizer, out: Path, engine: Engine, say: Say, watch: Watch) -> dict[str, Any]:
    """Builds a corpus in `out` and returns its manifest; work that is already done is not repeated.

    The same recipe and sources give the same bytes on any engine, wherever the files lie. Raises UserError and
    RunStopped as the stages do.
    """
    separation.check(recipe, out)
    directory.check(out)
    _check(recipe)
    with locked(out):
        directory.enter(out)
        building = _Building(recipe, tokenizer, out, engine, say, watch)
        building.check_size()
        for stage in cleaning(recipe):
            building.do(stage)
        building.report_evaluation()
        vocabulary = building.train_vocabulary()
        building.do(Tokens(tokenizer, vocabulary))
        building.mix()
        return building.finish(vocabulary)


def _check(recipe: Build) -> None:
    """Finds missing files, libraries and languages now rather than hours into the build."""
    for stage in cleaning(recipe):
        assert stage.identity, "reads what the stage needs"
    if any(source.kind == "code" for source in recipe.sources.values()) and recipe.duplicates.code is not None:
        need("rapidfuzz.distance")
    for path in _evaluation(recipe):
        for _ in read_examples(path):
            pass


def cleaning(recipe: Build) -> Iterator[Stage]:
    """Yields the stages between extraction and mixture that the recipe asks for."""
    code = tuple(name for name, source in recipe.sources.items() if source.kind == "code")
    if code:
        yield Licences(code, drop=recipe.copyleft == "drop")
    yield Language.of(recipe)
    yield Filters.of(recipe)
    if recipe.personal_data == "mask":
        yield PersonalData.of(recipe)
    if (quality := Quality.of(recipe)) is not None:
        yield quality
    duplicates = recipe.duplicates
    if duplicates.exact:
        yield ExactDuplicates()
    if duplicates.near is not None or (code and duplicates.code is not None):
        yield NearDuplicates(duplicates.near, duplicates.permutations, duplicates.code if code else None, code)
    if duplicates.span:
        yield RepeatedSpans(duplicates.span)
    if recipe.contamination:
        yield Contamination(_evaluation(recipe), recipe.contamination.action)


def _evaluation(recipe: Build) -> tuple[str, ...]:
    """Returns the paths of the evaluation sets."""
    given = recipe.contamination.evaluation if recipe.contamination else ()
    return tuple(str(Path(recipe.root or ".") / os.path.expanduser(path)) for path in given)


class _Building:
    """A build in progress: the documents as the finished stages left them, and a digest of all that led there."""

    def __init__(self, recipe: Build, tokenizer: Tokenizer, out: Path, engine: Engine, say: Say, watch: Watch) -> None:
        self.recipe, self.tokenizer, self.out, self.work = recipe, tokenizer, out, out / directory.STAGES
        self.engine, self.say, self.watch = engine, say, watch
        self.extracted = extract(recipe, tokenizer.section_bytes, self.work, watch(engine, "extraction"), say, out)
        self.view, self.digest = self.extracted.view, self.extracted.done.digest
        self.done = {"extraction": self.extracted.done}
        self.evaluation_passed_over = [name for path in _evaluation(recipe) for name in other_files(path)]

    def do(self, stage: Stage) -> None:
        """Runs the next stage."""
        done = run(stage, self.view, self.digest, self.work, self.watch(self.engine, stage.name), self.say)
        self.done[stage.name] = done
        self.view, self.digest = self.view.after(done.folder), done.digest

    def check_size(self) -> None:
        """Warns if the vocabulary is too small for the characters of the text that was read.

        It only warns, because later stages may drop the texts with the rarest characters.
        """
        folder = self.work / f"alphabet-{self._sampled()[:16]}"
        found = folder / "least.json"
        if not found.exists():
            inventory.make_way(self.work, "alphabet", folder)
            write_json(found, {"size": self.tokenizer.least(self._sample("alphabet", folder))})
        if (least := read_json(found)["size"]) > self.tokenizer.size:
            self.say(
                f"tokens.vocabulary_size={self.tokenizer.size}: likely too small: the characters of what was read "
                f"take {least}; stop here and set it to that, unless later stages drop such text"
            )

    def _sampled(self) -> str:
        """Returns a digest of everything that determines a sample."""
        return digest_of({"before": self.digest, "weights": self.recipe.weights, **self.tokenizer.identity})

    def _sample(self, name: str, folder: Path) -> list[str]:
        """Returns sample texts of every source, in proportion to the weights, measured in bytes."""
        weights = self.recipe.weights
        sizes = {source: size for source, (_, size) in list(self.done.values())[-1].counts.after.items()}
        shares = {source: weight / sum(weights.values()) for source, weight in weights.items()}
        return list(sample(self.view, sizes, shares, self.watch(self.engine, name), folder))

    def report_evaluation(self) -> None:
        """Reports the evaluation files whose kind cannot be read."""
        if others := self.evaluation_passed_over:
            more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
            self.say(f"evaluation: passed over, not a kind of set that is read: {', '.join(others[:_SHOWN])}{more}")

    def train_vocabulary(self) -> Path:
        """Trains the vocabulary on a sample of every source and returns its path.

        The sources' shares are measured in bytes, because there are no tokens before there is a vocabulary.
        """
        digest, identity = self._sampled(), self.tokenizer.identity
        path = self.work / f"vocabulary-{digest[:16]}.model"
        folder = self.work / f"sample-{digest[:16]}"
        if not path.exists():
            inventory.claim(self.work, [f"{directory.STAGES}/{path.name}"])
            inventory.make_way(self.work, "sample", folder)
            texts = self._sample("sample", folder)
            self.say(f"vocabulary: {', '.join(str(value) for value in identity.values())}")
            self.tokenizer.train(texts, path)
        # Removed here rather than above, so that a sample left by a killed build goes too.
        inventory.remove(self.work, [f"{directory.STAGES}/{folder.name}/"])
        return path

    def mix(self) -> None:
        """Takes each source's part, and reports which source limits the mixture and which contribute nothing."""
        mixture = self.recipe.mixture
        self.do(Mixture(tuple(self.recipe.weights.items()), mixture.tokens, mixture.short))
        parts = read_json(self.done["mixture"].folder / PARTS)
        if scarce := parts["limited_by"]:
            budget, whole = sum(parts["wanted"].values()), sum(parts["available"].values())
            self.say(
                f"mixture: {scarce} is scarcest for its weight: with all its {parts['available'][scarce]:,} "
                f"tokens the mixture has {budget:,} of the {whole:,} left, {budget / whole:.1%}"
            )
        for name, wanted in parts["wanted"].items():
            if name not in self.done["mixture"].counts.after:
                self.say(f"mixture: none of {name}: no document fits into its part of {wanted:,} tokens")

    def finish(self, vocabulary: Path) -> dict[str, Any]:
        """Writes the documents, the files beside them and finally the manifest; removes what an earlier build left."""
        documents = {f"{DOCUMENTS}/{shard}.parquet" for shard in self.view.shards}
        marks = self._marks()
        inventory.claim(self.work, {*documents, *marks, MANIFEST, VOCABULARY, *directory.SHEETS})
        values = directory.manifest_of(self.out)
        if values and values["digest"] == self.digest and self._whole(values, marks):
            self.say(f"{self.out}: done already")
            return values
        (self.out / MANIFEST).unlink(missing_ok=True)
        survey = writing.write(self.view, self.out / DOCUMENTS, self.digest, self.watch(self.engine, "writing"))
        kept = {*marks, *(each["file"] for each in survey.files)}
        of_content = (f"{DOCUMENTS}/", f"{directory.MARKS}/")
        inventory.remove(self.work, {n for n in inventory.listed(self.work) - kept if n.startswith(of_content)})
        for name, verdicts in marks.items():
            write_bytes(self.out / name, verdicts.read_bytes())
        write_bytes(self.out / VOCABULARY, vocabulary.read_bytes())
        values = self._manifest(survey, vocabulary)
        write_json(self.out / MANIFEST, values)
        return values

    def _whole(self, manifest: dict[str, Any], marks: Iterable[str]) -> bool:
        """Returns whether all files that the manifest names exist."""
        names = [*marks, VOCABULARY, *(each["file"] for each in manifest["files"])]
        return all((self.out / name).exists() for name in names)

    def _marks(self) -> dict[str, Path]:
        """Returns, by name in the corpus, the files that mark evaluation examples and that are copied there."""
        if "contamination" not in self.done:
            return {}
        verdicts = self.done["contamination"].folder / contamination.VERDICTS
        return {
            f"{directory.MARKS}/{path.relative_to(verdicts).as_posix()}": path
            for path in sorted(verdicts.rglob("*.jsonl"))
        }

    def _manifest(self, survey: writing.Survey, vocabulary: Path) -> dict[str, Any]:
        recipe, parts = self.recipe, read_json(self.done["mixture"].folder / PARTS)
        return {
            "format": _FORMAT,
            "digest": self.digest,
            "recipe": recipe.model_dump(mode="json", exclude={"root"}),
            "stages": [{"name": name, **done.counts.values()} for name, done in self.done.items()],
            "not_read": [asdict(problem) for problem in self.extracted.problems],
            "passed_over": [asdict(passed) for passed in self.extracted.passed],
            "frames_left_out": self.extracted.frames,
            "contamination": self._contamination(),
            "evaluation_passed_over": self.evaluation_passed_over,
            "mixture": {key: parts[key] for key in ("available", "wanted", "limited_by", "ends")},
            "languages": _nested(survey.languages),
            "licences": _nested(survey.licences),
            "samples": survey.samples,
            "vocabulary": sha256(vocabulary),
            "files": survey.files,
        }

    def _contamination(self) -> dict[str, Any]:
        """Returns how many examples of each evaluation set are contaminated."""
        if "contamination" not in self.done:
            return {}
        summary: dict[str, Any] = read_json(self.done["contamination"].folder / contamination.SUMMARY)
        return summary


def _nested(counter: dict[tuple[str, str, str], int]) -> dict[str, dict[str, dict[str, int]]]:
    """Returns the counts nested by source, then language or licence, then quantity."""
    nested: dict[str, dict[str, dict[str, int]]] = {}
    for (source, key, quantity), value in sorted(counter.items()):
        nested.setdefault(source, {}).setdefault(key, {})[quantity] = value
    return nested
