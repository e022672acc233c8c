"""The vocabulary: a sentencepiece model from which every text, and every byte, can be restored exactly.

Sentencepiece alone is not lossless: it reads U+2581 as a space, rejects lone surrogates, and in training drops lines
that contain its own markers. So these characters never reach it: they are encoded as the byte pieces of their UTF-8,
and decoding uses our own table from id to bytes.
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
from palmetto.recipe.segments import Special
from palmetto.tokens import normalizer, training

Kind = Literal["bpe", "unigram", "wrapped"]
Ids = npt.NDArray[np.int32]

EOD = "[eod]"
SURROGATE = "[surrogate]"

# U+2581 is sentencepiece's space; in training, U+2585 is its unknown character and NUL ends its strings.
_UNSAFE = "\u2581\u2585\x00\ud800-\udfff"
# Runs for encoding end at a line's end where possible. A newline is a piece by itself, so the cut costs no token; a
# longer run would cost the unigram search its float32 precision, and leave all but one core idle.
_RUN = re.compile(f"([^{_UNSAFE}]{{1,4000}}[^\n{_UNSAFE}]{{0,60000}}\n*)|([{_UNSAFE}])")
# Sentences for training; sentencepiece ignores those longer than its limit.
_SENTENCE_CHARACTERS = 4000
_SENTENCE = re.compile(f"[^\n\t{_UNSAFE}]{{1,{_SENTENCE_CHARACTERS}}}")
_SURROGATE_CHARACTER = re.compile("[\ud800-\udfff]")

# The model depends on the number of threads, so it is fixed rather than the machine's.
_TRAINING_THREADS = 8
_COVERAGE = 0.9995
_ERRORS_ONLY = 2
# For larger sizes, sentencepiece takes minutes to report that the text gives less, or cannot parse the number.
_LARGEST = 1 << 24
# The pieces of every vocabulary: bytes, controls, newline and tab, the unknown character.
_ALWAYS = 256 + 2 + 2 + 1


class Piece(NamedTuple):
    """An entry of the vocabulary.

    kind: "added" is a text that `Vocabulary.extended` has added: one token wherever it stands. data: the bytes that it
    decodes to. score: the order of merges (bpe) or a log probability (unigram).
    """

    id: int
    name: str
    kind: Literal["text", "added", "byte", "control", "unknown"]
    data: bytes
    score: float


class Vocabulary:
    """Encodes text to ids and decodes ids. Ids are in [0, size); `eod` ends a document and never results from text."""

    def __init__(self, model: bytes, name: str = "vocabulary") -> None:
        """Takes a serialized sentencepiece model; raises UserError, which calls it `name`, if it is not a lossless
        one.
        """
        import sentencepiece

        settings = normalizer.settings(model, name)
        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.load_from_serialized_proto(model)
        except RuntimeError:
            raise UserError(f"{name}: not a sentencepiece model, or a damaged one; train it again") from None
        self.kind: Kind = "bpe" if normalizer.is_bpe(model) else "unigram"
        self._processor = processor
        self._model = model
        self.digest = hashlib.sha256(model).hexdigest()
        self.size: int = processor.get_piece_size()
        self._trained = self.size - normalizer.added(model)
        """The number of pieces from training, which are the first."""
        self.eod: int = processor.piece_to_id(EOD)
        self.beginning = self.eod
        """The id in front of a text."""
        self.ends: tuple[int, ...] = (self.eod,)
        """The ids that end an answer: `eod`, and those with which an imported chat model ends its turns."""
        self._surrogate: int = processor.piece_to_id(SURROGATE)
        self._mark = [self._surrogate]
        self._unsafe = _RUN
        self._bytes: list[int] = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        lacking = [control for control in (EOD, SURROGATE) if not processor.is_control(processor.piece_to_id(control))]
        if not all(map(processor.is_byte, self._bytes)):
            lacking.append("a piece for every byte")
        if settings != normalizer.LOSSLESS:
            lacking.append("a normalizer that changes nothing")
        if lacking:
            raise UserError(
                f"{name}: a sentencepiece model, but not a lossless one (it lacks {', '.join(lacking)}); "
                "train one with `palmetto tokenizer train`"
            )
        self._data = [piece.data for piece in self.pieces()]

    @classmethod
    def train(cls, texts: Iterable[str], size: int, kind: Kind) -> "Vocabulary":
        """Trains on `texts` to exactly `size` pieces; the same texts in the same order give the same model bytes.

        Raises SizeError if the text gives fewer pieces or has too many characters, and UserError if there is no text,
        or for the kind of an imported run.
        """
        if kind == "wrapped":
            raise UserError("tokens.vocabulary=wrapped: comes with an imported run; expected bpe or unigram to train")
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
            raise training.explain(str(error), size) from error

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Reads a model file; raises UserError if there is none, or it is no lossless sentencepiece model."""
        return cls(contents(path), str(path))

    def save(self, path: Path) -> None:
        """Writes the model, our own in sentencepiece's format, which other programs can read."""
        files.write_bytes(path, self._model)

    @property
    def misread(self) -> str:
        """The characters that the library it was made by gives other ids."""
        return ""

    def extended(self, pieces: Sequence[str]) -> "Vocabulary":
        """Returns a vocabulary with these texts as further pieces, whose ids follow; the ids of the others stay.

        Wherever such a text stands, it becomes this one token. Raises UserError for a text that is a piece already, or
        that no piece can be.
        """
        known = {piece.name for piece in self.pieces()}
        added = b""
        for text in pieces:
            name = text.replace(" ", "\u2581")
            if name in known:
                raise UserError(f"finetuning.pieces: {text!r} is a piece of the vocabulary already; expected a new one")
            if re.search(f"[{_UNSAFE}]", text):
                raise UserError(f"finetuning.pieces: {text!r} has a character that no piece can have")
            known.add(name)
            added += normalizer.piece(name)
        return Vocabulary(self._model + added) if added else self

    def encode(self, text: str) -> Ids:
        """Returns the ids of any str, int32 of shape [tokens]; `decode` restores the str."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[Ids]:
        """Encodes each text, on all cores, whose number does not change the ids."""
        runs: list[str] = []
        plans = [self._plan(text, runs) for text in texts]
        encoded = self._encode_runs(runs)
        return [
            np.array([id for part in plan for id in (encoded[part] if isinstance(part, int) else part)], np.int32)
            for plan in plans
        ]

    @property
    def between(self) -> list[int]:
        """The ids between two documents."""
        return [self.eod] if self.beginning == self.eod else [self.eod, self.beginning]

    def remarks(self) -> list[str]:
        """Returns how the tokenizer that it was made from is used elsewhere, if differently; nothing for our own."""
        return []

    @property
    def specials(self) -> list[Special]:
        """The special tokens of a foreign tokenizer, which templates of chats may write; ours has none."""
        return []

    def special(self, name: str) -> int:
        """Returns the id of one of `specials`, given its name."""
        raise AssertionError(f"{name}: our own vocabularies have no special token for templates")

    @property
    def around(self) -> tuple[list[int], list[int]]:
        """The ids that an export's tokenizer puts in front of a text, and those behind it."""
        return [self.beginning], []

    def decode(self, ids: Iterable[int] | Ids) -> str:
        """Returns the text of `ids`; bytes that are not UTF-8 become surrogate escapes, [eod] nothing, unknown ids
        U+FFFD.

        Raises UserError for an id outside the vocabulary.
        """
        first, *rest = _split(self._checked(ids), self._surrogate)
        return self._join(first).decode("utf-8", "surrogateescape") + "".join(
            _decode_surrogate(self._join(part)) for part in rest
        )

    def encode_bytes(self, data: bytes) -> Ids:
        """Returns the ids of any bytes, int32 of shape [tokens]; `decode_bytes` restores the bytes."""
        return self.encode(data.decode("utf-8", "surrogateescape"))

    def decode_bytes(self, ids: Iterable[int] | Ids) -> bytes:
        """Returns the bytes of `ids`; raises UserError for an id outside the vocabulary."""
        return self._join(self._checked(ids))

    def pieces(self) -> Iterator[Piece]:
        """Yields every entry in the order of ids."""
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
                kind: Literal["text", "added"] = "text" if id < self._trained else "added"
                yield Piece(id, text, kind, text.replace("\u2581", " ").encode(), score)

    def _plan(self, text: str, runs: list[str]) -> list[int | list[int]]:
        """Splits `text` into safe runs, appended to `runs` and planned by their index, and unsafe characters,
        planned as ids.
        """
        raw = _is_raw(text)
        plan: list[int | list[int]] = []
        for run, character in self._unsafe.findall(text):
            if run:
                plan.append(len(runs))
                runs.append(run)
            elif not "\ud800" <= character <= "\udfff":
                plan.append([self._bytes[byte] for byte in character.encode()])
            elif raw:
                plan.append([self._bytes[ord(character) - 0xDC00]])
            else:
                plan.append([*self._mark, *(self._bytes[b] for b in character.encode("utf-8", "surrogatepass"))])
        return plan

    def _encode_runs(self, runs: list[str]) -> list[list[int]]:
        encoded: list[list[int]] = self._processor.encode(runs, num_threads=os.cpu_count() or 1)
        return encoded

    def _checked(self, ids: Iterable[int] | Ids) -> list[int]:
        checked = [int(id) for id in ids]
        for place, id in enumerate(checked):
            if not 0 <= id < self.size:
                raise UserError(f"token {id} at place {place}: ids of this vocabulary go from 0 to {self.size - 1}")
        return checked

    def _join(self, ids: list[int]) -> bytes:
        return b"".join([self._data[id] for id in ids])


def contents(path: Path) -> bytes:
    """Returns the bytes of a vocabulary's file; raises UserError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read the vocabulary ({error.strerror})") from None


def least_size(texts: Iterable[str]) -> int:
    """Returns the smallest number of pieces that training on these texts allows.

    It counts the pieces of every vocabulary, and the characters that make up all but 0.05 % of the text, as
    sentencepiece does.
    """
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
    """Returns whether the surrogates in `text` are exactly those that decoding raw bytes gives, so raw bytes can encode
    them.

    They are not if one of them escapes no byte (U+D800), or if together they spell valid UTF-8.
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
    """Decodes the bytes after a [surrogate]: three bytes of a surrogate, then text. A language model may put
    anything there.
    """
    is_surrogate = len(data) >= 3 and data[0] == 0xED and 0xA0 <= data[1] < 0xC0 and 0x80 <= data[2] < 0xC0
    end = 3 if is_surrogate else 0
    return data[:end].decode("utf-8", "surrogatepass") + data[end:].decode("utf-8", "surrogateescape")
