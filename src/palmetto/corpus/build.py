"""A corpus, from sources to weighted, documented documents: every stage in order.

DIR/documents/SOURCE/…parquet    text, source, language, address, licence, quality, tokens, ids
DIR/vocabulary.model             trained on a sample of it
DIR/contamination/               a mark for every evaluation example
DIR/manifest.json                what was done, and every file with its digest; last, so that it says it is whole
DIR/work/                        notes of the stages, which a later build goes on from
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from palmetto.corpus import writing
from palmetto.corpus.contamination import Contamination, other_files
from palmetto.corpus.contamination import stage as contamination
from palmetto.corpus.documents import DOCUMENTS, MANIFEST, VOCABULARY
from palmetto.corpus.duplicates.exact import ExactDuplicates
from palmetto.corpus.duplicates.near import NearDuplicates
from palmetto.corpus.duplicates.spans import RepeatedSpans
from palmetto.corpus.engine import Engine
from palmetto.corpus.extraction import Extracted, extract
from palmetto.corpus.filters import Filters
from palmetto.corpus.language import Language
from palmetto.corpus.licences import Licences
from palmetto.corpus.measuring import Tokenizer, Tokens, sample
from palmetto.corpus.mixture import Mixture
from palmetto.corpus.personal_data import PersonalData
from palmetto.corpus.quality.sampling import Quality
from palmetto.corpus.stage import Done, Say, Stage, View, digest_of, run
from palmetto.files import locked, read_json, write_bytes, write_json
from palmetto.recipe.corpus import Build

_FORMAT = 1


Watch = Callable[[Engine, str], Engine]
"""Makes of an engine one that shows how far the stage of a name is."""


def build(recipe: Build, tokenizer: Tokenizer, out: Path, engine: Engine, say: Say, watch: Watch) -> dict[str, Any]:
    """Builds a corpus into `out` and returns its manifest; what is done already is not done again.

    The same recipe and sources give the same bytes, on any engine and wherever they lie. UserError and RunStopped as
    the stages raise them.
    """
    with locked(out):
        work = out / "work"
        extracted = extract(recipe, tokenizer.section_bytes, work, watch(engine, "extraction"), say)
        view, digest, done = extracted.view, extracted.done.digest, list[tuple[str, Done]]()

        def do(stage: Stage) -> None:
            nonlocal view, digest
            result = run(stage, view, digest, work, watch(engine, stage.name), say)
            done.append((stage.name, result))
            view, digest = view.after(result.folder), result.digest

        for stage in cleaning(recipe):
            do(stage)
        vocabulary = _vocabulary(recipe, tokenizer, view, digest, done[-1][1] if done else extracted.done, work, say)
        do(Tokens(tokenizer, vocabulary))
        mixture = recipe.mixture
        do(Mixture(tuple(recipe.weights.items()), mixture.tokens, mixture.short))
        return _finish(recipe, extracted, view, digest, done, vocabulary, out, watch(engine, "writing"), say)


def cleaning(recipe: Build) -> Iterator[Stage]:
    """The stages between extraction and mixture, as the recipe has them."""
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
    """Paths of the evaluation sets."""
    given = recipe.contamination.evaluation if recipe.contamination else ()
    return tuple(str(Path(recipe.root or ".") / path) for path in given)


def _vocabulary(recipe: Build, tokenizer: Tokenizer, view: View, digest: str, last: Done, work: Path, say: Say) -> Path:
    """A vocabulary trained on sources in their shares, by bytes, since tokens are what it makes."""
    weights = recipe.weights
    identity = digest_of({"before": digest, "weights": weights, **tokenizer.identity})
    path = work / f"vocabulary-{identity[:16]}.model"
    if not path.exists():
        sizes = {name: size for name, (_, size) in last.counts.after.items()}
        total = sum(weights.values())
        say(f"vocabulary: {', '.join(str(value) for value in tokenizer.identity.values())}")
        tokenizer.train(sample(view, sizes, {name: weight / total for name, weight in weights.items()}), path)
    return path


def _finish(
    recipe: Build,
    extracted: Extracted,
    view: View,
    digest: str,
    done: list[tuple[str, Done]],
    vocabulary: Path,
    out: Path,
    engine: Engine,
    say: Say,
) -> dict[str, Any]:
    manifest = out / MANIFEST
    if manifest.exists():
        values: dict[str, Any] = read_json(manifest)
        if values["digest"] == digest:
            say(f"{out}: done already")
            return values
        manifest.unlink()
        shutil.rmtree(out / DOCUMENTS)
    survey = writing.write(view, out / DOCUMENTS, digest, engine)
    write_bytes(out / VOCABULARY, vocabulary.read_bytes())
    values = {
        "format": _FORMAT,
        "digest": digest,
        "recipe": recipe.model_dump(mode="json", exclude={"root"}),
        "stages": [{"name": "extraction", **extracted.done.counts.values()}]
        + [{"name": name, **result.counts.values()} for name, result in done],
        "not_read": [asdict(problem) for problem in extracted.problems],
        "passed_over": [asdict(passed) for passed in extracted.passed],
        "frames_left_out": extracted.frames,
        "contamination": _contamination(done, out),
        "evaluation_passed_over": [name for path in _evaluation(recipe) for name in other_files(path)],
        "mixture": read_json(done[-1][1].folder / "parts.json"),
        "languages": _nested(survey.languages),
        "licences": _nested(survey.licences),
        "samples": survey.samples,
        "vocabulary": hashlib.sha256(vocabulary.read_bytes()).hexdigest(),
        "files": survey.files,
    }
    write_json(manifest, values)
    return values


def _contamination(done: list[tuple[str, Done]], out: Path) -> dict[str, Any]:
    """How many examples of each evaluation set are contaminated; every example's mark is copied out."""
    folder = next((result.folder for name, result in done if name == "contamination"), None)
    if folder is None:
        return {}
    for path in sorted((folder / contamination.VERDICTS).rglob("*.jsonl")):
        write_bytes(out / "contamination" / path.relative_to(folder / contamination.VERDICTS), path.read_bytes())
    summary: dict[str, Any] = read_json(folder / contamination.SUMMARY)
    return summary


def _nested(counter: dict[tuple[str, str, str], int]) -> dict[str, dict[str, dict[str, int]]]:
    """By source, then language or licence, then what is counted."""
    nested: dict[str, dict[str, dict[str, int]]] = {}
    for (source, key, quantity), value in sorted(counter.items()):
        nested.setdefault(source, {}).setdefault(key, {})[quantity] = value
    return nested
