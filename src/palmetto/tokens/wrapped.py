"""The vocabulary of an imported model: a tokenizer.json, as the library tokenizers reads it.

Ids are those of the library. Two promises of our own vocabularies are kept: no text gives a special token, and each id
stands for bytes, so that any bytes can be encoded. A third, that every text comes back, depends on the tokenizer.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from palmetto.corpus.extras import need
from palmetto.errors import UserError
from palmetto.recipe.segments import Special
from palmetto.tokens.vocabulary import Piece, Vocabulary

_SURROGATES = "\ud800-\udfff"
_SPACE = "\u2581"
"""The character that stands for a space in pieces without a byte level."""
_PROBES = {
    "spaces": "  a  b ",
    "the beginning of a text": "a",
    "line ends": "a\r\nb\n",
    "letters with accents": "é e\u0301",
    "wide characters": "Ａ①",
    "capital letters": "aB",
    "NUL": "a\0b",
    "U+2581": f"a{_SPACE}b",
}
"""Texts that some tokenizers change, by what is changed in them."""


_SHORT = 3
"""The most ids of a letter and a token of a byte, with a space in front."""


def wrap(tokenizer: Any, *, beginning: int, end: int, size: int, further_ends: Sequence[int] = ()) -> bytes:
    """Returns the file of a vocabulary: the contents of tokenizer.json and what they do not say.

    beginning, end: the ids in front of a text and behind it. size: the number of ids, of which some may have no token.
    further_ends: the ids besides `end` that end an answer; without any the file says nothing of them, as older ones do.
    """
    further = {"further_ends": list(further_ends)} if further_ends else {}
    return json.dumps({"beginning": beginning, "end": end, **further, "size": size, "tokenizer": tokenizer}).encode()


class WrappedVocabulary(Vocabulary):
    """Encodes and decodes with a foreign tokenizer."""

    def __init__(self, model: bytes, name: str = "vocabulary") -> None:
        """Takes the file of a wrapped vocabulary.

        Raises UserError, which calls it `name`, if there are bytes for which it has no token, if a text gives special
        tokens or those of single bytes by their names, if a further end of answers is text, if the library does not
        know it, or if the library, which the extra `interop` installs, is missing.
        """
        library = need("tokenizers", "interop")
        try:
            values = json.loads(model)
            self.contents: dict[str, Any] = values["tokenizer"]
            """The contents of tokenizer.json."""
            self.beginning, self.eod, self.size = values["beginning"], values["end"], values["size"]
            self.ends = (self.eod, *values.get("further_ends", ()))
            self._tokenizer = library.Tokenizer.from_str(json.dumps(self.contents | {"added_tokens": self._special()}))
        except Exception as error:  # the library raises nothing more special
            raise UserError(f"{name}: the library tokenizers cannot read it ({error})") from None
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()  # which the file says of batches that were once encoded
        self._tokenizer.no_padding()
        self.kind = "wrapped"
        self._model = model
        self.digest = hashlib.sha256(model).hexdigest()
        self._added = dict(self._tokenizer.get_added_tokens_decoder())
        self._by_bytes = '"ByteLevel"' in json.dumps(self.contents.get("decoder"))
        self._unsafe = re.compile(f"([^{_SURROGATES}]+)|([{_SURROGATES}])")
        if not self._by_bytes:
            self._unsafe = re.compile(f"([^{_SURROGATES}{_SPACE}]+)|([{_SURROGATES}{_SPACE}])")
        ids = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        if max(ids, self.beginning + 1, *(end + 1 for end in self.ends)) > self.size:
            raise UserError(
                f"{name}: has {ids:,} ids, begins a text with {self.beginning} and ends it with "
                f"{' or '.join(map(str, self.ends))}, and the model has {self.size:,} ids"
            )
        of_bytes = self._byte_names()
        found = [self._tokenizer.token_to_id(of_bytes[byte]) for byte in range(256)]
        if None in found:
            raise UserError(f"{name}: a tokenizer without a token for each byte, so that not every text has ids")
        self._bytes = found
        self._check_names(name)
        self._mark: list[int] = []
        self._surrogate = -1
        try:
            self._data = [piece.data for piece in self.pieces()]
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
        if text := [id for id in self.ends[1:] if self._data[id]]:  # which would be missing from texts that hold it
            raise UserError(f"{name}: eos_token_id names {text[0]}, {self.name(text[0])!r}; expected special tokens")

    def _special(self) -> list[dict[str, Any]]:
        """Returns the added tokens. One that ends an answer is special, whatever the file says: no text may give it."""
        added = self.contents.get("added_tokens", [])
        return [token | {"special": token.get("special") or token["id"] in self.ends} for token in added]

    def _check_names(self, name: str) -> None:
        """Raises UserError if a text that holds the name of a special token, or of a byte's, gives the token."""
        special = [id for id, added in self._added.items() if added.special]
        by_name = [] if self._by_bytes else self._bytes
        for id in sorted({self.beginning, self.eod, *special, *by_name}):
            text = self.name(id)
            texts = [] if text is None else [before + text for before in ("", "a", " ", "\n", ".")]
            found = [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
            # A byte of the name may have no other token than its own, so a byte's must stand for the whole name.
            if any(id in ids and (id not in by_name or len(ids) <= _SHORT) for ids in found):
                raise UserError(f"{name}: a text with {text!r} gives the special token {id}, which no text may")

    @property
    def around(self) -> tuple[list[int], list[int]]:
        """The ids that the tokenizer itself puts in front of a text, and those behind it."""
        whole, bare = (self._tokenizer.encode("a", add_special_tokens=special).ids for special in (True, False))
        places = (place for place in range(len(whole)) if whole[place : place + len(bare)] == bare)
        start = next(places, 0)
        return whole[:start], whole[start + len(bare) :]

    @property
    def misread(self) -> str:
        """The character that stands for a space, which becomes bytes here, unless the tokenizer reads single bytes."""
        return "" if self._by_bytes else _SPACE

    def changed(self) -> list[str]:
        """Returns what of a text does not come back when it is encoded and decoded; nothing if every text does."""
        return [what for what, text in _PROBES.items() if self.decode(self.encode(text)) != text]

    def remarks(self) -> list[str]:
        """Returns what differs between this vocabulary and the tokenizer as its own programs use it."""
        front, behind = self.around
        remarks = [f"does not give every text back; it changes {', '.join(found)}"] if (found := self.changed()) else []
        if front != [self.beginning]:
            remarks.append(f"puts {self._shown(front)} in front of a text; here it is {self._shown([self.beginning])}")
        if behind:
            remarks.append(f"puts {self._shown(behind)} behind a text; here it is nothing")
        return remarks

    @property
    def specials(self) -> list[Special]:
        """The special tokens that templates of chats may write, of which no text gives the ids."""
        added = (token for token in self._added.values() if token.special and token.content)
        return [Special(token.content, token.lstrip, token.rstrip) for token in added]

    def special(self, name: str) -> int:
        """Returns the id of a special token."""
        return next(id for id, token in self._added.items() if token.content == name)

    def _shown(self, ids: list[int]) -> str:
        return " ".join(self.name(id) or f"[{id}]" for id in ids) or "nothing"

    def extended(self, pieces: Sequence[str]) -> Vocabulary:
        """Returns this vocabulary; raises UserError if it should have further pieces."""
        if pieces:
            raise UserError(f"finetuning.pieces: {pieces[0]!r}: the tokenizer of an imported run takes no new pieces")
        return self

    def name(self, id: int) -> str | None:
        """Returns the tokenizer's own name of an id, None if it has none."""
        found: str | None = self._tokenizer.id_to_token(id)
        return found

    def pieces(self) -> Iterator[Piece]:
        """Yields every entry in the order of ids."""
        taken = set[bytes]()
        for id in range(self.size):
            data = self._bytes_of(id)
            if not data:
                yield Piece(id, self.name(id) or f"[{id}]", "control", b"", 0.0)
            elif data in taken or not _is_text(data) or (id in self._bytes and not self._by_bytes):
                yield Piece(id, "".join(f"<0x{byte:02X}>" for byte in data) + "…" * (data in taken), "byte", data, 0.0)
            else:
                taken.add(data)
                yield Piece(id, self.name(id) or "", "text", data, 0.0)

    def _bytes_of(self, id: int) -> bytes:
        name = self.name(id)
        if name is None:
            return b""
        if id in self._added:
            return b"" if self._added[id].special else name.encode()
        if self._by_bytes:
            if unknown := set(name) - _byte_alphabet().keys():
                raise UserError(f"token {id}, {name!r}: {min(unknown)!r} stands for no byte")
            return bytes(_byte_alphabet()[character] for character in name)
        return bytes([self._bytes.index(id)]) if id in self._bytes else name.replace(_SPACE, " ").encode()

    def _byte_names(self) -> list[str]:
        """Returns the tokenizer's names of the tokens of single bytes."""
        if self._by_bytes:
            return sorted(_byte_alphabet(), key=_byte_alphabet().__getitem__)
        return [f"<0x{byte:02X}>" for byte in range(256)]

    def _encode_runs(self, runs: list[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch_fast(runs, add_special_tokens=False)]


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """Returns the byte that each character of a byte-level token stands for, as in GPT-2.

    Bytes that are visible in Latin-1 stand for themselves, the others for characters from U+0100 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + n): byte for n, byte in enumerate(hidden)}


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
