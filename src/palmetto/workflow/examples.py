"""The examples of a fine-tuning as the source of its token stores; the vocabulary is that of the base."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from palmetto.corpus import examples as corpus
from palmetto.errors import UserError
from palmetto.files import sha256
from palmetto.recipe import Recipe
from palmetto.recipe.finetuning import Finetuning
from palmetto.recipe.objectives import OnExamples
from palmetto.runs.directory import RunDirectory
from palmetto.tokens import examples, vocabularies
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.workflow.progress import Say

_NAMED = 10
"""The number of examples left out that are named to the user; the run's events name all."""


@dataclass(frozen=True)
class Examples:
    """Holds the files of examples that a recipe names."""

    recipe: Recipe

    @property
    def name(self) -> str:
        """The paths of the files, and of the base's vocabulary, that are gone."""
        return ", ".join(map(str, self._gone))

    @property
    def is_there(self) -> bool:
        """Says whether all files and the base's vocabulary still exist."""
        return not self._gone

    @property
    def _gone(self) -> list[Path]:
        return [path for path in (*self._paths, self._base_vocabulary) if not path.exists()]

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the files' contents, in order."""
        for path in self._paths:
            if not path.is_file():
                raise UserError(f"--data {path}: {'not a file' if path.exists() else 'no such file'}")
        return hashlib.sha256(" ".join(sha256(path) for path in self._paths).encode()).hexdigest()

    @property
    def vocabulary_inputs(self) -> dict[str, Any]:
        """The inputs that identify the vocabulary."""
        return {"vocabulary": sha256(self._base_vocabulary), "pieces": self._finetuning.pieces}

    @property
    def store_inputs(self) -> dict[str, Any]:
        """The inputs that identify token stores made from the files."""
        return self.vocabulary_inputs | {
            "fingerprint": self.fingerprint,
            "weights": [data.weight for data in self._finetuning.data],
            "objective": self.recipe.training.objective.model_dump(),
            "chat_template": self.recipe.tokens.chat_template,
            "validation_share": self.recipe.corpus.validation_share,
            "sequence_length": self.recipe.tokens.sequence_length,
            "seed": self.recipe.training.seed,
        }

    def make_vocabulary(self, run: RunDirectory, say: Say) -> None:
        """Writes the vocabulary of the base."""
        vocabularies.load(self._base_vocabulary).extended(self._finetuning.pieces).save(run.vocabulary)

    def make_stores(self, run: RunDirectory, say: Say) -> None:
        """Writes the token stores of a run, which has its vocabulary, and tells what is too long."""
        objective = self.recipe.training.objective
        if not isinstance(objective, OnExamples):
            raise UserError(f"training.objective.name={objective.name}: --data expects examples or preferences")
        vocabulary = vocabularies.load(run.vocabulary)
        segments = self._segments(vocabulary)
        packed = examples.pack(
            [
                examples.DataSet(data.path, data.weight, corpus.read(path, segments))
                for data, path in zip(self._finetuning.data, self._paths, strict=True)
            ],
            vocabulary,
            run.train_store,
            run.validation_store,
            objective=objective,
            sequence_length=self.recipe.tokens.sequence_length,
            validation_share=self.recipe.corpus.validation_share,
            seed=self.recipe.training.seed,
            source_fingerprint=self.fingerprint,
        )
        say(f"examples for training: {packed.train}")
        say(f"examples for validation: {packed.validation}")
        for name, times in packed.repeats.items():
            say(f"{name}: each example {times:.2f} times an epoch, by its weight")
        if count := len(packed.too_long):
            shown = ", ".join(packed.too_long[:_NAMED]) + (f" and {count - _NAMED} more" if count > _NAMED else "")
            text = f"left out, since too long: {count:,} examples: {shown}"
            say(text)
            run.record_event("examples left out", text=text, examples=packed.too_long)

    def _segments(self, vocabulary: Vocabulary) -> corpus.Template:
        """Returns what cuts a chat into segments by the template of the recipe."""
        from palmetto.recipe.chat_template import ChatTemplate  # which few commands need

        template = ChatTemplate(self.recipe.tokens.chat_template, "tokens.chat_template", vocabulary.specials)
        return lambda messages: tuple(template.segments([{"role": role, "content": text} for role, text in messages]))

    @property
    def _finetuning(self) -> Finetuning:
        assert self.recipe.finetuning is not None, "examples are for fine-tuning"
        return self.recipe.finetuning

    @property
    def _paths(self) -> list[Path]:
        return [Path(data.path) for data in self._finetuning.data]

    @property
    def _base_vocabulary(self) -> Path:
        return RunDirectory(Path(self._finetuning.base)).vocabulary
