"""The bounds of a step, beside a count by hand and the figures of Pope et al."""

import pytest

from palmetto.planning.inference.phases import Phase
from palmetto.planning.inference.roofline import flops, roofline
from palmetto.planning.network.topology import parse
from palmetto.recipe import loading

D, F, H, Q, L, V = 18432, 4 * 18432, 48, 256, 118, 256_000
LAYERS = L * (3 * D * F + 2 * D * H * Q + 2 * D * Q + D)
PALM = loading.load("palm-540b", ())
CHIPS = parse("v4:4x4x4")
PEAK, BANDWIDTH = 64 * 275e12, 64 * 1200e9


def test_decoding_reads_weights_and_cache() -> None:
    phase = Phase("decode", 64, 2048)
    bound = roofline(PALM, CHIPS, phase, "int8")
    cache = 64 * 2048 * L * 2 * Q * 2
    assert bound.memory == pytest.approx((LAYERS + V * D + cache) / BANDWIDTH)
    attention = 64 * 2048 * 4 * L * H * Q
    assert bound.products == pytest.approx((64 * 2 * (LAYERS + V * D) + attention) / PEAK)
    assert bound.seconds == bound.memory
    assert roofline(PALM, CHIPS, phase, "bfloat16").memory == pytest.approx((2 * (LAYERS + V * D) + cache) / BANDWIDTH)


def test_prefill_computes_logits_of_the_last_token() -> None:
    bound = roofline(PALM, CHIPS, Phase("prefill", 1, 2048), "int8")
    attention = 4 * L * H * Q * (2048 * 2049 // 2)
    assert bound.products == pytest.approx((2 * LAYERS * 2048 + 2 * V * D + attention) / PEAK)
    assert bound.seconds == bound.products


@pytest.mark.parametrize(
    ("recipe", "topology", "phase", "seconds", "mfu"),
    [
        ("palm-540b", "v4:4x4x4", Phase("prefill", 1, 2048), 0.29, 0.43),
        ("palm-540b", "v4:4x4x4", Phase("decode", 64, 2048), 1.82 / 64, 0.14),
        ("palm-540b", "v4:4x4x4", Phase("prefill", 512, 2048), 85.2, 0.76),
        ("palm-540b", "v4:4x4x4", Phase("decode", 512, 2048), 6.0 / 64, 0.33),
        ("palm-62b", "v4:2x2x4", Phase("prefill", 1, 2048), 0.16, 0.36),
        ("palm-62b", "v4:2x2x4", Phase("decode", 32, 2048), 0.73 / 64, 0.08),
        ("palm-62b", "v4:2x4x4", Phase("prefill", 512, 2048), 20.2, 0.73),
        ("palm-62b", "v4:2x2x2", Phase("decode", 512, 2048), 5.1 / 64, 0.37),
    ],
)
def test_mfu_is_the_papers(recipe: str, topology: str, phase: Phase, seconds: float, mfu: float) -> None:
    """The published times and MFU (tables 2 and 3), which agree to the digits that are given."""
    on = parse(topology)
    found = flops(loading.load(recipe, ()), phase) / seconds / on.chips / on.chip.flops
    assert found == pytest.approx(mfu, abs=0.01)
