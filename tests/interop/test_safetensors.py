"""Tests the file format of weights: what is written is read, in shards too, and damage is reported."""

import json
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.interop import safetensors
from palmetto.interop.safetensors import INDEX


class Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]


TENSORS = [Tensor("a", (3, 4)), Tensor("b.c", (5,)), Tensor("ö", ())]
VALUES = [np.random.default_rng(n).normal(size=tensor.shape).astype(np.float32) for n, tensor in enumerate(TENSORS)]


@pytest.mark.parametrize("dtype", safetensors.TYPES)
@pytest.mark.parametrize("shard", [10**9, 48, 1])
def test_tensors_are_read_as_they_were_written(dtype: str, shard: int, tmp_path: Path) -> None:
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, dtype, shard)
    found = safetensors.read(tmp_path)
    assert list(found) == [tensor.name for tensor in TENSORS]
    for array, values in zip(found.values(), VALUES, strict=True):
        assert array.dtype == safetensors.TYPES[dtype][1]
        assert np.array_equal(array, values.astype(array.dtype))


def test_shards_have_an_index(tmp_path: Path) -> None:
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, "float32", 50)
    index = json.loads((tmp_path / INDEX).read_text())
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert index == {"metadata": {"total_size": 72}, "weight_map": {"a": first, "b.c": second, "ö": second}}


def test_the_header_is_what_the_format_says(tmp_path: Path) -> None:
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, "bfloat16")
    data = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    assert header["a"] == {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]}
    assert data[8 + length :][:24] == VALUES[0].astype(ml_dtypes.bfloat16).tobytes()
    assert len(data) == 8 + length + 2 * 18


def test_damaged_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read"):
        safetensors.read(tmp_path)
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, "float32")
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for data, message in (
        (whole[:-4], "damaged"),
        (whole.replace(b"F32", b"F64"), "of type F64; expected one of F32"),
        (whole.replace(b"[3,4]", b"[3,5]"), "48 bytes for 15 values"),
        (b"not a header at all", "no safetensors file"),
    ):
        file.write_bytes(data)
        with pytest.raises(UserError, match=message):
            safetensors.read(tmp_path)
