"""The two phases of inference, as a plan's options ask for them: decoding, and the prefill of prompts."""

import re
from typing import Literal, NamedTuple

from palmetto.errors import UserError


class Phase(NamedTuple):
    """Names a phase, and says what one step of it computes."""

    name: Literal["decode", "prefill"]
    batch: int
    """The number of sequences."""
    length: int
    """The positions of a sequence: in decoding those that its last token sees, itself among them; the prompt's in
    prefill."""

    @property
    def tokens(self) -> int:
        """The number of tokens that a step computes: one of each sequence, or all."""
        return self.batch * self.new

    @property
    def new(self) -> int:
        """The number of tokens of each sequence that a step computes."""
        return 1 if self.name == "decode" else self.length

    def __str__(self) -> str:
        if self.name == "decode":
            return f"decode {self.batch:,} sequences of {self.length:,} positions"
        return f"prefill {self.batch:,} prompts of {self.length:,} tokens"


def chosen(decode: str | None, prefill: str | None) -> Phase | None:
    """Returns the phase of the options --decode and --prefill, or None if neither is given.

    Raises UserError if both are, or if one is not two numbers.
    """
    if decode is not None and prefill is not None:
        raise UserError(f"--decode {decode} --prefill {prefill}: a plan is of one phase: leave one out")
    if decode is not None:
        return Phase("decode", *_sizes("--decode", decode, "BATCH:CONTEXT, such as 64:2048"))
    return None if prefill is None else Phase("prefill", *_sizes("--prefill", prefill, "BATCH:LENGTH, such as 1:2048"))


def _sizes(option: str, text: str, expected: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,6}):([1-9]\d{0,6})", text)
    if found is None:
        raise UserError(f"{option} {text}: expected {expected}")
    return int(found[1]), int(found[2])
