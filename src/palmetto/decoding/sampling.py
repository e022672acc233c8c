"""Holds what a request asks of the choice of its tokens; `strategies` does it."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.decoding.refusal import Refused
from palmetto.errors import UserError

SEEDS = 2**64
"""The number of seeds, which count from 0."""

MOST_BIASES = 1024
"""The most tokens of a request whose logits are changed by a number of their own."""

_RANGES = {
    "temperature": (lambda x: 0 <= x < math.inf, "0 (greedy) or more, such as 0.8"),
    "top_k": (lambda x: x >= 1, "at least 1"),
    "top_p": (lambda x: 0 < x <= 1, "more than 0 and at most 1"),
    "min_p": (lambda x: 0 <= x <= 1, "0 to 1"),
    "typical_p": (lambda x: 0 < x <= 1, "more than 0 and at most 1"),
    "repetition_penalty": (lambda x: 0 < x < math.inf, "more than 0, such as 1.2"),
    "presence_penalty": (math.isfinite, "a number, such as 0.5"),
    "frequency_penalty": (math.isfinite, "a number, such as 0.5"),
}
"""A test of a setting's range, and the words that say what is expected."""


class Sampling(NamedTuple):
    """Holds the settings of sampling.

    Penalties, biases, bans and forced tokens come first, then the temperature. Top-k, top-p, min-p and typical sampling
    then leave tokens out, one after the other.
    """

    temperature: float = 0.0
    """The number that divides the logits; 0 is greedy."""
    top_k: int | None = None
    """The number of most probable tokens to sample from; None for all."""
    top_p: float | None = None
    """The probability that the most probable tokens to sample from must reach together (arXiv 1904.09751)."""
    min_p: float | None = None
    """The least probability of tokens to sample from, as a share of the largest (arXiv 2407.01082)."""
    typical_p: float | None = None
    """The probability that the most typical tokens to sample from must reach together (arXiv 2202.00666)."""
    repetition_penalty: float = 1.0
    """The factor by which logits of tokens in prompt and text are lowered (arXiv 1909.05858, section 4.1)."""
    presence_penalty: float = 0.0
    """The number that is subtracted from logits of tokens that were generated."""
    frequency_penalty: float = 0.0
    """The number that is subtracted from logits of tokens, as often as they were generated."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Tokens and the numbers that are added to their logits; −∞ bans a token."""
    banned: tuple[int, ...] = ()
    """The tokens that are never generated."""
    forced: tuple[int, ...] = ()
    """The tokens that are generated first."""

    @property
    def never(self) -> frozenset[int]:
        """The tokens that are never generated, by whichever setting."""
        return frozenset(self.banned) | {token for token, bias in self.logit_bias if bias == -math.inf}

    def leaves(self, allowed: npt.NDArray[np.bool_], generated: int) -> bool:
        """Returns whether any of the tokens that a constraint allows, [V], may follow this many generated ones."""
        if generated < len(self.forced):
            return bool(allowed[self.forced[generated]])
        never = list(self.never)
        return bool(allowed.sum() > allowed[never].sum())

    def check(self, vocabulary_size: int | None = None) -> "Sampling":
        """Returns self; raises UserError that names the option that is out of range, Refused for one about tokens.

        vocabulary_size: tokens that are named must be below it.
        """
        for name, (fits, expected) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not fits(value):
                raise UserError(f"--{name.replace('_', '-')} {value}: expected {expected}")
        named = {"logit_bias": [token for token, _ in self.logit_bias], "banned": self.banned, "forced": self.forced}
        for name, tokens in named.items():
            for token in tokens:
                if token < 0 or (vocabulary_size is not None and token >= vocabulary_size):
                    most = "" if vocabulary_size is None else f" to {vocabulary_size - 1}"
                    raise Refused(name, f"token {token}; expected tokens from 0{most}")
        if banned := sorted(self.never.intersection(self.forced)):
            raise Refused("forced", f"token {banned[0]} is banned too; expected one that may be generated")
        if len(self.never) == vocabulary_size:
            raise Refused("banned", "all tokens; expected to leave one that may be generated")
        if len(self.logit_bias) > MOST_BIASES:
            raise Refused("logit_bias", f"{len(self.logit_bias)} tokens; expected at most {MOST_BIASES}")
        for token, bias in self.logit_bias:
            if math.isnan(bias) or bias == math.inf:
                raise Refused("logit_bias", f"{bias} for token {token}; expected a number")
        return self
