"""Topologies are read by name; unknown ones are refused with the nearest."""

import math

import pytest

from palmetto.errors import UserError
from palmetto.planning.network.chips import CHIPS
from palmetto.planning.network.topology import parse
from palmetto.training import flops


def test_the_two_pods_of_palm_exist() -> None:
    on = parse("v4:12x16x16", slices=2)
    assert (on.chips, on.shape, str(on)) == (6144, (12, 16, 16), "v4:12x16x16 × 2")
    assert [(d.size, d.network, d.wiring) for d in on.dimensions] == [
        (2, "DCN", "switch"),
        (12, "ICI", "ring"),
        (16, "ICI", "ring"),
        (16, "ICI", "ring"),
    ]


def test_whole_sides_have_links_around() -> None:
    """Sides of whole cubes, and whole sides of a flat pod, are rings; others are lines."""
    assert [d.wiring for d in parse("v4:2x4x4").dimensions[1:]] == ["line"] * 3
    assert [d.wiring for d in parse("v6e:8x16").dimensions[1:]] == ["line", "ring"]


def test_gpus_use_nvlink_and_infiniband() -> None:
    on = parse("H100:64")
    assert (on.shape, on.is_gpu, [d.network for d in on.dimensions]) == ((8, 8), True, ["DCN", "InfiniBand", "NVLink"])
    assert parse("a100:4").shape == (1, 4)


@pytest.mark.parametrize(
    ("text", "slices", "line"),
    [
        ("v4:12x16x17", 1, "TPU v4 has no such slice; the nearest is v4:12x16x16"),
        ("v4:32x32x32", 1, "the nearest is v4:16x16x16"),
        ("v5e:3x3", 1, "the nearest is v5e:4x4"),
        ("v6e:16x32", 1, "the nearest is v6e:16x16"),
        ("v4:big", 1, "the nearest is v4:"),
        ("v44:4x4x4", 1, "no such chip (did you mean 'v4'?)"),
        ("v4", 1, "expected one like v4:12x16x16"),
        ("h100:12", 1, "a number of GPUs in nodes of 8: 16 would do"),
        ("h100:8x8", 1, "64 would do"),
        ("h100:999999", 1, "999992 would do"),
        ("v4:4x4x4", 0, "--slices 0: must be a power of two"),
        (
            "v4:4x4x4",
            3,
            "--slices 3: must be a power of two, as the gradient's tree needs of mesh.pod: 2 or 4 would do",
        ),
    ],
)
def test_unknown_topologies_are_refused_with_the_nearest(text: str, slices: int, line: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text, slices)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_the_figures_of_chips_are_plausible() -> None:
    for name, chip in CHIPS.items():
        assert chip.sources, name
        assert chip.flops > chip.memory_bandwidth > chip.link_bandwidth > chip.pod_bandwidth > 0, name
        assert chip.memory > 2**33, name
        assert chip.memory * 0.95 < chip.usable <= chip.memory * 1.01, name
    by_title = {
        "TPU v4": "v4",
        "TPU v5": "v5p",
        "TPU v5 lite": "v5e",
        "TPU v6 lite": "v6e",
        "NVIDIA A100": "a100",
        "NVIDIA H100": "h100",
        "NVIDIA H200": "h200",
    }
    for kind, peak in flops._PUBLISHED_PEAKS:
        assert CHIPS[by_title[kind]].flops == peak, "a chip has the same figure everywhere"


def test_clocks_agree_with_the_peaks() -> None:
    """A v4 or v5p chip has 8 units of 128 × 128 multiply–adds, a v5e chip 4."""
    for name, units in (("v4", 8), ("v5p", 8), ("v5e", 4)):
        clock = CHIPS[name].clock
        assert clock is not None
        assert math.isclose(units * 128 * 128 * 2 * clock, CHIPS[name].flops, rel_tol=0.01)
