"""Tests which axes of the mesh divide what, in the layouts of Pope et al."""

import pytest

from palmetto.errors import UserError
from palmetto.model.layout import arranged_table
from palmetto.model.weights import weight_table
from palmetto.planning.inference.division import Division, divide
from palmetto.planning.inference.layouts import LAYOUTS
from palmetto.planning.inference.memory import APART, CACHE_SHARE, cache_bytes, weight_bytes
from palmetto.planning.inference.phases import Phase
from palmetto.planning.network.topology import parse
from palmetto.recipe import Recipe, loading

CHIPS = parse("v4:4x4x4")
PADDED = ("model.heads=64", "mesh.model=1", "mesh.data=1")
"""PaLM 540B as Pope et al. ran it: with 64 heads, so that 64 chips divide them."""
MULTIHEAD = (*PADDED, "model.key_value_heads=64", "model.head_size=128")


def divided(layout: str, batch: int, *overrides: str) -> tuple[Recipe, Division]:
    recipe = loading.load("palm-540b", overrides)
    return recipe, divide(recipe, CHIPS, Phase("decode", batch, 2048), layout)


def kernel(recipe: Recipe, division: Division, name: str, gathered: str = "") -> tuple[str, ...]:
    rows = arranged_table(weight_table(recipe.model, recipe.model_vocabulary), APART)
    return division.of(rows[name], gathered)


def test_weights_are_divided_as_the_paper_says() -> None:
    recipe, stationary = divided("ws2d-batch", 64)
    assert kernel(recipe, stationary, "up") == kernel(recipe, stationary, "down") == ("x", "yz")
    assert kernel(recipe, stationary, "q") == kernel(recipe, stationary, "o") == ("x", "yz")
    assert kernel(recipe, stationary, "k") == ("x", "")
    assert kernel(*divided("ws1d-heads", 64), "up") == ("", "yzx")
    for name, left in {"wgx-batch": ("", "yz"), "wgxy-batch": ("", "z"), "wgxyz-batch": ("", "")}.items():
        recipe, division = divided(name, 64)
        assert kernel(recipe, division, "up") == ("x", "yz"), "at rest as in ws2d"
        assert kernel(recipe, division, "up", division.layout.gathered) == left


def test_heads_that_do_not_divide_leave_axes_to_the_width() -> None:
    """48 heads are 16 times 3, so that 64 chips cannot divide them."""
    assert kernel(*divided("ws1d-heads", 64), "q") == ("x", "yz")
    assert kernel(*divided("ws1d-heads", 64, *PADDED), "q") == ("", "yzx")


def test_attention_divides_heads_or_sequences() -> None:
    def axes(layout: str, batch: int, *overrides: str) -> tuple[str, str, str]:
        _, division = divided(layout, batch, *overrides)
        return division.sequences, division.heads, division.key_value_heads

    assert axes("ws2d-batch", 64) == ("xyz", "", "")
    assert axes("ws2d-heads", 64) == ("x", "yz", "")
    assert axes("ws2d-heads", 1) == ("", "yz", "")
    assert axes("ws1d-heads", 64, *MULTIHEAD) == ("", "yzx", "yzx")
    assert axes("wgxy-heads", 64) == ("xy", "z", "")


@pytest.mark.parametrize(
    ("layout", "overrides", "published"),
    [
        ("ws1d-heads", MULTIHEAD, {128: 1320, 512: 330}),
        ("ws1d-heads", PADDED, {128: 660, 512: 165}),
        ("ws2d-batch", PADDED, {128: 43_000, 512: 10_700}),
    ],
)
def test_longest_contexts_are_the_papers(layout: str, overrides: tuple[str, ...], published: dict[int, int]) -> None:
    """Pope et al., table 1, which rounds to two or three digits."""
    for batch, longest in published.items():
        recipe, division = divided(layout, batch, *overrides)
        of_a_position = cache_bytes(recipe.model, Phase("decode", batch, 2048), division)
        assert CACHE_SHARE * CHIPS.chip.memory // of_a_position == pytest.approx(longest, rel=0.02)


def test_bytes_of_weights_are_counted_by_hand() -> None:
    recipe, division = divided("ws2d-batch", 64)
    D, F, H, L, V = 18432, 4 * 18432, 48 * 256, 118, 256_000
    in_64 = L * (3 * D * F + 2 * D * H) + V * D
    norm = 4 * D  # the last, in float32; those of layers are in the kernels
    in_4 = L * 2 * D * 256  # keys and values, which only x divides
    assert weight_bytes(recipe, division, "int8") == in_64 // 64 + in_4 // 4 + norm
    assert weight_bytes(recipe, division, "bfloat16") == 2 * (in_64 // 64 + in_4 // 4) + norm


@pytest.mark.parametrize(
    ("layout", "batch", "overrides", "line"),
    [
        ("ws2d-batch", 63, (), r"--decode 63:2048: --layout ws2d-batch divides the sequences by 64: 64 sequences"),
        ("wgx-heads", 2, (), r"--decode 2:2048: --layout wgx-heads divides the sequences by 4: 4 sequences"),
        ("ws2d-heads", 1, ("model.d_ff=1001", *PADDED), r"model.d_ff=1001: .*by 16: 1008 would do"),
        ("ws2d-heads", 1, ("model.d_model=18450", *PADDED), r"model.d_model=18450: .*by 64: 18496 would do"),
        ("ws2d-heads", 1, ("tokens.vocabulary_size=999", *PADDED), r"the vocabulary=999: .*by 16: 1008 would do"),
        ("ws2d", 1, (), r"--layout ws2d: no such layout \(did you mean 'ws2d-\w+'\?\); there are ws1d-heads, "),
    ],
)
def test_what_does_not_divide_is_refused(layout: str, batch: int, overrides: tuple[str, ...], line: str) -> None:
    with pytest.raises(UserError, match=line):
        divided(layout, batch, *overrides)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_axis_has_its_use(layout: str) -> None:
    entry = LAYOUTS[layout]
    assert sorted(entry.every) == ["x", "y", "z"]
    _, division = divided(layout, 64)
    assert len(set(division.sequences + division.heads)) == len(division.sequences + division.heads)
    assert set(entry.gathered) <= set(division.sequences)
