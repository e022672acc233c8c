"""The file format GGUF, version 3: facts about a model by key, then the places of its tensors, then their bytes."""

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from palmetto import files
from palmetto.interop.forms import Array
from palmetto.interop.rows import Tensor
from palmetto.interop.safetensors import TYPES, rounded

Fact = str | bool | int | float | list[str] | list[int] | list[float]

ALIGNMENT = 32
_VERSION = 3
_TENSOR_TYPES = {"float32": 0, "float16": 1, "bfloat16": 30}
_LIST = 9
_SCALARS: Mapping[type, tuple[int, str]] = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}
"""The format's number, and that of `struct`, for each type of fact; integers in lists are signed."""
_STRING, _INT32 = 8, 5


def write(
    path: Path, facts: Mapping[str, Fact], tensors: Sequence[Tensor], values: Callable[[Tensor], Array], dtype: str
) -> None:
    """Writes a model. Matrices are of type `dtype`, vectors float32; each tensor is asked for once and dropped."""
    types = ["float32" if len(tensor.shape) == 1 else dtype for tensor in tensors]
    sizes = [int(np.prod(t.shape)) * TYPES[of][1].itemsize for t, of in zip(tensors, types, strict=True)]
    head = b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(facts))
    head += b"".join(_string(key) + _fact(fact) for key, fact in facts.items())
    begin = 0
    for tensor, of, size in zip(tensors, types, sizes, strict=True):
        dimensions = tensor.shape[::-1]
        head += _string(tensor.name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        head += struct.pack("<IQ", _TENSOR_TYPES[of], begin)
        begin += size + -size % ALIGNMENT
    with files.atomic(path, len(head) + begin) as file:
        file.write(head + bytes(-len(head) % ALIGNMENT))
        for tensor, of, size in zip(tensors, types, sizes, strict=True):
            file.write(rounded(values(tensor), TYPES[of][1], tensor.name).view(np.uint8).data)
            file.write(bytes(-size % ALIGNMENT))


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _fact(fact: Fact) -> bytes:
    """Returns a fact with its type in front."""
    if isinstance(fact, str):
        return struct.pack("<I", _STRING) + _string(fact)
    if not isinstance(fact, list):
        number, code = _SCALARS[type(fact)]
        return struct.pack(f"<I{code}", number, fact)
    if isinstance(fact[0], str):
        return struct.pack("<IIQ", _LIST, _STRING, len(fact)) + b"".join(_string(str(text)) for text in fact)
    number, code = (_INT32, "i") if isinstance(fact[0], int) else _SCALARS[float]
    return struct.pack(f"<IIQ{len(fact)}{code}", _LIST, number, len(fact), *fact)
