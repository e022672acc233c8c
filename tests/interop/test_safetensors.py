"""Tests the file format of weights: what is written is read, in shards too, and damage is reported."""

import json
import os
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


def test_an_index_that_says_otherwise_is_refused(tmp_path: Path) -> None:
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, "float32", 50)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    for places, message in (
        ({"a": second, "b.c": second, "ö": second}, "a, which .* says is in it"),
        ({"a": first, "b.c": second}, "ö: is not in this file as"),
        ({"a": first, "b.c": first, "ö": second}, "b.c: is not in this file as"),
    ):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": places}))
        with pytest.raises(UserError, match=message):
            safetensors.read(tmp_path)
    (tmp_path / first).rename(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"holds model\.safetensors and .*, which may differ"):
        safetensors.read(tmp_path)
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, "float32")
    places = dict.fromkeys(("a", "b.c", "ö"), "model.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": places}))
    assert len(safetensors.read(tmp_path)) == 3


def test_numbers_beyond_a_type_are_refused(tmp_path: Path) -> None:
    large = [VALUES[0] + np.float32(7e4), *VALUES[1:]]
    with pytest.raises(UserError, match=r"a: holds 7000\d.*, which is beyond float16; expected --dtype bfloat16"):
        safetensors.write(tmp_path, TENSORS, large.__getitem__, "float16")
    assert list(tmp_path.iterdir()) == []
    safetensors.write(tmp_path, TENSORS, large.__getitem__, "bfloat16")
    with pytest.raises(UserError, match="beyond bfloat16; expected --dtype float32"):
        safetensors.rounded(np.array([3.4e38, np.nan], np.float32), np.dtype(ml_dtypes.bfloat16), "a")


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
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match=r"no model\.safetensors, but pytorch_model\.bin, which is not read"):
        safetensors.read(tmp_path)
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, "float32")
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for data, message in (
        (whole[:-4], "damaged"),
        (whole + b"\0\0\0\0", "damaged"),
        (b"\xff" * 8 + whole[8:], "damaged"),
        (whole.replace(b'"b.c"', b'"a"  '), "damaged"),
        (whole.replace(b"F32", b"F64"), "of type F64; expected one of F32"),
        (whole.replace(b"[3,4]", b"[3,5]"), "48 bytes for 15 values"),
        (b"not a header at all", "no safetensors file"),
    ):
        file.write_bytes(data)
        with pytest.raises(UserError, match=message):
            safetensors.read(tmp_path)
    with pytest.raises(UserError, match=r"cannot be read \(.*too long"):
        safetensors.read_file(tmp_path / ("a" * 300))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": "34"}, "damaged"),
        ({"shape": [-3, -4]}, "damaged"),
        ({"shape": [3.0, 4]}, "damaged"),
        ({"shape": [2**32, 2**32]}, "48 bytes for 18446744073709551616 values"),
        ({"shape": [2**70], "data_offsets": [0, 2**72]}, "damaged"),
        ({"data_offsets": [4, 52]}, "damaged"),
        ({"data_offsets": []}, "damaged"),
        ({"data_offsets": [-48, 0]}, "damaged"),
        ({"dtype": ["F32"]}, "damaged"),
    ],
)
def test_sizes_and_places_of_another_form_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, "float32")
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    text = json.dumps(header | {"a": header["a"] | changes}).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + whole[end:])
    with pytest.raises(UserError, match=message):
        safetensors.read(tmp_path)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/hostname", 5, ["a"], "a\0b"])
def test_an_index_names_only_files_beside_it(name: object, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match=f"{INDEX}: weight_map: .*expected the name of a file in the same folder"):
        safetensors.read(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_an_index_without_files_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(UserError, match="expected weight_map, an object"):
        safetensors.read(tmp_path)


def test_a_pipe_in_the_place_of_weights_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="it is no file"):
        safetensors.read(tmp_path)


def test_tensors_that_are_no_weights_may_have_any_type(tmp_path: Path) -> None:
    safetensors.write(tmp_path, TENSORS, VALUES.__getitem__, "float32")
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"b.c":{"dtype":"F32"', b'"b.c":{"dtype":"I32"'))
    with pytest.raises(UserError, match=r"b\.c: of type I32"):
        safetensors.read(tmp_path)
    assert list(safetensors.read(tmp_path, without=(".c",))) == ["a", "ö"]
