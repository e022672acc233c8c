"""The fingerprint of an engine differs where bits do, and nowhere else."""

from dataclasses import replace

import pytest

from palmetto.decoding.drafts import Lookup
from palmetto.decoding.smaller import SmallerModel
from palmetto.native.library import VARIABLE, XLA, kernels
from tests.conftest import need_devices, slow_but
from tests.decoding import test_on_mesh
from tests.decoding.engines import SMALL, engine

KIND = "grouped queries"


def test_guesses_and_the_size_of_the_cache_leave_the_fingerprint() -> None:
    plain = engine(KIND).fingerprint
    drafts = Lookup(1), SmallerModel(engine("multi-head"))
    assert {engine(KIND, draft=draft).fingerprint for draft in drafts} == {plain}
    assert engine(KIND, replace(SMALL, blocks=20, sequences=3)).fingerprint == plain


@pytest.mark.parametrize("products", slow_but([XLA], [XLA, "native"]))
def test_what_bits_depend_on_is_in_the_fingerprint(products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, products)
    fixed = not kernels().instruction_set
    limits = replace(SMALL, block=8), replace(SMALL, longest=24), replace(SMALL, rows=16)
    plain, block, longest, rows = (engine(KIND, each).fingerprint for each in (SMALL, *limits))
    held = [engine(KIND, weights=weights).fingerprint for weights in ("bfloat16", "int8")]
    assert len({plain, block, longest, *held, engine("multi-head").fingerprint}) == 6
    assert (rows != plain) == fixed, "with kernels a row's bits are its own"


def test_the_mesh_is_in_the_fingerprint() -> None:
    need_devices(2)
    on_heads, on_blocks = (test_on_mesh.made("one head of keys", *mesh).fingerprint for mesh in ((1, 2), (2, 1)))
    assert on_heads != on_blocks
