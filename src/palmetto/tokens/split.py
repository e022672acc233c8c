"""Splits documents into training and validation text by their digests, in one pass and little memory."""

import bisect
import math

from palmetto.errors import UserError


class Split:
    """Holds out the documents whose digest is in the lowest `share` of the range; equal documents stay together.

    If these have fewer than `needed` tokens, those with the next smallest digests are added. If training would be left
    with nothing, the held-out documents are only as many as needed, from the smallest digest on.
    """

    def __init__(self, share: float, needed: int) -> None:
        self._boundary = min(math.ceil(share * 2**64), 2**64 - 1).to_bytes(8).ljust(32, b"\0")
        self._needed = needed
        self._tokens = self._below = 0
        self._largest = b""
        self._smallest: list[tuple[bytes, int]] = []
        """The smallest digests, ascending, with the tokens of their documents; as few as have `needed` tokens."""
        self._filled = 0

    def add(self, digest: bytes, tokens: int) -> None:
        """Adds a document: the digest of its text, and its number of tokens."""
        self._tokens += tokens
        self._largest = max(self._largest, digest)
        if digest < self._boundary:
            self._below += tokens
        if self._filled < self._needed or digest <= self._smallest[-1][0]:
            self._join(digest, tokens)

    def _join(self, digest: bytes, tokens: int) -> None:
        """Adds a document to those of the smallest digests, and removes the ones that are no longer needed."""
        place = bisect.bisect_left(self._smallest, digest, key=lambda each: each[0])
        if place < len(self._smallest) and self._smallest[place][0] == digest:
            self._smallest[place] = (digest, self._smallest[place][1] + tokens)
        else:
            self._smallest.insert(place, (digest, tokens))
        self._filled += tokens
        while self._filled - self._smallest[-1][1] >= self._needed:
            self._filled -= self._smallest.pop()[1]

    @property
    def has_two(self) -> bool:
        """True if there are two different documents, one for each half."""
        return bool(self._smallest) and self._smallest[0][0] != self._largest

    def boundary(self) -> bytes:
        """Returns the digest below which documents are held out; raises UserError if there is too little text for
        two halves.
        """
        assert self.has_two, "a document for each half"
        if self._needed <= self._below < self._tokens:
            self._check(self._below)
            return self._boundary
        joined = [(digest, tokens) for digest, tokens in self._smallest if digest != self._largest]
        self._check(sum(tokens for _, tokens in joined))
        return (int.from_bytes(joined[-1][0]) + 1).to_bytes(32)

    def _check(self, held_out: int) -> None:
        for name, tokens in (("validation", held_out), ("training", self._tokens - held_out)):
            if tokens < self._needed:
                raise UserError(
                    f"the {name} text has {tokens} tokens (of {self._tokens} in all), one window needs {self._needed} "
                    "(tokens.sequence_length + 1): give more text, or lower tokens.sequence_length"
                )
