"""Digests of matrices are equal if and only if all bits are."""

import hashlib
import itertools
import math
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from palmetto.model.weights import Weight, unstack
from palmetto.training import tiles
from palmetto.training.digest import Digest, flat, form_of, tree
from tests.conftest import need_devices

MATRICES = {
    "embedding": np.arange(12, dtype=np.float32).reshape(4, 3),
    "kernel": np.arange(96 * 64, dtype=np.float32).reshape(96, 64),
    "norm": np.ones((2, 3), np.float32),
    "count": np.array(7, np.int32),
}


def by_hand(matrices: dict[str, np.ndarray]) -> str:
    """Returns the tree digest as docs/reproducibility.md defines it, computed tile by tile."""
    whole = hashlib.sha256()
    for name, matrix in sorted(matrices.items()):
        pieces = tiles.grid(matrix.shape, matrix.itemsize)
        table = hashlib.sha256()
        for place in itertools.product(*map(range, pieces)):
            edges = [size // n for size, n in zip(matrix.shape, pieces, strict=True)]
            tile = matrix[tuple(slice(i * edge, (i + 1) * edge) for i, edge in zip(place, edges, strict=True))]
            table.update(hashlib.sha256(tile.tobytes()).digest() if matrix.ndim == 0 or tile.size else bytes(32))
        whole.update(f"{name} {matrix.dtype.name} {matrix.shape} {table.hexdigest()}\n".encode())
    return "tree:" + whole.hexdigest()


@pytest.fixture(params=[flat, tree])
def digest(request: pytest.FixtureRequest) -> Digest:
    """Returns each form of digest in turn."""
    form: Digest = request.param
    return form


def test_flat_digests_are_those_of_earlier_versions() -> None:
    assert flat({"norm": MATRICES["norm"], "count": MATRICES["count"]}) == (
        "c8316817b49cceffe462bb3d78ad3d41fd4b2089f44a35f3ee3e105ed4b904a4"
    )


@pytest.mark.parametrize("recorded", ["ab" * 32, "tree:" + "ab" * 32, None])
def test_a_run_keeps_the_form_that_it_began_with(recorded: str | None) -> None:
    assert form_of(recorded) is (flat if recorded == "ab" * 32 else tree)


@given(
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 7, 48, 64, 96, 384]), max_size=3),
    dtype=st.sampled_from([np.float32, ml_dtypes.bfloat16, np.int32]),
)
@settings(max_examples=40)
def test_a_tree_matches_the_digest_computed_by_hand(shape: list[int], dtype: type) -> None:
    array: np.ndarray = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    assert tree({"x": array}) == by_hand({"x": array})


def test_a_grid_fits_the_devices_of_the_largest_recipe() -> None:
    """The recipe is palm-540b on two pods, 256 devices along data and 12 along model."""
    for width, other in ((18432, 73728), (18432, 12288), (256_000, 18432)):
        for shape in ((width, other), (other, width)):
            rows, columns = tiles.grid(shape, 4)
            along_data, along_model = (rows, columns) if shape[0] == width else (columns, rows)
            assert along_data % 256 == 0
            assert along_model % 12 == 0
            assert 3072 <= 4 * (shape[0] // rows) * (shape[1] // columns) <= 16384


LAYOUTS = [
    ({"a": 8}, ("a",)),
    ({"a": 8}, (None, "a")),
    ({"a": 3}, ("a",)),
    ({"a": 2, "b": 4}, ("a", "b")),
    ({"a": 2, "b": 4}, ("b", "a")),
    ({"a": 2, "b": 2}, (None, "b")),
    ({"a": 2, "b": 4}, (("b", "a"),)),
    ({"a": 4}, ()),
]


@pytest.mark.parametrize(("mesh", "axes"), LAYOUTS)
@pytest.mark.parametrize("shape", [(96, 384), (24, 8), (48, 7 * 8)])
def test_a_tree_does_not_depend_on_the_layout(mesh: dict[str, int], axes: tuple, shape: tuple[int, int]) -> None:  # type: ignore[type-arg]
    need_devices(math.prod(mesh.values()))
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    devices = np.array(jax.devices()[: math.prod(mesh.values())]).reshape(*mesh.values())
    placed = jax.device_put(array, NamedSharding(Mesh(devices, tuple(mesh)), PartitionSpec(*axes)))
    assert tree({"x": placed}) == tree({"x": array})


def test_parts_of_whole_tiles_are_hashed_in_place() -> None:
    need_devices(8)
    array = np.zeros((768, 384), np.float32)
    mesh = Mesh(np.array(jax.devices()[:8]).reshape(2, 4), ("a", "b"))
    placed = jax.device_put(array, NamedSharding(mesh, PartitionSpec("a", "b")))
    assert tiles._is_of_tiles(placed)
    assert [data.shape for _, data in tiles._own_parts(placed)] == [(384, 96)] * 8
    across = jax.device_put(array[:90, :21], NamedSharding(mesh, PartitionSpec("a")))
    assert not tiles._is_of_tiles(across)
    assert [data.shape for _, data in tiles._own_parts(across)] == [(45, 21)] * 2


def test_digest_does_not_depend_on_where_arrays_lie(digest: Digest) -> None:
    expected = digest(MATRICES)
    assert len(bytes.fromhex(expected.removeprefix("tree:"))) == 32
    on_device = {name: jnp.asarray(array) for name, array in MATRICES.items()}
    by_column = {name: np.array(array, order="F") for name, array in MATRICES.items()}
    strided = {
        name: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array for name, array in MATRICES.items()
    }
    big_endian = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in MATRICES.items()}
    for same in (on_device, by_column, strided, big_endian, dict(reversed(MATRICES.items()))):
        assert digest(same) == expected


