"""Tests the allocator of blocks: who holds each, and which is forgotten first."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.decoding.blocks import Blocks


def test_a_block_is_lent_to_one_until_it_is_shared() -> None:
    blocks = Blocks(2)
    first = blocks.take()
    assert first is not None
    assert blocks.writable(first)
    blocks.share(first)
    assert not blocks.writable(first)
    assert not blocks.release(first)
    assert blocks.release(first)
    assert blocks.free == 2


def test_all_blocks_but_the_scratch_block_are_lent() -> None:
    blocks = Blocks(3)
    assert sorted(block for _ in range(4) if (block := blocks.take())) == [1, 2, 3]
    assert blocks.take() is None


def test_what_was_released_first_is_forgotten_first() -> None:
    blocks = Blocks(3)
    lent = [block for _ in range(3) if (block := blocks.take())]
    for block in lent:
        blocks.know(block, b"%d" % block)
    for block in (lent[1], lent[0], lent[2]):
        blocks.release(block)
    assert (blocks.free, blocks.cached, blocks.available) == (0, 3, 3)
    blocks.share(lent[1])
    blocks.release(lent[1])
    assert [blocks.take(), blocks.find(b"%d" % lent[0]), blocks.find(b"%d" % lent[2])] == [lent[0], None, lent[2]]


def test_a_full_block_is_not_written_again() -> None:
    blocks = Blocks(1)
    block = blocks.take()
    assert block is not None
    blocks.know(block, b"text")
    assert not blocks.writable(block)
    blocks.release(block)
    assert blocks.find(b"text") == block
    assert blocks.is_cached(block)


@given(random=st.randoms(use_true_random=False))
def test_no_block_is_lost_however_they_are_used(random: Random) -> None:
    blocks, held = Blocks(5), list[int]()
    for i in range(60):
        match random.randrange(4):
            case 0:
                block = blocks.take()
                assert (block is None) == (len(set(held)) == 5)
                held += [] if block is None else [block]
            case 1 if held:
                blocks.release(held.pop(random.randrange(len(held))))
            case 2 if held:
                blocks.know(random.choice(held), b"%d" % (i % 7))
            case 3:
                block = blocks.find(b"%d" % (i % 7))
                if block is not None:
                    blocks.share(block)
                    held.append(block)
        blocks.check(held)


def test_the_check_finds_a_leak() -> None:
    blocks = Blocks(2)
    blocks.take()
    with pytest.raises(AssertionError):
        blocks.check([])
