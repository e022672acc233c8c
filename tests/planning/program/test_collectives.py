"""Collectives are read from real programs on two virtual slices of four devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from palmetto.planning.network.networks import Networks
from palmetto.planning.network.topology import parse as topology
from palmetto.planning.program.collectives import Collective, collective, rendezvous
from palmetto.planning.program.hlo import Program, parse
from tests.references import excerpts

DEVICES = 8
TWO_SLICES = [(device // 4, 0, device % 4) for device in range(DEVICES)]


def found_in(program: Program) -> list[Collective]:
    every = (
        collective(program, computation, instruction, DEVICES)
        for computation in program.computations.values()
        for instruction in computation
    )
    return [one for one in every if one]


def program_of(function: Callable[[jax.Array], jax.Array], out: PartitionSpec) -> Program:
    mesh = Mesh(np.array(jax.devices()[:DEVICES]).reshape(2, 4), ("pod", "data"))
    spread = PartitionSpec(("pod", "data"))
    step: Any = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=spread, out_specs=out, check_vma=False))
    return parse(step.lower(jnp.ones((64, 16))).compile().as_text())


ROWS = PartitionSpec(("pod", "data"))
SIZE = 8 * 16 * 4  # what one device has


@pytest.mark.parametrize(
    ("function", "out", "kind", "size", "networks"),
    [
        (lambda x: jax.lax.psum(x, "data"), PartitionSpec("pod"), "all-reduce", SIZE, ["NVLink"]),
        (lambda x: jax.lax.psum(x, "pod"), PartitionSpec("data"), "all-reduce", SIZE, ["DCN"]),
        (lambda x: jax.lax.psum(x, ("pod", "data")), PartitionSpec(), "all-reduce", SIZE, ["DCN", "NVLink"]),
        (lambda x: jax.lax.all_gather(x, "data", tiled=True), PartitionSpec("pod"), "all-gather", 4 * SIZE, ["NVLink"]),
        (lambda x: jax.lax.psum_scatter(x, "data", tiled=True), ROWS, "reduce-scatter", SIZE, ["NVLink"]),
        (lambda x: jax.lax.all_to_all(x, "data", 1, 0, tiled=True), ROWS, "all-to-all", SIZE, ["NVLink"]),
        (
            lambda x: jax.lax.ppermute(x, "data", [(i, i ^ 1) for i in range(4)]),
            ROWS,
            "collective-permute",
            SIZE,
            ["NVLink"],
        ),
        (lambda x: jax.lax.ppermute(x, "pod", [(0, 1), (1, 0)]), ROWS, "collective-permute", SIZE, ["DCN"]),
    ],
)
def test_collectives_have_kind_bytes_and_networks(
    function: Callable[[jax.Array], jax.Array], out: PartitionSpec, kind: str, size: int, networks: list[str]
) -> None:
    (one,) = found_in(program_of(function, out))
    assert (one.kind, one.bytes) == (kind, size)
    legs = Networks(topology("h100:4", slices=2), TWO_SLICES).legs(one)
    assert [leg.network for leg in legs] == networks


def test_each_chip_sends_its_part_over_the_slower_network() -> None:
    (one,) = found_in(program_of(lambda x: jax.lax.psum(x, ("pod", "data")), PartitionSpec()))
    between, within = Networks(topology("h100:4", slices=2), TWO_SLICES).legs(one)
    assert within.sent == 2 * SIZE * 3 // 4
    assert between.sent == 2 * (SIZE // 4) // 2


def test_sends_between_slices_are_collectives() -> None:
    program = parse(excerpts.BETWEEN_PODS)
    entry = program.computations["main"]
    (one,) = found_in(program)
    assert one == Collective("all-reduce", 4_000_000, ())
    assert rendezvous(entry["send"]) == rendezvous(entry["recv"]) == "psum.1_0"
    assert rendezvous(entry["twice"]) is None
    (leg,) = Networks(topology("v4:2x2x1", slices=2), []).legs(one)
    assert (leg.network, leg.sent) == ("DCN", 4_000_000)


def test_a_collective_in_a_fusion_is_found() -> None:
    program = parse(excerpts.IN_A_FUSION)
    entry = program.computations["main"]
    started = collective(program, entry, entry["async-collective-start.7"], DEVICES)
    assert started == Collective("all-gather", 4 * 72 * 128 * 2, ((0, 1, 2, 3),))


def test_groups_may_be_an_iota() -> None:
    program = parse(excerpts.IN_A_FUSION.replace("{{0,1,2,3}}", "[2,4]<=[4,2]T(1,0)"))
    entry = program.computations["main"]
    started = collective(program, entry, entry["async-collective-start.7"], DEVICES)
    assert started == Collective("all-gather", 4 * 72 * 128 * 2, ((0, 2, 4, 6), (1, 3, 5, 7)))


def test_the_strategy_of_the_compiler_is_read() -> None:
    text = excerpts.IN_A_FUSION.replace(
        "use_global_device_ids=true",
        'backend_config={"collective_algorithm_config":{"strategy":"UniDirectionNDRingStrategy"}}',
    )
    assert all(one.every_way for one in found_in(parse(text)))
    assert not any(one.every_way for one in found_in(parse(excerpts.IN_A_FUSION)))


@pytest.mark.parametrize(
    ("text", "kind", "size"),
    [
        ("ragged-all-to-all(%x, %y, %at, %at, %at, %at), replica_groups={{0,1,2,3}}", "ragged-all-to-all", 4 * 8 * 16),
        ("collective-broadcast(%x), replica_groups=mesh['a'=2,'b'=4] {'b'}", "collective-broadcast", 4 * 8 * 16),
        (
            "all-gather(x), replica_groups=mesh['a'=4,'b'=2], device_ids=(4,0,5,1,6,2,7,3) {'a'}, dimensions={0}",
            "all-gather",
            4 * 4 * 8 * 16,
        ),
    ],
)
def test_other_forms_of_collectives_are_read(text: str, kind: str, size: int) -> None:
    program = parse(f"""HloModule m

ENTRY %main (x: f32[8,16], y: f32[99,16], at: s32[4]) -> f32[8,16] {{
  %x = f32[8,16]{{1,0}} parameter(0)
  %y = f32[99,16]{{1,0}} parameter(1)
  %at = s32[4]{{0}} parameter(2)
  ROOT %moved = f32[8,16]{{1,0}} {text}
}}
""")
    (one,) = found_in(program)
    assert (one.kind, one.bytes) == (kind, size)
    assert len(one.groups[0]) == 4


def test_a_permutation_without_pairs_is_no_collective() -> None:
    text = excerpts.WINDOWED.replace("{{0,1},{1,2},{2,3},{3,0}}", "{}")
    assert found_in(parse(text)) == []
