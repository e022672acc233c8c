"""Turns tokens into text as they come: whole characters only, and none that may belong to a stop string."""

import codecs
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from palmetto.tokens.vocabulary import Vocabulary


class Pieces:
    """Holds what each token of a vocabulary stands for: its bytes, and a name that no other token has."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        pieces = list(vocabulary.pieces())
        self.data = [piece.data for piece in pieces]
        """The bytes of each token; none for [eod]."""
        names = [piece.data.decode() if piece.kind in ("text", "added") else piece.name for piece in pieces]
        self.names = list(_distinct(names))
        """The text of each token, or a name such as <0x0A> or [eod] for one that is no text; no two are equal."""


def _distinct(names: Sequence[str]) -> Iterator[str]:
    """Yields names, with the id behind one that an earlier token has: in imported vocabularies bytes may repeat."""
    taken, all_names = set[str](), set(names)
    for id, name in enumerate(names):
        own = name
        if name in taken:
            own = f"{name}[{id}]"
            while own in all_names:
                own += "…"
            all_names.add(own)
        taken.add(own)
        yield own


def ended_by(stops: Sequence[str], pieces: Pieces) -> Callable[[Sequence[int]], bool] | None:
    """Returns what says whether generated ids hold one of these strings, for beams; None without strings."""
    if not stops:
        return None
    ends = [stop.encode(errors="surrogatepass") for stop in stops]

    def ended(generated: Sequence[int]) -> bool:
        data = b"".join(pieces.data[id] for id in generated)
        return any(end in data for end in ends)

    return ended


class TextStream:
    """Turns the tokens of one continuation into text.

    It gives text out as soon as no later token can change it: incomplete UTF-8 is held back, and so is what may be the
    beginning of a stop string. What it gives out, joined, does not depend on where the borders of tokens are.
    """

    def __init__(self, pieces: Pieces, stops: Sequence[str] = (), errors: str = "replace") -> None:
        """Begins without text. stops: strings that end the text, none empty. errors: what becomes of invalid UTF-8."""
        self._data = pieces.data
        self._endings = [_Ending(stop) for stop in stops]
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)
        self._held = ""
        self.characters = 0
        """The number of whole characters in all tokens so far, which is where the text of the next one begins."""
        self.stopped = False
        """True if a stop string is complete. It and what follows it are not given out."""

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
        text, new = self._held + text, len(self._held)
        for place in range(new, len(text)) if self._endings else ():
            complete = [len(ending.stop) for ending in self._endings if ending.add(text[place])]
            if complete:
                self.stopped, self._held = True, ""
                return text[: place + 1 - max(complete)]
        held = max((ending.length for ending in self._endings), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


class _Ending:
    """Follows with how much of the beginning of a stop string a text ends (Knuth, Morris and Pratt).

    A character takes constant time on average, however long the string is.
    """

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.length = 0
        """The length of the longest beginning of the stop string with which the text ends."""
        self._shorter = _shorter(stop)

    def add(self, character: str) -> bool:
        """Takes the next character of the text; returns whether the stop string is complete."""
        while self.length and self.stop[self.length] != character:
            self.length = self._shorter[self.length]
        self.length += self.stop[self.length] == character
        return self.length == len(self.stop)


@lru_cache(maxsize=1024)
def _shorter(stop: str) -> tuple[int, ...]:
    """Returns, for each length of a beginning of `stop`, the length of the next shorter one with which it ends."""
    lengths = [0, 0]
    for character in stop[1:]:
        length = lengths[-1]
        while length and stop[length] != character:
            length = lengths[length]
        lengths.append(length + (stop[length] == character))
    return tuple(lengths)
