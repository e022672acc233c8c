"""Checks that a run's recipe, vocabulary and tokens are those that its checkpoints were trained with."""

import shlex

from palmetto.errors import UserError
from palmetto.files import sha256
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import Manifest
from palmetto.tokens import vocabularies
from palmetto.tokens.identity import DAMAGED, checked_digest, store_digest
from palmetto.tokens.store import TokenStore
from palmetto.tokens.vocabulary import Vocabulary


def check_recipe(run: RunDirectory, manifest: Manifest | None) -> None:
    """Raises UserError if recipe.yaml has another identity than the recipe that a checkpoint was trained with."""
    if manifest and not run.recipe.continues(manifest.recipe):
        raise UserError(
            f"{run.recipe_file}: altered since checkpoint {manifest.step} was trained; undo that, or train "
            f"with the recipe that the run was begun with (`palmetto train RECIPE --run {run.path}`), which "
            "writes it anew"
        )


def load_vocabulary(run: RunDirectory) -> Vocabulary:
    """Returns the vocabulary; raises UserError if it is not the one that the tokens were made with."""
    check_vocabulary(run)
    expected = _vocabulary_digest(run)
    try:
        vocabulary = vocabularies.load(run.vocabulary)
    except UserError as error:
        raise UserError(str(error) if run.imported else f"{error}; {again(run)}") from None
    if expected not in (None, vocabulary.digest):
        raise UserError(f"{run.vocabulary}: altered, or another than the tokens were made with; {again(run)}")
    if expected is None and stamps.recorded(run, "vocabulary", run.vocabulary) not in (None, sha256(run.vocabulary)):
        raise UserError(f"{run.vocabulary}: altered since it was made; {again(run)}")
    return vocabulary


def check_vocabulary(run: RunDirectory) -> None:
    """Raises UserError if the run was imported without a tokenizer."""
    if run.imported and not run.vocabulary.exists():
        raise UserError(f"{run.vocabulary}: no such file; the import had no tokenizer to take, and only `digest` works")


def _vocabulary_digest(run: RunDirectory) -> str | None:
    """Returns the digest of the vocabulary that the tokens were made with, or None if no store can be read."""
    for path in (run.validation_store, run.train_store):
        try:
            return TokenStore.open(path).header.vocabulary_digest
        except UserError:
            continue
    return None


def check_tokens(run: RunDirectory, vocabulary: Vocabulary) -> None:
    """Reads every token of both stores; raises UserError if one is damaged or not what the run was trained on."""
    for path in (run.train_store, run.validation_store):
        try:
            TokenStore.open(path, vocabulary_digest=vocabulary.digest).check()
        except UserError as error:
            raise UserError(f"{error}: move it away, and {again(run)}") from None
        if stamps.recorded(run, "tokens", path) not in (None, store_digest(path)):
            raise UserError(f"{path}: another store than was made; move it away, and {again(run)}")
    manifest = run.newest_manifest
    if manifest and manifest.tokens != TokenStore.open(run.train_store).checksum:
        raise UserError(
            f"{run.train_store}: other tokens than checkpoint {manifest.step} was trained on; move it away, and "
            f"{again(run)}"
        )


def are_whole(run: RunDirectory) -> bool:
    """Returns whether every token of both stores is as it was written."""
    digests = (checked_digest(path) for path in (run.train_store, run.validation_store))
    return DAMAGED not in digests


def again(run: RunDirectory) -> str:
    """Returns a hint with the command that rebuilds damaged tokens or a damaged vocabulary."""
    if run.imported:
        return f"{run.path} was imported: `palmetto import SOURCE --run DIR` makes it again in another directory"
    recipe, path = (shlex.quote(str(each)) for each in (run.recipe_file, run.path))
    return f"`palmetto train {recipe} --run {path}` makes it again from the same text, and compares"
