"""Follows one choice of a request as it grows: its tokens, what is computed of them, and the blocks that it holds."""

import hashlib
import logging
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from palmetto.decoding.blocks import SCRATCH
from palmetto.decoding.request import Constraint, Finish, Request
from palmetto.decoding.strategies.strategy import Context, Strategy

log = logging.getLogger("palmetto.decoding")


@dataclass(eq=False)
class Sequence:
    """Holds a choice of a request, or a beam of its search."""

    request: Request
    number: int
    """The number of the request."""
    choice: int
    """The number of the choice or beam."""
    tokens: npt.NDArray[np.int32]
    """The known tokens, with room after them for those to come and for drafts."""
    size: int
    """The number of known tokens."""
    most: int
    """The number of tokens at which it ends."""
    ended: Finish | None = None
    """The reason why no token may follow its prompt, which is only scored then; None if some may."""
    done: int = 0
    """The number of positions whose keys and values are in the cache."""
    parent: "Sequence | None" = None
    """The first choice, while this one waits for its prompt."""
    echoed: int = 0
    """The number of the prompt's tokens that have been reported; all of them if they need not be."""
    blocks: list[int] = field(default_factory=list)
    """The blocks of positions 0 to `done` and on, in order; SCRATCH for those that no query sees any more."""
    slot: int | None = None
    """Its row of the tables while it runs."""
    held: bool = False
    """Says whether it waits for other beams."""
    uses: tuple[Strategy, ...] = ()
    """The strategies that its rows use."""
    constraint: Constraint | None = None
    allowed: npt.NDArray[np.bool_] | None = None
    """The tokens that the constraint allows next, [V]."""
    digests: list[bytes] = field(default_factory=list)
    """The digests of its first full blocks, each of all tokens up to the block's end."""

    @property
    def order(self) -> tuple[int, int, int]:
        """Its place among all sequences: lower ones are served first."""
        return -self.request.priority, self.number, self.choice

    @cached_property
    def prompt(self) -> int:
        """The length of the prompt."""
        return len(self.request.prompt)

    @cached_property
    def plain(self) -> bool:
        """Says whether its rows ask for no other choice than the most probable token."""
        return not (self.request.sampling.temperature or self.request.processed or self.uses)

    @cached_property
    def reported(self) -> int:
        """The number of most probable tokens that each of its rows reports, or chooses beams from."""
        return max(self.request.top, self.request.candidates)

    @property
    def target(self) -> int:
        """The number of positions to compute for now: to know the next token, or to score the prompt."""
        return self.size if self.most > self.prompt else self.size - 1

    @property
    def pending(self) -> int:
        """The number of positions that are to be computed."""
        return self.target - self.done

    @property
    def scored(self) -> int:
        """The first position whose logits are still needed."""
        if self.echoed == self.prompt:
            return self.size - 1
        return min(max(self.echoed, self.request.prefix, 1), self.size) - 1

    @property
    def held_blocks(self) -> list[int]:
        """The blocks that it holds."""
        return [block for block in self.blocks if block != SCRATCH]

    @property
    def guessed(self) -> bool:
        """Says whether its next tokens may be guessed: nothing but these tokens decides what is drawn."""
        return self.constraint is None and not self.request.beams and self.done >= self.request.prefix

    def context(self, position: int) -> Context:
        """Returns what strategies know of the row at a position."""
        return Context(self.request.sampling, self.tokens[: position + 1], self.prompt, self.allowed)

    def allow(self, after: int | None = None) -> Finish | None:
        """Asks the constraint, if there is one, which tokens may come next; returns why the choice ends if none may.

        after: the token that has been generated, if the constraint does not know of it. If the constraint's code fails,
        this choice ends, and no other.
        """
        if self.constraint is None:
            return None
        try:
            if after is not None:
                self.constraint.accept(after)
            self.allowed = self.constraint.allowed()
            if self.allowed is None:
                return self.constraint.finish
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of llguidance is no Exception
            log.error("a constraint has failed: %r", error)
            return Finish.FAILED
        return None if self.request.sampling.leaves(self.allowed, self.size - self.prompt) else Finish.DEAD_END

    def forked(self, choice: int) -> "Sequence":
        """Returns another choice with the same tokens, as many of them computed; it has no blocks yet."""
        return replace(self, choice=choice, tokens=self.tokens.copy(), digests=list(self.digests), blocks=[], slot=None)

    def digest(self, number: int, size: int) -> bytes:
        """Returns the digest of all tokens up to the end of block `number`, of `size` positions each.

        What a prefix holds depends on all of it.
        """
        while len(self.digests) <= number:
            start = len(self.digests) * size
            prefix = self.tokens[: self.request.prefix].tobytes()
            before = self.digests[-1] if self.digests else hashlib.blake2b(prefix, digest_size=16).digest()
            own = self.tokens[start : start + size].tobytes()
            self.digests.append(hashlib.blake2b(before + own, digest_size=16).digest())
        return self.digests[number]
