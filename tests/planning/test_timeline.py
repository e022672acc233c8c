"""Simulated schedules match sums by hand on a chip with round figures."""

from typing import Any

import pytest

from palmetto.planning.network.chips import TPU
from palmetto.planning.network.networks import Networks
from palmetto.planning.network.topology import Topology
from palmetto.planning.network.topology import parse as topology
from palmetto.planning.program.hlo import parse
from palmetto.planning.timeline import Timeline, Totals
from tests.references import excerpts

CHIP = TPU("round", 1e9, 2**34, 2**34, 1e9, 50e9, 6.25e9, 1e6, ("made up",))
RING = topology("v4:4x4x4")
PLACES = [(0, x, y, z) for x in range(4) for y in range(4) for z in range(4)]


def play(text: str, on: Topology = RING, **choices: Any) -> tuple[float, Totals]:
    return Timeline(parse(text), CHIP, Networks(on, PLACES), **({"cycles": False} | choices)).play()


PRODUCT = max(2 * 8 * 8 * 128 / 1e9, 2 * 8 * 128 / 1e9)
HOP = 2 * 8 * 128 / 50e9


def test_a_transfer_is_hidden_under_a_product() -> None:
    seconds, totals = play(excerpts.WINDOWED)
    traffic = totals.traffic["ICI", "collective-permute"]
    assert seconds == pytest.approx(3 * PRODUCT + 4 / 1e9, rel=1e-3), "three trips, and a copied counter"
    assert (traffic.count, traffic.sent) == (3, 3 * 2 * 8 * 128 * 4 / 64)
    assert traffic.seconds == pytest.approx(3 * HOP)
    assert traffic.waited == 0
    assert totals.flops == 3 * 2 * 8 * 8 * 128


def test_the_uncovered_time_of_a_transfer_is_waited_for() -> None:
    text = excerpts.WINDOWED.replace("bf16[8,128]", "bf16[80000,128]")
    text = text.replace("convolution(%f, %f), dim_labels=bf_oi->bf", "copy(%f)").replace("CLASSIC", "INVALID")
    seconds, totals = play(text)
    hop, read = 2 * 80000 * 128 / 50e9, 2 * 80000 * 128 / 1e9
    assert read > hop, "hidden under memory, too"
    quick = CHIP._replace(memory_bandwidth=1e15)
    seconds, totals = Timeline(parse(text), quick, Networks(RING, PLACES), cycles=False).play()
    traffic = totals.traffic["ICI", "collective-permute"]
    assert traffic.waited == pytest.approx(3 * hop, rel=1e-3)
    assert seconds == pytest.approx(3 * hop, rel=1e-3)


def test_the_compilers_cycles_may_be_used() -> None:
    seconds, _ = play(excerpts.WINDOWED, cycles=True)
    assert seconds == pytest.approx(3 * 1000 / 1e6, rel=1e-3)


@pytest.mark.parametrize("trips", [1, 2, 3, 50, 1000])
def test_equal_trips_are_counted_without_simulation(trips: int) -> None:
    text = excerpts.WINDOWED.replace("constant(6)", f"constant({2 * trips})")
    seconds, totals = play(text)
    assert seconds == pytest.approx(trips * PRODUCT + 4e-9, rel=1e-3)
    assert totals.flops == trips * 2 * 8 * 8 * 128
    assert totals.traffic["ICI", "collective-permute"].count == trips


def test_a_gather_is_hidden_under_a_fusion() -> None:
    seconds, totals = play(excerpts.IN_A_FUSION)
    product, gather = 2 * 512**3 / 1e9, totals.traffic["ICI", "all-gather"]
    assert gather.count == 1
    assert gather.seconds == pytest.approx(3 * 72 * 128 * 2 / (2 * 50e9))
    assert gather.waited == 0
    assert seconds == pytest.approx(product, rel=1e-3)


def test_transfers_between_pods_may_be_hidden() -> None:
    two = topology("v4:2x2x1", slices=2)
    seconds, totals = play(excerpts.BETWEEN_PODS, two)
    traffic = totals.traffic["DCN", "all-reduce"]
    moved, add = 4e6 / 6.25e9, 3 * 4e6 / 1e9
    assert traffic.seconds == pytest.approx(moved)
    assert traffic.waited == 0, "hidden under the first addition"
    assert seconds == pytest.approx(2 * add)
    quick = Timeline(
        parse(excerpts.BETWEEN_PODS), CHIP._replace(memory_bandwidth=1e12), Networks(two, []), cycles=False
    )
    seconds, totals = quick.play()
    assert totals.traffic["DCN", "all-reduce"].waited == pytest.approx(moved - 3 * 4e6 / 1e12)
    alone = Timeline(parse(excerpts.BETWEEN_PODS), CHIP, Networks(two, []), cycles=False, pods=False)
    assert not alone.play()[1].traffic


