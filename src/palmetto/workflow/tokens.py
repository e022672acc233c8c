"""Building the tokens of a run, text → vocabulary → token stores, and rebuilding those that are damaged."""

import os
import shutil
from pathlib import Path

from palmetto.corpus import documents
from palmetto.errors import UserError
from palmetto.files import sha256, sync_directory
from palmetto.recipe import Recipe
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_events
from palmetto.tokens import vocabularies
from palmetto.tokens.identity import checked_digest, store_digest
from palmetto.tokens.store import TokenStore
from palmetto.training.base import check_base
from palmetto.workflow import corpus as corpora
from palmetto.workflow.examples import Examples
from palmetto.workflow.progress import Say
from palmetto.workflow.text import Text, order

Source = Text | Examples
"""The source that the tokens of a run are made from."""


def build_tokens(run: RunDirectory, recipe: Recipe, say: Say, *, thorough: bool = False) -> None:
    """Builds source → vocabulary → token stores; each is skipped if it is complete and made from the same inputs.

    Once training has begun, damaged products are rebuilt and compared with those that the run was trained on; raises
    UserError if the text has changed. With `thorough`, or after a step has found damage that is not yet repaired, every
    token is read to detect damage, otherwise only the headers of the stores.
    """
    suspected = _is_suspected(run)
    digest = checked_digest if thorough or suspected else store_digest
    text = _text(run, recipe, say, digest)
    if run.begun and not text.is_there:  # intact tokens suffice
        _check_examples(run, recipe)
        if not _are_whole(run, digest):
            raise UserError(
                f"{run.path}: its vocabulary or tokens are damaged or missing, and {text.name}, which they "
                "were made from, is gone; with that text back, the same command makes them again"
            )
        say(f"{text.name} is gone; going on with the tokens made from it")
        return
    if run.begun:
        _go_on(run, text, say, digest)
    else:
        _make(run, text, say)
    store, manifest = TokenStore.open(run.train_store), run.newest_manifest
    order(store.windows, recipe).check(recipe.training.steps)
    if manifest and manifest.tokens != store.checksum:
        raise UserError(
            f"{run.checkpoints}/{manifest.step:08d}: a checkpoint of other tokens than this run's; "
            "give another directory with --run"
        )
    if suspected and _is_suspected(run):
        run.record_event("tokens mended", text="every token is as it was written")


def _check_examples(run: RunDirectory, recipe: Recipe) -> None:
    """Raises UserError if a fine-tuning is asked for other files or weights than it was begun with."""
    begun, asked = run.recipe.finetuning, recipe.finetuning
    if begun is not None and asked is not None and asked.data != begun.data:
        [first, *_] = [each for each in asked.data if each not in begun.data] or asked.data
        known = " ".join(each.path if each.weight is None else f"{each.path}={each.weight:g}" for each in begun.data)
        raise UserError(f"--data {first.path}: {run.path} was begun with {known}; expected the same files and weights")


def _text(run: RunDirectory, recipe: Recipe, say: Say, digest: stamps.Digest) -> Source:
    """Returns the text of a recipe; builds the corpus if it is to be built."""
    if recipe.finetuning is not None and not run.begun:
        check_base(recipe.finetuning)
    base = None if recipe.finetuning is None else RunDirectory(Path(recipe.finetuning.base)).vocabulary
    if recipe.finetuning is not None and recipe.finetuning.data:
        return Examples(recipe)
    source = recipe.corpus.source
    if source is not None:
        return Text(source, recipe, base)
    if recipe.corpus.build is None:
        raise UserError(f"{recipe.name} names no text: give --source PATH, or corpus.source in the recipe")
    source = str(run.path / "corpus")
    if not (run.begun and (_are_whole(run, digest) or _has_its_corpus(run, recipe, source))):
        corpora.build(recipe, Path(source), say)
    return Text(source, recipe, base or Path(source) / documents.VOCABULARY)


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
    text = Text(source, recipe, None)
    return stamps.made_from(run, "tokens", text.store_inputs) is not False


def _make(run: RunDirectory, text: Source, say: Say) -> None:
    """Makes the vocabulary and the stores of a run, unless they are complete."""
    if not stamps.is_complete(run, "vocabulary", text.vocabulary_inputs):
        text.make_vocabulary(run, say)
        stamps.finish(run, "vocabulary", text.vocabulary_inputs, [run.vocabulary])
    if not stamps.is_complete(run, "tokens", text.store_inputs, store_digest):
        text.make_stores(run, say)
        stamps.finish(run, "tokens", text.store_inputs, [run.train_store, run.validation_store], store_digest)


def _go_on(run: RunDirectory, text: Source, say: Say, digest: stamps.Digest) -> None:
    """Rebuilds vocabulary and tokens of a run that has trained if they are damaged.

    Raises UserError if the text is not the one that the run has trained on.
    """
    if stamps.made_from(run, "tokens", text.store_inputs) is False:
        weighted = ", or with other weights" if isinstance(text, Examples) else ""
        raise UserError(
            f"{run.path} has trained on other text than {text.name} holds now{weighted}; give that text, or another "
            "directory with --run"
        )
    if stamps.is_complete(run, "vocabulary", text.vocabulary_inputs) and stamps.is_whole(run, "tokens", digest):
        return
    damaged = _damaged(run, digest)
    say(f"{', '.join(damaged)}: damaged or missing; made again from {text.name}, to be compared")
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


def _compare(run: RunDirectory, again: RunDirectory, text: Source) -> None:
    """Raises UserError unless the rebuilt tokens are those in the newest checkpoint's manifest, or else the stamp."""
    store = TokenStore.open(again.train_store)
    same = store.header.vocabulary_digest == vocabularies.load(again.vocabulary).digest
    if manifest := run.newest_manifest:
        same = same and store.checksum == manifest.tokens
    else:
        same = same and all(
            store_digest(ours) == stamps.recorded(run, "tokens", theirs) for ours, theirs in _files(run, again)[1:]
        )
    if not same:
        raise UserError(
            f"{run.path}: its vocabulary or tokens are damaged, and {text.name} does not give those again that the "
            "run has trained on; bring back vocabulary.model and tokens/, or give another directory with --run"
        )
