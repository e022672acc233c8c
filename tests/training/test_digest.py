"""Digests of matrices: the same for the same bits, another for any other."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.model.parameters import Specification, unstack
from palmetto.training.digest import digest

MATRICES = {
    "embedding": np.arange(12, dtype=np.float32).reshape(4, 3),
    "norm": np.ones((2, 3), np.float32),
    "count": np.array(7, np.int32),
}
DIGEST = digest(MATRICES)


def test_digest_is_a_sha_256_and_does_not_depend_on_where_or_in_which_order_arrays_lie() -> None:
    assert len(bytes.fromhex(DIGEST)) == 32
    on_device = {name: jnp.asarray(array) for name, array in MATRICES.items()}
    by_column = {name: np.array(array, order="F") for name, array in MATRICES.items()}
    strided = {
        name: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array for name, array in MATRICES.items()
    }
    big_endian = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in MATRICES.items()}
    for same in (on_device, by_column, strided, big_endian, dict(reversed(MATRICES.items()))):
        assert digest(same) == DIGEST


@given(position=st.integers(0, 4 * (12 + 6 + 1) - 1), bit=st.integers(0, 7))
def test_every_bit_counts(position: int, bit: int) -> None:
    changed = {}
    for name, array in MATRICES.items():
        data = bytearray(array.tobytes())
        if 0 <= position < len(data):
            data[position] ^= 1 << bit
        position -= len(data)
        changed[name] = np.frombuffer(bytes(data), array.dtype).reshape(array.shape)
    assert digest(changed) != DIGEST


def test_a_zeros_sign_and_a_nans_payload_count() -> None:
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
def test_names_types_and_shapes_count(other: dict[str, np.ndarray]) -> None:
    assert digest(other) != DIGEST


def test_digest_of_unstacked_layers_does_not_depend_on_their_stack() -> None:
    layers = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    apart = {f"q.{i:03d}": layer for i, layer in enumerate(layers)}
    table = {"q": Specification((3, 4, 2), ("layers", "width", "heads"), 1.0, (0, 1, 2))}
    assert digest(unstack({"q": jnp.asarray(layers)}, table)) == digest(apart)