def in_both_directions() -> str:
    """Returns the loop with a second exchange at the same time, in the other direction of the ring."""
    start = next(line for line in excerpts.WINDOWED.splitlines() if "%start = " in line)
    again = start.replace("%start", "%start2").replace("{0,1},{1,2},{2,3},{3,0}", "{0,3},{3,2},{2,1},{1,0}")
    done = "  %done = bf16[8,128]{1,0:T(8,128)(2,1)} collective-permute-done(%start)"
    return excerpts.WINDOWED.replace(start, f"{start}\n{again}").replace(
        done, f"{done}\n{done.replace('%done', '%done2').replace('(%start)', '(%start2)')}"
    )


def test_collectives_on_the_same_links_wait() -> None:
    both = in_both_directions()
    same = both.replace("{0,3},{3,2},{2,1},{1,0}", "{0,1},{1,2},{2,3},{3,0}")
    quick = CHIP._replace(flops=1e18, memory_bandwidth=1e18)

    def seconds(text: str) -> float:
        return Timeline(parse(text), quick, Networks(RING, PLACES), cycles=False).play()[0]

    assert seconds(both) == pytest.approx(3 * HOP, rel=1e-3), "the two directions of a ring are independent"
    assert seconds(same) == pytest.approx(6 * HOP, rel=1e-3)


def test_parallel_collectives_do_not_hide_each_other() -> None:
    """Two run at once in the two directions of a ring, and nothing is computed. The network is busy once, not twice."""
    text = in_both_directions()
    quick = CHIP._replace(flops=1e18, memory_bandwidth=1e18)
    _, totals = Timeline(parse(text), quick, Networks(RING, PLACES), cycles=False).play()
    traffic, busy = totals.traffic["ICI", "collective-permute"], totals.networks["ICI"]
    assert traffic.seconds == pytest.approx(6 * HOP), "each by itself"
    assert busy.seconds == pytest.approx(3 * HOP)
    assert busy.hidden == pytest.approx(0, abs=1e-3 * HOP)
    assert traffic.waited == pytest.approx(3 * HOP, rel=1e-3)


def test_a_network_is_hidden_while_the_chip_computes() -> None:
    half = CHIP._replace(flops=2 * 8 * 8 * 128 / (HOP / 2), memory_bandwidth=1e18)
    _, totals = Timeline(parse(excerpts.WINDOWED), half, Networks(RING, PLACES), cycles=False).play()
    busy, traffic = totals.networks["ICI"], totals.traffic["ICI", "collective-permute"]
    assert busy.seconds == pytest.approx(3 * HOP)
    assert busy.hidden == pytest.approx(1.5 * HOP)
    assert traffic.waited == pytest.approx(1.5 * HOP)
    _, slow = play(excerpts.WINDOWED)
    assert slow.networks["ICI"].hidden == pytest.approx(slow.networks["ICI"].seconds)


def test_waiting_is_charged_to_the_collective_that_runs() -> None:
    """An all-gather waits for a large reduce-scatter on the same links, to which most of the waiting is charged."""
    text = """HloModule m, is_scheduled=true

ENTRY %main (a: f32[4000000], b: f32[100]) -> f32[400] {
  %a = f32[4000000]{0} parameter(0)
  %b = f32[100]{0} parameter(1)
  %large = ((f32[4000000]{0}), f32[1000000]{0}) reduce-scatter-start(%a), replica_groups={{0,1,2,3}}
  %small = (f32[100]{0}, f32[400]{0}) all-gather-start(%b), replica_groups={{0,1,2,3}}
  %small_done = f32[400]{0} all-gather-done(%small)
  %large_done = f32[1000000]{0} reduce-scatter-done(%large)
  ROOT %out = f32[400]{0} bitcast(%small_done)
}
"""
    seconds, totals = play(text)
    large, small = totals.traffic["ICI", "reduce-scatter"], totals.traffic["ICI", "all-gather"]
    assert large.waited == pytest.approx(large.seconds)
    assert small.waited == pytest.approx(small.seconds)
    assert seconds == pytest.approx(large.seconds + small.seconds)


@pytest.mark.parametrize("text", [excerpts.WINDOWED, excerpts.IN_A_FUSION, excerpts.BETWEEN_PODS])
@pytest.mark.parametrize("speed", [1e-3, 1, 1e3, 1e6])
def test_the_parts_of_the_time_add_up(text: str, speed: float) -> None:
    on = topology("v4:2x2x1", slices=2) if text == excerpts.BETWEEN_PODS else RING
    chip = CHIP._replace(flops=CHIP.flops * speed, memory_bandwidth=CHIP.memory_bandwidth * speed)
    seconds, totals = Timeline(parse(text), chip, Networks(on, PLACES), cycles=False).play()
    waited = sum(traffic.waited for traffic in totals.traffic.values())
    assert totals.busy + totals.copies_waited + waited == pytest.approx(seconds)
    assert all(traffic.waited <= traffic.seconds * (1 + 1e-9) for traffic in totals.traffic.values())
    assert all(busy.hidden <= busy.seconds * (1 + 1e-9) for busy in totals.networks.values())


def test_a_loop_of_unknown_length_is_named() -> None:
    text = excerpts.WINDOWED.replace("copy(%zero)", "custom-call(%p)")
    _, totals = play(text)
    assert totals.endless == {"while"}
    assert totals.flops == 2 * 8 * 8 * 128
