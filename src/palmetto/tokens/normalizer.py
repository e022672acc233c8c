"""Reads settings of a serialized sentencepiece model, and writes a piece of one.

The Python interface of sentencepiece gives neither.
"""

import struct
from collections.abc import Iterator

from palmetto.errors import UserError

LOSSLESS = (b"", 0, 0, 1)
"""The settings that change no text: no map of characters, no space added in front, none dropped, spaces as U+2581."""
_PIECE, _TRAINER_SPEC, _NORMALIZER_SPEC = 1, 2, 3
_MODEL_TYPE, _BPE = 3, 2


def is_bpe(model: bytes) -> bool:
    """Returns whether a serialized model merges pairs, and is no unigram model, the format's default."""
    trainer = dict(_fields(model)).get(_TRAINER_SPEC)
    return isinstance(trainer, bytes) and dict(_fields(trainer)).get(_MODEL_TYPE) == _BPE


def settings(model: bytes, name: str) -> tuple[bytes | int, ...]:
    """Returns the normalizer settings of a serialized model, with the format's defaults for those not written.

    The settings are those of `LOSSLESS`. Raises UserError, which names the model, if it is no sentencepiece model.
    """
    try:
        spec = dict(_fields(model))[_NORMALIZER_SPEC]
        fields = dict(_fields(spec)) if isinstance(spec, bytes) else {}
    except (KeyError, IndexError, ValueError):
        raise UserError(f"{name}: not a sentencepiece model, or a damaged one; train it again") from None
    return tuple(fields.get(number, default) for number, default in ((2, b""), (3, 1), (4, 1), (5, 1)))


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields (number, value) of the fields of a protocol buffer; the last value of a number counts."""
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


def added(model: bytes) -> int:
    """Returns how many of a serialized model's pieces were appended by `piece`: they follow its settings."""
    numbers = [number for number, _ in _fields(model)]
    return numbers[numbers.index(_NORMALIZER_SPEC) :].count(_PIECE)


def piece(name: str) -> bytes:
    """Returns what a serialized model gets appended to have a further piece, which always is one token.

    Fields that a message repeats may stand anywhere in it: field 1 of a model is a piece, with the fields 1 (name), 2
    (score) and 3 (type, of which 4 is "user-defined").
    """
    text = name.encode()
    score = struct.pack("<Bf", 2 << 3 | 5, 0.0)
    message = bytes([1 << 3 | 2]) + _varint(len(text)) + text + score + bytes([3 << 3, 4])
    return bytes([1 << 3 | 2]) + _varint(len(message)) + message


def _varint(number: int) -> bytes:
    digits = []
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])
