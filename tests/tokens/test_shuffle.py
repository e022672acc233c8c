"""Tests that the shuffle yields its entries in the order of their hashes."""

import hashlib
import random
from pathlib import Path

import pytest

from palmetto.tokens.shuffle import Shuffle

DIGESTS = [hashlib.sha256(bytes([number])).digest() for number in range(200)]
DIGESTS[3] = DIGESTS[3][:30] + b"\0\0"  # a digest may end in zeros


@pytest.mark.parametrize("seed", [0, 7, 2**64])
def test_entries_come_in_the_order_of_their_hash(tmp_path: Path, seed: int) -> None:
    numbers = random.Random(seed).choices(range(200), k=500)  # with copies
    with Shuffle(tmp_path, seed) as shuffle:
        for number in numbers:
            shuffle.add(DIGESTS[number], number, 10 * number, number + 1)
        for _ in range(2):
            entries = [entry for part in shuffle for entry in part.tolist()]
            assert [entry[2:] for entry in entries] == [
                (number, 10 * number, number + 1)
                for number in sorted(numbers, key=lambda i: hashlib.sha256(b"shuffle %d " % seed + DIGESTS[i]).digest())
            ]
            assert [entry[1].ljust(32, b"\0") for entry in entries] == [DIGESTS[entry[2]] for entry in entries]
    assert not list(tmp_path.iterdir())
