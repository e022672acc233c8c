"""Turns tokens into text as they come: whole characters only, and none that may belong to a stop string."""

import codecs
from collections.abc import Sequence

from palmetto.tokens.vocabulary import Vocabulary


class Pieces:
    """Holds what each token of a vocabulary stands for: its bytes, and a name that no other token has."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        pieces = list(vocabulary.pieces())
        self.data = [piece.data for piece in pieces]
        """The bytes of each token; none for [eod]."""
        self.names = [piece.data.decode() if piece.kind == "text" else piece.name for piece in pieces]
        """The text of each token, or a name such as <0x0A> or [eod] for one that is no text.

        No two are equal: sentencepiece gives each piece a name of its own, and writes a space as U+2581, which occurs
        in text pieces alone.
        """


class TextStream:
    """Turns the tokens of one continuation into text.

    It gives text out as soon as no later token can change it: incomplete UTF-8 is held back, and so is what may be the
    beginning of a stop string. What it gives out, joined, does not depend on where the borders of tokens are.
    """

    def __init__(self, pieces: Pieces, stops: Sequence[str] = (), errors: str = "replace") -> None:
        """Begins without text. stops: strings that end the text, none empty. errors: what becomes of invalid UTF-8."""
        self._data = pieces.data
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)
        self._held = ""
        self.characters = 0
        """The number of whole characters in all tokens so far, which is where the text of the next one begins."""
        self.stopped = False
        """Whether a stop string is complete. It and what follows it are not given out."""

    def echo(self, token: int) -> str:
        """Returns the text of a token of the prompt, in which no stop string is looked for."""
        text = self._decoder.decode(self._data[token])
        self.characters += len(text)
        return text

    def add(self, token: int) -> str:
        """Returns the text that has become certain with a token."""
        return self._certain(self.echo(token))

    def finish(self) -> str:
        """Returns the text that was held back, since no token follows."""
        text = self._certain(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return text + held

    def _certain(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            _, start = min(found)  # the one that is complete first; of several, the longest
            return text[:start]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Returns the length of the longest end of `text` with which `stop` begins."""
    longest = min(len(stop) - 1, len(text))
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
