"""The text of a run as the source of its vocabulary and its token stores."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from palmetto.corpus import documents
from palmetto.errors import UserError
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.tokens import packing, vocabularies
from palmetto.tokens.order import Order
from palmetto.tokens.training import SizeError
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.workflow.progress import Say


@dataclass(frozen=True)
class Text:
    """Holds a source of documents."""

    name: str
    """Its path, or "python"."""
    recipe: Recipe
    given_vocabulary: Path | None
    """The vocabulary that comes with a corpus or with the run that fine-tuning begins with; None to train one."""

    @property
    def is_there(self) -> bool:
        """Returns whether the source still exists."""
        return self.name == documents.PYTHON or Path(self.name).exists()

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the source in its present state."""
        return documents.fingerprint(self.name)

    @property
    def vocabulary_inputs(self) -> dict[str, Any]:
        """The inputs that identify a vocabulary made from the source."""
        tokens = self.recipe.tokens
        inputs = {"fingerprint": self.fingerprint, "section_bytes": self.recipe.corpus.section_bytes}
        begun = self.recipe.finetuning
        base = {} if begun is None else {"base": begun.parameters, "pieces": begun.pieces}
        return inputs | {"kind": tokens.vocabulary, "size": tokens.vocabulary_size} | base

    @property
    def store_inputs(self) -> dict[str, Any]:
        """The inputs that identify token stores made from the source."""
        return self.vocabulary_inputs | {
            "validation_share": self.recipe.corpus.validation_share,
            "sequence_length": self.recipe.tokens.sequence_length,
            "seed": self.recipe.training.seed,
        }

    def make_vocabulary(self, run: RunDirectory, say: Say) -> None:
        """Writes the vocabulary of a run."""
        _describe(self.name, say)
        packing.check_divisible(self._documents())
        given = self.given_vocabulary
        if given is None:
            _train(self._documents, self.recipe, say).save(run.vocabulary)
            return
        begun = self.recipe.finetuning
        vocabularies.load(given).extended(() if begun is None else begun.pieces).save(run.vocabulary)

    def make_stores(self, run: RunDirectory, say: Say) -> None:
        """Writes the token stores of a run, which has its vocabulary."""
        packed = packing.pack(
            self._documents(),
            vocabularies.load(run.vocabulary),
            run.train_store,
            run.validation_store,
            sequence_length=self.recipe.tokens.sequence_length,
            validation_share=self.recipe.corpus.validation_share,
            seed=self.recipe.training.seed,
            source_fingerprint=self.fingerprint,
        )
        say(f"tokens for training: {packed.train}")
        say(f"tokens for validation: {packed.validation}")

    def _documents(self) -> Iterator[documents.Document]:
        return documents.read(self.name, self.recipe.corpus.section_bytes)


def order(windows: int, recipe: Recipe) -> Order:
    """Returns the order of this many windows."""
    training = recipe.training
    return Order(windows, training.batch_ramp, training.seed, training.epochs)


def _train(texts: Callable[[], Iterable[documents.Document]], recipe: Recipe, say: Say) -> Vocabulary:
    tokens = recipe.tokens
    say(f"training a {tokens.vocabulary} vocabulary of {tokens.vocabulary_size} pieces")
    try:
        return Vocabulary.train((d.text for d in texts()), tokens.vocabulary_size, tokens.vocabulary)
    except SizeError as error:
        raise _too_large(error, texts, recipe) from None


def _describe(source: str, say: Say) -> None:
    survey = documents.survey(source)
    say(f"text: {survey.documents:,} documents of {survey.bytes:,} bytes in {len(survey.files):,} files of {source}")
    if survey.empty:
        say(f"left out: {survey.empty:,} empty documents")
    for ignored in survey.ignored:
        say(f"left out: {ignored.name} ({ignored.reason})")


def _too_large(error: SizeError, texts: Callable[[], Iterable[documents.Document]], recipe: Recipe) -> UserError:
    """Returns the error for a vocabulary too large for the text, with the largest size and the steps it allows."""
    if error.largest is None:
        return error
    vocabulary = Vocabulary.train((d.text for d in texts()), error.largest, recipe.tokens.vocabulary)
    tokens = sum(len(ids) + 1 for ids in vocabulary.encode_all([d.text for d in texts()]))
    windows = int(tokens * (1 - recipe.corpus.validation_share)) // recipe.tokens.sequence_length
    steps = order(windows, recipe).steps_that_fit() if windows else 0
    refused = f"tokens.vocabulary_size={recipe.tokens.vocabulary_size}: the text gives at most {error.largest} pieces"
    if not steps:
        return UserError(
            f"{refused}, and then it is too short for one step: give more text, or smaller "
            "tokens.sequence_length, training.batch_size and tokens.vocabulary_size"
        )
    return UserError(
        f"{refused}; tokens.vocabulary_size={error.largest} would do, and then about training.steps={steps}"
    )
