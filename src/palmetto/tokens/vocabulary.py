"""The vocabulary: a sentencepiece model that gives back every text, and every byte, exactly as it was.

Sentencepiece alone does not: it reads U+2581 as a space, takes no lone surrogate, and in training gives up lines that
hold its own markers. So the characters it mangles never reach it: they are written as the byte pieces of their UTF-8,
and decoding is a table of our own from id to bytes.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto import files
from palmetto.errors import UserError
from palmetto.tokens import training

Kind = Literal["bpe", "unigram"]
Ids = npt.NDArray[np.int32]

EOD = "[eod]"
SURROGATE = "[surrogate]"

# U+2581 is sentencepiece's space; U+2585 its unknown character and NUL the end of its strings, in training.
_UNSAFE = "\u2581\u2585\x00\ud800-\udfff"
# Runs for encoding end at a line's end where they can: a newline is a piece by itself, so the cut costs no token, while
# a long run costs the unigram search its float32 precision and all but one core.
_RUN = re.compile(f"([^{_UNSAFE}]{{1,4000}}[^\n{_UNSAFE}]{{0,60000}}\n*)|([{_UNSAFE}])")
# Sentences for training; sentencepiece would leave out what is longer than its limit.
_SENTENCE_CHARACTERS = 4000
_SENTENCE = re.compile(f"[^\n\t{_UNSAFE}]{{1,{_SENTENCE_CHARACTERS}}}")
_SURROGATE_CHARACTER = re.compile("[\ud800-\udfff]")

# The number of threads changes the model that comes out, so it is not the machine's.
_TRAINING_THREADS = 8
_COVERAGE = 0.9995
_ERRORS_ONLY = 2
# Asked for more, sentencepiece takes minutes to say that the text gives less, or cannot read the number.
_LARGEST = 1 << 24
# Bytes, controls, newline and tab, the unknown character.
_ALWAYS = 256 + 2 + 2 + 1


class SizeError(UserError):
    """A vocabulary size that the text does not allow; `least` or `largest` is the nearest one that it does."""

    def __init__(self, message: str, least: int | None = None, largest: int | None = None) -> None:
        super().__init__(message)
        self.least = least
        self.largest = largest


class Piece(NamedTuple):
    """An entry of the vocabulary. `data` is what it decodes to; `score` orders merges (bpe) or is a log probability."""

    id: int
    name: str
    kind: Literal["text", "byte", "control", "unknown"]
    data: bytes
    score: float


class Vocabulary:
    """Text to ids and back. Ids lie in [0, size); `eod` is the id that ends a document and never comes from text."""

    def __init__(self, model: bytes, name: str = "vocabulary") -> None:
        """Takes a serialized sentencepiece model; UserError, by `name`, if it is not one or not a lossless one."""
        import sentencepiece

        normalizer = _normalizer(model, name)
        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.load_from_serialized_proto(model)
        except RuntimeError:
            raise UserError(f"{name}: not a sentencepiece model, or a damaged one; train it again") from None
        self._processor = processor
        self._model = model
        self.digest = hashlib.sha256(model).hexdigest()
        self.size: int = processor.get_piece_size()
        self.eod: int = processor.piece_to_id(EOD)
        self._surrogate: int = processor.piece_to_id(SURROGATE)
        self._bytes: list[int] = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        lacking = [control for control in (EOD, SURROGATE) if not processor.is_control(processor.piece_to_id(control))]
        if not all(map(processor.is_byte, self._bytes)):
            lacking.append("a piece for every byte")
        if normalizer != _LOSSLESS:
            lacking.append("a normalizer that changes nothing")
        if lacking:
            raise UserError(
                f"{name}: a sentencepiece model, but not a lossless one (it lacks {', '.join(lacking)}); "
                "train one with `palmetto tokenizer train`"
            )
        self._data = [piece.data for piece in self.pieces()]

    @classmethod
    def train(cls, texts: Iterable[str], size: int, kind: Kind) -> "Vocabulary":
        """Trains on `texts`, to exactly `size` pieces; the same texts in the same order give the same model bytes.

        SizeError where the text gives fewer pieces or has more characters than that; UserError where there is no text.
        """
        settings = {
            "model_type": kind,
            "vocab_size": min(max(size, 1), _LARGEST),
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "add_dummy_prefix": False,
            "byte_fallback": True,
            "split_digits": True,
            "allow_whitespace_only_pieces": True,
            "user_defined_symbols": ["\n", "\t"],
            "control_symbols": [EOD, SURROGATE],
            "bos_id": -1,
            "eos_id": -1,
            "pad_id": -1,
            "character_coverage": _COVERAGE,
            "max_sentence_length": 4 * _SENTENCE_CHARACTERS,
            "num_threads": _TRAINING_THREADS,
            "minloglevel": _ERRORS_ONLY,
        }
        sentences = (sentence for text in texts for sentence in _SENTENCE.findall(text))
        try:
            return cls(training.train(sentences, settings))
        except training.Refused as error:
            raise _training_error(str(error), size) from error

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Reads a model file; UserError if there is none, or it is not a lossless sentencepiece model."""
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise UserError(f"{path}: cannot read the vocabulary ({error.strerror})") from None

    def save(self, path: Path) -> None:
        """Writes the model as sentencepiece itself would: any program that reads such models can read it."""
        files.write_bytes(path, self._model)

    def encode(self, text: str) -> Ids:
        """The ids of any str, int32 of shape [tokens]; `decode` gives back the same str."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[Ids]:
        """`encode` of each text, on all cores (whose number does not change the ids)."""
        runs: list[str] = []
        plans = [self._plan(text, runs) for text in texts]
        encoded = self._processor.encode(runs, num_threads=os.cpu_count() or 1)
        return [
            np.array([id for part in plan for id in (encoded[part] if isinstance(part, int) else part)], np.int32)
            for plan in plans
        ]

    def decode(self, ids: Iterable[int] | Ids) -> str:
        """The text of `ids`; bytes that are not UTF-8 come as surrogate escapes, [eod] as nothing, unknown as U+FFFD.

        UserError for an id outside the vocabulary.
        """
        first, *rest = _split(self._checked(ids), self._surrogate)
        return self._join(first).decode("utf-8", "surrogateescape") + "".join(
            _decode_surrogate(self._join(part)) for part in rest
        )

    def encode_bytes(self, data: bytes) -> Ids:
        """The ids of any bytes, int32 of shape [tokens]; `decode_bytes` gives back the same bytes."""
        return self.encode(data.decode("utf-8", "surrogateescape"))

    def decode_bytes(self, ids: Iterable[int] | Ids) -> bytes:
        """The bytes of `ids`; UserError for an id outside the vocabulary."""
        return self._join(self._checked(ids))

    def pieces(self) -> Iterator[Piece]:
        """Every entry, by id."""
        processor = self._processor
        for id in range(self.size):
            text, score = processor.id_to_piece(id), processor.get_score(id)
            if processor.is_byte(id):
                yield Piece(id, text, "byte", bytes([int(text[3:5], 16)]), score)
            elif processor.is_control(id):
                yield Piece(id, text, "control", b"", score)
            elif processor.is_unknown(id):
                yield Piece(id, text, "unknown", "\ufffd".encode(), score)
            else:
                yield Piece(id, text, "text", text.replace("\u2581", " ").encode(), score)

    def _plan(self, text: str, runs: list[str]) -> list[int | list[int]]:
        """Cuts `text` into safe runs, each appended to `runs` and planned as its number, and unsafe ones as ids."""
        raw = _is_raw(text)
        plan: list[int | list[int]] = []
        for run, character in _RUN.findall(text):
            if run:
                plan.append(len(runs))
                runs.append(run)
            elif not "\ud800" <= character <= "\udfff":
                plan.append([self._bytes[byte] for byte in character.encode()])
            elif raw:
                plan.append([self._bytes[ord(character) - 0xDC00]])
            else:
                plan.append([self._surrogate, *(self._bytes[b] for b in character.encode("utf-8", "surrogatepass"))])
        return plan

    def _checked(self, ids: Iterable[int] | Ids) -> list[int]:
        checked = [int(id) for id in ids]
        for place, id in enumerate(checked):
            if not 0 <= id < self.size:
                raise UserError(f"token {id} at place {place}: ids of this vocabulary go from 0 to {self.size - 1}")
        return checked

    def _join(self, ids: list[int]) -> bytes:
        return b"".join([self._data[id] for id in ids])


def least_size(texts: Iterable[str]) -> int:
    """The fewest pieces that training on these texts takes: those of every vocabulary, and the characters that make up
    all but 0.05 % of the text, as sentencepiece counts them."""
    counts: Counter[str] = Counter()
    for text in texts:
        for sentence in _SENTENCE.findall(text):
            counts.update(sentence)
    whole, covered, least = counts.total(), 0, _ALWAYS
    for _, number in counts.most_common():
        if covered / whole >= _COVERAGE:
            break
        covered, least = covered + number, least + 1
    return least


def _is_raw(text: str) -> bool:
    """Whether the surrogates in `text` are just what decoding raw bytes gives, so that raw bytes can stand for them.

    They are not if one is no escaped byte (U+D800), or if together they spell valid UTF-8.
    """
    if not _SURROGATE_CHARACTER.search(text):
        return True
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text
    except UnicodeEncodeError:
        return False


def _split(ids: list[int], separator: int) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for id in ids:
        if id == separator:
            parts.append([])
        else:
            parts[-1].append(id)
    return parts


def _decode_surrogate(data: bytes) -> str:
    """What follows a [surrogate]: its three bytes, then text. (A language model may put anything there.)"""
    is_surrogate = len(data) >= 3 and data[0] == 0xED and 0xA0 <= data[1] < 0xC0 and 0x80 <= data[2] < 0xC0
    end = 3 if is_surrogate else 0
    return data[:end].decode("utf-8", "surrogatepass") + data[end:].decode("utf-8", "surrogateescape")


def _training_error(message: str, size: int) -> UserError:
    """Sentencepiece's own message, as one that says what would do."""
    if too_large := re.search(r"size too high .* <= (\d+)", message):
        largest = int(too_large[1])
        return SizeError(
            f"a vocabulary of {size} pieces is more than the text gives: set tokens.vocabulary_size to at most "
            f"{largest}, or give more text",
            largest=largest,
        )
    if too_small := re.search(r"required_chars\. -?\d+ vs (\d+)", message):
        least = int(too_small[1])
        return SizeError(
            f"a vocabulary of {size} pieces is too small for the characters of the text: set tokens.vocabulary_size "
            f"to at least {least}",
            least=least,
        )
    if "sentences_.empty()" in message:
        return UserError("no text to train a vocabulary on; give a source with text (--source PATH)")
    return UserError(f"a vocabulary of {size} pieces cannot be trained: {message}")


# The fields of sentencepiece's NormalizerSpec that matter: (map of characters, add a space in front, drop spaces,
# write spaces as U+2581).
_LOSSLESS = (b"", 0, 0, 1)
_NORMALIZER_SPEC = 3


def _normalizer(model: bytes, name: str) -> tuple[bytes | int, ...]:
    """The normalizer settings of a serialized model, with the format's defaults where one is not written."""
    try:
        spec = dict(_fields(model))[_NORMALIZER_SPEC]
        fields = dict(_fields(spec)) if isinstance(spec, bytes) else {}
    except (KeyError, IndexError, ValueError):
        raise UserError(f"{name}: not a sentencepiece model, or a damaged one; train it again") from None
    return tuple(fields.get(number, default) for number, default in ((2, b""), (3, 1), (4, 1), (5, 1)))


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields (number, value) of the fields of a protocol buffer; the last of a number counts."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            yield number, varint()
            continue
        length = {1: 8, 2: 0, 5: 4}.get(wire)
        if length is None:
            raise ValueError(f"no wire type {wire} in a sentencepiece model")
        length = length or varint()
        if at + length > len(message):
            raise ValueError("the message ends early")
        yield number, message[at : at + length]
        at += length