@pytest.mark.parametrize("form", [flat, tree])
@given(position=st.integers(0, 4 * (12 + 96 * 64 + 6 + 1) - 1), bit=st.integers(0, 7))
def test_every_bit_counts(form: Digest, position: int, bit: int) -> None:
    changed = {}
    for name, array in MATRICES.items():
        data = bytearray(array.tobytes())
        if 0 <= position < len(data):
            data[position] ^= 1 << bit
        position -= len(data)
        changed[name] = np.frombuffer(bytes(data), array.dtype).reshape(array.shape)
    assert form(changed) != form(MATRICES)


def test_the_sign_of_zero_and_nan_payloads_count(digest: Digest) -> None:
    numbers = [np.array([bits], np.uint32).view(np.float32) for bits in (0, 1 << 31, 0x7FC00000, 0x7FC00001)]
    assert len({digest({"x": number}) for number in numbers}) == 4


@pytest.mark.parametrize(
    "other",
    [
        MATRICES | {"embedding": MATRICES["embedding"].reshape(3, 4)},
        MATRICES | {"embedding": MATRICES["embedding"].reshape(12)},
        MATRICES | {"embedding": MATRICES["embedding"].view(np.int32)},
        MATRICES | {"count": np.array([7], np.int32)},
        MATRICES | {"more": np.zeros(0, np.float32)},
        {name: array for name, array in MATRICES.items() if name != "norm"},
        {name.replace("norm", "norn"): array for name, array in MATRICES.items()},
        {},
    ],
    ids=["shape", "flat", "type", "scalar", "one more", "one less", "name", "none"],
)
def test_names_types_and_shapes_count(digest: Digest, other: dict[str, np.ndarray]) -> None:
    assert digest(other) != digest(MATRICES)


def test_unstacked_layers_have_the_digest_of_separate_layers(digest: Digest) -> None:
    layers = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    apart = {f"q.{i:03d}": layer for i, layer in enumerate(layers)}
    table = {"q": Weight((3, 4, 2), ("layers", "width", "heads"), 1.0, (0, 1, 2))}
    assert digest(unstack({"q": jnp.asarray(layers)}, table)) == digest(apart)


CLUSTER = """
import sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from palmetto.host.cluster import Cluster
from palmetto.parallel import processes
from palmetto.training import digest

processes.join(Cluster(sys.argv[1], 2, int(sys.argv[2])))
whole = {
    "x": np.arange(768 * 384, dtype=np.float32).reshape(768, 384),
    "y": np.arange(90 * 22, dtype=np.float32).reshape(90, 22),
    "k": np.array(3, np.int32),
}
found = set()
for shape, axes in (((4, 1), ("a",)), ((2, 2), ("a", "b")), ((2, 2), ("b", "a")), ((2, 2), ("b",)), ((4, 1), ())):
    mesh = Mesh(np.array(jax.devices()).reshape(shape), ("a", "b"))

    def put(array, *axes):
        place = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.make_array_from_callback(array.shape, place, lambda index: array[index])

    across = "a" if shape == (2, 2) else None
    divided = {"x": put(whole["x"], *axes), "y": put(whole["y"], across), "k": put(whole["k"])}
    found |= {digest.tree(divided), digest.flat(divided)}
print(sorted(found), flush=True)
"""


def test_processes_get_the_same_digests_on_any_layout() -> None:
    """A part of `y` cuts through its only tile; parts of `x` are in one process or in both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CLUSTER, address, str(rank)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=240)[0].splitlines()[-1] for process in started]
    finally:
        for process in started:
            process.kill()
    whole = {
        "x": np.arange(768 * 384, dtype=np.float32).reshape(768, 384),
        "y": np.arange(90 * 22, dtype=np.float32).reshape(90, 22),
        "k": np.array(3, np.int32),
    }
    assert said == [str(sorted([tree(whole), flat(whole)]))] * 2
