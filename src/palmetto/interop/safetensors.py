"""The file format safetensors: a header of names, types and places in JSON, then the bytes of each tensor.

Files are written and read one tensor at a time, and hold nothing but the tensors, so that the same tensors give the
same bytes.
"""

import json
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import ml_dtypes
import numpy as np

from palmetto import files
from palmetto.errors import UserError
from palmetto.interop.forms import Array

TYPES: Mapping[str, tuple[str, np.dtype[Any]]] = {
    "float32": ("F32", np.dtype(np.float32)),
    "bfloat16": ("BF16", np.dtype(ml_dtypes.bfloat16)),
    "float16": ("F16", np.dtype(np.float16)),
}
"""The format's name and NumPy's type of each type that weights are written in."""
_READ = dict(TYPES.values())
SHARD_BYTES = 5_000_000_000
"""The size that the tensors of one file have at most, unless it holds a single one."""
INDEX = "model.safetensors.index.json"


class Planned(Protocol):
    """Describes a tensor that is to be written."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def write(
    folder: Path,
    planned: Sequence[Planned],
    values: Callable[[int], Array],
    dtype: str,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes model.safetensors into a folder, or several files and their index if it would exceed `shard_bytes`.

    `values` returns the float32 values of the n-th tensor; each is asked for once, in order, and dropped when written.
    """
    shards = list(_shards(planned, TYPES[dtype][1].itemsize, shard_bytes))
    places: dict[str, str] = {}
    count, number = len(shards), 0
    for shard, tensors in enumerate(shards, 1):
        name = "model.safetensors" if count == 1 else f"model-{shard:05d}-of-{count:05d}.safetensors"
        places |= {tensor.name: name for tensor in tensors}
        write_file(folder / name, tensors, (values(number + n) for n in range(len(tensors))), dtype)
        number += len(tensors)
    if count > 1:
        total = sum(_size(tensor, TYPES[dtype][1].itemsize) for tensor in planned)
        files.write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _shards(planned: Sequence[Planned], itemsize: int, most: int) -> Iterator[list[Planned]]:
    shard, size = list[Planned](), 0
    for tensor in planned:
        if shard and size + _size(tensor, itemsize) > most:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += _size(tensor, itemsize)
    yield shard


def _size(tensor: Planned, itemsize: int) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * itemsize


def write_file(path: Path, tensors: Sequence[Planned], values: Iterable[Array], dtype: str) -> None:
    """Writes one file of these tensors, with their float32 values in order."""
    name, of = TYPES[dtype]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + _size(tensor, of.itemsize)
        header[tensor.name] = {"dtype": name, "shape": tensor.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with files.atomic(path, end) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        found = iter(values)
        for tensor in tensors:
            _put(file, tensor, next(found), of)  # no name keeps an array while the next one is read


def _put(file: IO[bytes], tensor: Planned, array: Array, of: np.dtype[Any]) -> None:
    assert array.shape == tensor.shape, tensor.name
    file.write(rounded(array, of, tensor.name).view(np.uint8).data)


def rounded(array: Array, of: np.dtype[Any], name: str) -> Array:
    """Returns a float32 array in a type, rounded to nearest, in C's order.

    Raises UserError, which calls it `name`, if a finite number is beyond the type.
    """
    with np.errstate(over="ignore"):
        most = np.fmax(np.fmax.reduce(array, axis=None), -np.fmin.reduce(array, axis=None))
        if np.isfinite(most) and np.isinf(most.astype(of)):
            wider = "bfloat16 or float32" if of == np.float16 else "float32"
            raise UserError(f"{name}: holds {most:g}, which is beyond {of.name}; expected --dtype {wider}")
        return np.ascontiguousarray(array, of)


def read(folder: Path, without: tuple[str, ...] = ()) -> dict[str, Array]:
    """Returns the tensors of a folder's files, mapped from the disk and not yet in memory.

    without: the endings of the names of tensors that are left out, whatever their type.

    Raises UserError if there is no file, a file is damaged, or a type is none of `TYPES`.
    """
    index, whole = folder / INDEX, folder / "model.safetensors"
    if not index.exists():
        if not whole.exists():
            raise UserError(f"{folder}: no {whole.name}{_instead(folder)}; expected weights as safetensors")
        return read_file(whole, without)
    tensors, places = dict[str, Array](), _indexed(index)
    if whole.exists() and whole.name not in places.values():
        raise UserError(f"{folder}: holds {whole.name} and {INDEX} of other files, which may differ; expected one")
    for file in sorted(set(places.values())):
        for name, tensor in read_file(folder / file, without).items():
            if places.get(name) != file:
                raise UserError(f"{folder / file}: {name}: is not in this file as {INDEX} says")
            tensors[name] = tensor
    if missing := [name for name in places if name not in tensors and not name.endswith(without)]:
        raise UserError(f"{folder / places[missing[0]]}: lacks {missing[0]}, which {INDEX} says is in it")
    return tensors


def _instead(folder: Path) -> str:
    """Returns a half sentence that names weights in PyTorch's own format, if a folder has them."""
    found = sorted(folder.glob("*.bin"))
    return f", but {found[0].name}, which is not read: save_pretrained of transformers writes it anew" if found else ""


def _indexed(index: Path) -> dict[str, str]:
    """Returns the name of each tensor's file, which lies beside the index."""
    found = files.read_json(index)
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not places:
        raise UserError(f"{index}: expected weight_map, an object with the file of each tensor")
    for name in places.values():
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise UserError(f"{index}: weight_map: {name!a}: expected the name of a file in the same folder")
    return places


def read_file(path: Path, without: tuple[str, ...] = ()) -> dict[str, Array]:
    """Returns the tensors of one file, as `read` does."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected weights as safetensors") from None
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        _check_cover([entry["data_offsets"] for entry in header.values()], len(data) - 8 - length)
        kept = {name: entry for name, entry in header.items() if not name.endswith(without)}
        return {name: _mapped(data, 8 + length, entry, f"{path}: {name}") for name, entry in kept.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: damaged, or no safetensors file") from None


def _check_cover(places: list[Any], size: int) -> None:
    """Raises ValueError unless the tensors' bytes follow each other from 0 to the end of the file."""
    end = 0
    for start, stop in sorted(map(_sizes, places)):
        if start != end or stop < start:
            raise ValueError
        end = stop
    if end != size:
        raise ValueError


def _mapped(data: mmap.mmap, begin: int, entry: Mapping[str, object], what: str) -> Array:
    shape, offsets, dtype = _sizes(entry["shape"]), _sizes(entry["data_offsets"]), entry["dtype"]
    if dtype not in _READ:
        raise UserError(f"{what}: of type {dtype}; expected one of {', '.join(_READ)}")
    of, [start, end] = _READ[str(dtype)], offsets
    count = math.prod(shape)
    if end - start != count * of.itemsize:
        raise UserError(f"{what}: {end - start} bytes for {count} values; the file is damaged")
    return np.frombuffer(data, of, count, begin + start).reshape(shape)


def _sizes(given: object) -> list[int]:
    """Returns a list of whole numbers from 0 on; raises ValueError if it is anything else."""
    if not isinstance(given, list) or not all(type(each) is int and each >= 0 for each in given):
        raise ValueError
    return given
