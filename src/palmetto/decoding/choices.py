"""Makes the text of each choice from what the engine reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from palmetto.decoding.request import Finish, Token
from palmetto.decoding.text import Pieces, TextStream

REASONS = {Finish.STOP: "stop", Finish.DEAD_END: "dead_end", Finish.FAILED: "format_failed"}
"""The words for why a choice has ended, in OpenAI's and in ours; for all other ends it is "length"."""

BROKEN = {
    "dead_end": "no token can follow, and what there is does not match",
    "format_failed": "the code that follows the format has failed",
}
"""The ends of choices that are not what was asked for, and what a person is told of them."""


class Reported(NamedTuple):
    """A token of an answer, and the number of characters of the answer's text before it."""

    token: Token
    offset: int


@dataclass
class Delta:
    """Holds new output of a choice; all its deltas joined are the whole choice."""

    text: str = ""
    tokens: list[Reported] = field(default_factory=list)
    finish: str | None = None

    def add(self, other: "Delta") -> None:
        """Appends what came later."""
        self.text += other.text
        self.tokens += other.tokens
        self.finish = other.finish


class Choice:
    """Follows one choice."""

    def __init__(
        self,
        pieces: Pieces,
        stops: Sequence[str],
        errors: str = "replace",
        end: Callable[[], None] = lambda: None,
    ) -> None:
        """Begins without text; the arguments are those of TextStream, and what ends the choice in the engine.

        A stop string calls it, since the engine knows nothing of such strings.
        """
        self._stream, self._end = TextStream(pieces, stops, errors), end
        self.finish: str | None = None
        """The reason why it has ended: "stop", "length" or one of BROKEN."""
        self.generated = 0
        self.logprob = 0.0
        """The sum over the generated tokens."""

    def echo(self, ids: Sequence[int], tokens: Sequence[Token]) -> Delta:
        """Returns the text of a prompt, with those of its tokens that the engine has reported."""
        delta = Delta()
        for place, id in enumerate(ids):
            if place < len(tokens):
                first = place == 0  # which OpenAI's API gives no probability
                token = Token(id, None) if first else tokens[place]
                delta.tokens.append(Reported(token, self._stream.characters))
            delta.text += self._stream.echo(id)
        return delta

    def add(self, tokens: Sequence[Token], finish: Finish | None) -> Delta:
        """Returns what generated tokens bring; nothing after a stop string."""
        delta = Delta()
        for token in tokens:
            if self.finish:
                break
            delta.tokens.append(Reported(token, self._stream.characters))
            delta.text += self._stream.add(token.id)
            self.generated += 1
            self.logprob += token.logprob or 0.0
            if self._stream.stopped:
                self.finish = delta.finish = "stop"
                if not finish:
                    self._end()
        if finish and not self.finish:
            delta.text += self._stream.finish()
            self.finish = delta.finish = "stop" if self._stream.stopped else REASONS.get(finish, "length")
        return delta
