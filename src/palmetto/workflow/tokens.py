"""Building the tokens of a run, text → vocabulary → token stores, and rebuilding those that are damaged."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.corpus import documents
from palmetto.errors import UserError
from palmetto.files import sha256, sync_directory
from palmetto.recipe import Recipe
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_events
from palmetto.tokens import packing
from palmetto.tokens.identity import checked_digest, store_digest
from palmetto.tokens.order import Order
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import SizeError, Vocabulary
from palmetto.workflow import corpus as corpora
from palmetto.workflow.progress import Say


class _Text(NamedTuple):
    """Holds a source in its present state and the inputs that identify the products made from it."""

    source: str
    fingerprint: str
    recipe: Recipe
    made_vocabulary: Path | None
    """The vocabulary that comes with a corpus, or None."""

    @property
    def vocabulary_inputs(self) -> dict[str, Any]:
        """Returns the inputs that identify a vocabulary made from the source."""
        tokens = self.recipe.tokens
        inputs = {"fingerprint": self.fingerprint, "section_bytes": self.recipe.corpus.section_bytes}
        return inputs | {"kind": tokens.vocabulary, "size": tokens.vocabulary_size}

    @property
    def store_inputs(self) -> dict[str, Any]:
        """Returns the inputs that identify token stores made from the source."""
        return self.vocabulary_inputs | {
            "validation_share": self.recipe.corpus.validation_share,
            "sequence_length": self.recipe.tokens.sequence_length,
            "seed": self.recipe.training.seed,
        }

    def documents(self) -> Iterator[documents.Document]:
        """Returns the documents of the source."""
        return documents.read(self.source, self.recipe.corpus.section_bytes)


def build_tokens(run: RunDirectory, recipe: Recipe, say: Say, *, thorough: bool = False) -> None:
    """Builds source → vocabulary → token stores; each is skipped if it is complete and made from the same inputs.

    Once training has begun, damaged products are rebuilt and compared with those that the run was trained on; raises
    UserError if the text has changed. With `thorough`, or after a step has found damage that is not yet repaired, every
    token is read to detect damage, otherwise only the headers of the stores.
    """
    suspected = _is_suspected(run)
    digest = checked_digest if thorough or suspected else store_digest
    source, made = recipe.corpus.source, None
    if source is None and recipe.corpus.build is not None:
        source = str(run.path / "corpus")
        made = Path(source) / documents.VOCABULARY
        if not (run.begun and (_are_whole(run, digest) or _has_its_corpus(run, recipe, source))):
            corpora.build(recipe, Path(source), say)
    if source is None:
        raise UserError(f"{recipe.name} names no text: give --source PATH, or corpus.source in the recipe")
    if run.begun and source != documents.PYTHON and not Path(source).exists():  # intact tokens suffice
        if not _are_whole(run, digest):
            raise UserError(
                f"{run.path}: its vocabulary or tokens are damaged or missing, and {source}, which they "
                "were made from, is gone; with that text back, the same command makes them again"
            )
        say(f"{source} is gone; going on with the tokens made from it")
        return
    text = _Text(source, documents.fingerprint(source), recipe, made)
    if run.begun:
        _go_on(run, text, say, digest)
    else:
        _make(run, text, say)
    store, manifest = TokenStore.open(run.train_store), run.newest_manifest
    _order(store.windows, recipe).check(recipe.training.steps)
    if manifest and manifest.tokens != store.checksum:
        raise UserError(
            f"{run.checkpoints}/{manifest.step:08d}: a checkpoint of other tokens than this run's; "
            "give another directory with --run"
        )
    if suspected and _is_suspected(run):
        run.record_event("tokens mended", text="every token is as it was written")


def _is_suspected(run: RunDirectory) -> bool:
    """Returns whether a step has found damaged tokens that are not yet repaired, as after a kill."""
    told = [event["event"] for event in read_events(run.events)]
    return "tokens damaged" in told[max((i for i, kind in enumerate(told) if kind == "tokens mended"), default=0) :]


def _are_whole(run: RunDirectory, digest: stamps.Digest) -> bool:
    return stamps.is_whole(run, "vocabulary") and stamps.is_whole(run, "tokens", digest)


def _has_its_corpus(run: RunDirectory, recipe: Recipe, source: str) -> bool:
    """Returns whether the corpus that the run was begun with exists, as far as its stamp tells.

    It is then not rebuilt, because changed sources, or the rules of another version, would replace it by another.
    """
    folder = Path(source)
    needed = (folder / documents.MANIFEST, folder / documents.VOCABULARY, folder / documents.DOCUMENTS)
    if not all(path.exists() for path in needed):
        return False
    text = _Text(source, documents.fingerprint(source), recipe, None)
    return stamps.made_from(run, "tokens", text.store_inputs) is not False


def _make(run: RunDirectory, text: _Text, say: Say) -> None:
    """Makes the vocabulary and the stores of a run, unless they are complete."""
    recipe, tokens = text.recipe, text.recipe.tokens
    if not stamps.is_complete(run, "vocabulary", text.vocabulary_inputs):
        _describe_source(text.source, say)
        packing.check_divisible(text.documents())
        made = text.made_vocabulary
        vocabulary = _train_vocabulary(text.documents, recipe, say) if made is None else Vocabulary.load(made)
        vocabulary.save(run.vocabulary)
        stamps.finish(run, "vocabulary", text.vocabulary_inputs, [run.vocabulary])
    if not stamps.is_complete(run, "tokens", text.store_inputs, store_digest):
        packed = packing.pack(
            text.documents(),
            Vocabulary.load(run.vocabulary),
            run.train_store,
            run.validation_store,
            sequence_length=tokens.sequence_length,
            validation_share=recipe.corpus.validation_share,
            seed=recipe.training.seed,
            source_fingerprint=text.fingerprint,
        )
        say(f"tokens for training: {packed.train}")
        say(f"tokens for validation: {packed.validation}")
        stamps.finish(run, "tokens", text.store_inputs, [run.train_store, run.validation_store], store_digest)


def _go_on(run: RunDirectory, text: _Text, say: Say, digest: stamps.Digest) -> None:
    """Rebuilds vocabulary and tokens of a run that has trained if they are damaged.

    Raises UserError if the text is not the one that the run has trained on.
    """
    if stamps.made_from(run, "tokens", text.store_inputs) is False:
        raise UserError(
            f"{run.path} has trained on other text than {text.source} holds now; give that text, or another "
            "directory with --run"
        )
    if stamps.is_complete(run, "vocabulary", text.vocabulary_inputs) and stamps.is_whole(run, "tokens", digest):
        return
    damaged = _damaged(run, digest)
    say(f"{', '.join(damaged)}: damaged or missing; made again from {text.source}, to be compared")
    folder = run.path / ".again"
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed process
    try:
        again = RunDirectory(folder)
        if stamps.is_complete(run, "vocabulary", text.vocabulary_inputs):
            stamps.adopt(again, run, "vocabulary")
        if stamps.is_complete(run, "tokens", text.store_inputs, digest):
            stamps.adopt(again, run, "tokens")
        _make(again, text, say)
        _compare(run, again, text)
        for ours, theirs in _files(run, again):
            theirs.parent.mkdir(parents=True, exist_ok=True)
            os.replace(ours, theirs)
            sync_directory(theirs.parent)
        stamps.finish(run, "vocabulary", text.vocabulary_inputs, [run.vocabulary])
        stamps.finish(run, "tokens", text.store_inputs, [run.train_store, run.validation_store], store_digest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    said = f"{', '.join(damaged)}: made again, the same as the run has trained on"
    say(said)
    run.record_event("tokens mended", text=said)


def _files(run: RunDirectory, again: RunDirectory) -> list[tuple[Path, Path]]:
    """Returns the rebuilt files, each with its path in the run."""
    return [
        (again.vocabulary, run.vocabulary),
        (again.train_store, run.train_store),
        (again.validation_store, run.validation_store),
    ]


def _damaged(run: RunDirectory, digest: stamps.Digest) -> list[str]:
    """Returns the files of both products that are not as they were made, and the stamps that are missing."""
    outputs = (
        ("vocabulary", run.vocabulary, sha256),
        ("tokens", run.train_store, digest),
        ("tokens", run.validation_store, digest),
    )
    lost = [f"{run.stamps / name}.json" for name in ("vocabulary", "tokens") if stamps.read(run, name) is None]
    return lost + [str(path) for product, path, by in outputs if not stamps.is_as_made(run, product, path, by)]


def _compare(run: RunDirectory, again: RunDirectory, text: _Text) -> None:
    """Raises UserError unless the rebuilt tokens are those in the newest checkpoint's manifest, or else the stamp."""
    store = TokenStore.open(again.train_store)
    same = store.header.vocabulary_digest == Vocabulary.load(again.vocabulary).digest
    if manifest := run.newest_manifest:
        same = same and store.checksum == manifest.tokens
    else:
        same = same and all(
            store_digest(ours) == stamps.recorded(run, "tokens", theirs) for ours, theirs in _files(run, again)[1:]
        )
    if not same:
        raise UserError(
            f"{run.path}: its vocabulary or tokens are damaged, and {text.source} does not give those again that the "
            "run has trained on; bring back vocabulary.model and tokens/, or give another directory with --run"
        )


