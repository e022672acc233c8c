"""Arrays in chunks, and their fingerprints."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.pods import parcels
from palmetto.pods.parcels import Delivery, Parcel, cut, fingerprint
from palmetto.pods.wire import Array


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 16))
def test_chunks_hold_every_byte_once(sizes: list[int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parcels, "CHUNK", most)
        chunks = cut(sizes)
    pieces = [piece for chunk in chunks for piece in chunk]
    assert [(index, place) for index, start, stop in pieces for place in range(start, stop)] == [
        (index, place) for index, size in enumerate(sizes) for place in range(size)
    ]
    lengths = [sum(stop - start for _, start, stop in chunk) for chunk in chunks]
    assert all(length == most for length in lengths[:-1])
    assert all(0 < length <= most for length in lengths)


def test_chunks_may_arrive_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "CHUNK", 64)
    random = np.random.default_rng(0)
    arrays: list[Array] = [
        random.standard_normal((5, 7)).astype(np.float32),
        np.asarray(np.int32(3)),
        random.standard_normal(40),
    ]
    parcel = Parcel(arrays)
    delivery = Delivery([jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays])
    assert len(delivery) == len(parcel) == 8
    order = random.permutation(len(parcel))
    for chunk in order:
        assert not delivery.complete
        for there, here in zip(delivery.pieces(chunk), parcel.pieces(chunk), strict=True):
            there[:] = here
        assert delivery.note(chunk) == (chunk == order[-1])
        assert delivery.has(chunk)
        assert not delivery.note(chunk), "a repeated chunk completes nothing"
    assert all(np.array_equal(a, b) for a, b in zip(delivery.arrays, arrays, strict=True))
    delivery.start()
    assert not delivery.complete


def test_jax_uses_the_memory_of_a_delivery_without_a_copy() -> None:
    (array,) = Delivery([jax.ShapeDtypeStruct((1000,), np.float32)]).arrays
    array[:] = 1
    taken = jax.device_put(array, jax.devices("cpu")[0])
    assert taken.unsafe_buffer_pointer() == array.ctypes.data


@given(st.integers(0, 40_000), st.integers(0, 39_999), st.integers(0, 7))
def test_any_changed_bit_changes_the_fingerprint(size: int, at: int, bit: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size + 1, dtype=np.uint8)
    before = fingerprint([data])
    assert fingerprint([data.copy()]) == before
    data[at % len(data)] ^= 1 << bit
    assert fingerprint([data]) != before


def test_the_fingerprint_depends_on_the_order_of_arrays() -> None:
    a, b = np.arange(3000.0), np.arange(3000.0)[::-1].copy()
    assert len({fingerprint(arrays) for arrays in ([a, b], [b, a], [a], [b], [a[1:], b], [-a, b], [0 * a, 0 * b])}) == 7
    assert fingerprint([np.zeros(1)]) != fingerprint([-np.zeros(1)])
