"""Makes prompts of a model, as its objective has them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from palmetto.recipe import Recipe
from palmetto.recipe.objectives import Objective
from palmetto.tokens.objectives import make_infill, make_prompt
from palmetto.tokens.vocabulary import Ids, Vocabulary


class Prompts(NamedTuple):
    """Makes the prompts of one model. Each is given as its ids, int32 [P], and the length of its prefix."""

    vocabulary: Vocabulary
    objective: Objective
    vocabulary_size: int
    """The number of tokens of text, without those that the objective adds."""
    sequence_length: int
    """The length of the windows of training."""

    @classmethod
    def of(cls, recipe: Recipe, vocabulary: Vocabulary) -> "Prompts":
        """Returns what makes the prompts of a recipe's model."""
        tokens = recipe.tokens
        return cls(vocabulary, recipe.training.objective, tokens.vocabulary_size, tokens.sequence_length)

    def beginning(self, text: str) -> tuple[Ids, int]:
        """Returns the prompt that begins a document with a text: [eod] stands in front of it."""
        return self.of_ids([self.vocabulary.beginning, *self.vocabulary.encode(text).tolist()])

    def of_ids(self, ids: Sequence[int]) -> tuple[Ids, int]:
        """Returns the prompt that continues ids."""
        return make_prompt(self.objective, np.array(ids, np.int32), **self._sizes)

    def between(self, before: Sequence[int], after: Sequence[int]) -> tuple[Ids, int] | None:
        """Returns the prompt that fills the gap between ids; None if the objective fills no gaps."""
        first, last = np.array(before, np.int32), np.array(after, np.int32)
        return make_infill(self.objective, first, last, **self._sizes)

    @property
    def _sizes(self) -> dict[str, int]:
        return {"vocabulary_size": self.vocabulary_size, "sequence_length": self.sequence_length}