def _train_vocabulary(texts: Callable[[], Iterable[documents.Document]], recipe: Recipe, say: Say) -> Vocabulary:
    tokens = recipe.tokens
    say(f"training a {tokens.vocabulary} vocabulary of {tokens.vocabulary_size} pieces")
    try:
        return Vocabulary.train((d.text for d in texts()), tokens.vocabulary_size, tokens.vocabulary)
    except SizeError as error:
        raise _too_large(error, texts, recipe) from None


def _describe_source(source: str, say: Say) -> None:
    survey = documents.survey(source)
    say(f"text: {survey.documents:,} documents of {survey.bytes:,} bytes in {len(survey.files):,} files of {source}")
    if survey.empty:
        say(f"left out: {survey.empty:,} empty documents")
    for ignored in survey.ignored:
        say(f"left out: {ignored.name} ({ignored.reason})")


def _order(windows: int, recipe: Recipe) -> Order:
    training = recipe.training
    return Order(windows, training.batch_ramp, training.seed, training.epochs)


def _too_large(error: SizeError, texts: Callable[[], Iterable[documents.Document]], recipe: Recipe) -> UserError:
    """Returns the error for a vocabulary too large for the text, with the largest size and the steps it allows."""
    if error.largest is None:
        return error
    vocabulary = Vocabulary.train((d.text for d in texts()), error.largest, recipe.tokens.vocabulary)
    tokens = sum(len(ids) + 1 for ids in vocabulary.encode_all([d.text for d in texts()]))
    windows = int(tokens * (1 - recipe.corpus.validation_share)) // recipe.tokens.sequence_length
    steps = _order(windows, recipe).steps_that_fit() if windows else 0
    refused = f"tokens.vocabulary_size={recipe.tokens.vocabulary_size}: the text gives at most {error.largest} pieces"
    if not steps:
        return UserError(
            f"{refused}, and then it is too short for one step: give more text, or smaller "
            "tokens.sequence_length, training.batch_size and tokens.vocabulary_size"
        )
    return UserError(
        f"{refused}; tokens.vocabulary_size={error.largest} would do, and then about training.steps={steps}"
    )
