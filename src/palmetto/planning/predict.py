"""Predicts the time and utilization of a compiled step from a chip's published figures."""

from typing import Any, NamedTuple

from palmetto.planning.compile import Compiled, DoesNotFit
from palmetto.planning.network.networks import Networks
from palmetto.planning.network.topology import Topology
from palmetto.planning.notes import notes
from palmetto.planning.program import hlo
from palmetto.planning.timeline import Timeline, Totals
from palmetto.recipe import Recipe
from palmetto.training.flops import flops_per_token


def predict(recipe: Recipe, on: Topology, sequences: int, compiled: Compiled | DoesNotFit) -> dict[str, Any]:
    """Returns the prediction for one batch size as plain values; seconds, bytes and FLOPs are those of a chip and step.

    MFU is PaLM's (appendix B): the model FLOPs of the tokens over the peak FLOPs of the chips in that time. HFU counts
    the FLOPs of the program's matrix products, with those of rematerialization. Raises RunStopped if the program cannot
    be read.
    """
    tokens = sequences * recipe.model_length
    batch = {"sequences": sequences, "tokens": tokens}
    if isinstance(compiled, DoesNotFit):
        return {"batch": batch, "notes": [], **misfit(compiled)}
    simulated = simulate(compiled, on)
    formula = flops_per_token(recipe) * tokens / on.chips

    def utilization(seconds: float) -> dict[str, float]:
        possible = seconds * on.chip.flops
        return {"step_seconds": seconds, "mfu": formula / possible, "hfu": simulated.totals.flops / possible}

    return {
        "batch": batch,
        **fitting(compiled, on),
        **utilization(simulated.seconds),
        "tokens_per_second": tokens / simulated.seconds,
        "roofline": utilization(simulated.bound),
        **parts(simulated.totals, formula),
        "pods": {"count": on.slices, "speedup": on.slices * simulated.alone / simulated.seconds},
        "notes": notes(recipe, on, compiled.program),
    }


class Simulated(NamedTuple):
    """Holds the seconds of a step and what they consist of."""

    seconds: float
    bound: float
    """The seconds without the compiler's own estimates of products."""
    alone: float
    """The seconds without the network between slices."""
    totals: Totals


def simulate(compiled: Compiled, on: Topology) -> Simulated:
    """Returns the simulated step. Raises RunStopped if the program cannot be read."""
    networks = Networks(on, compiled.devices)

    def play(**choices: bool) -> tuple[float, Totals]:
        with hlo.reading():
            return Timeline(compiled.program, on.chip, networks, **choices).play()

    seconds, totals = play(cycles=True)
    bound, _ = play(cycles=False)
    alone = play(cycles=True, pods=False)[0] if on.slices > 1 else seconds
    return Simulated(seconds, bound, alone, totals)


def misfit(compiled: DoesNotFit) -> dict[str, Any]:
    """Returns what is known of a program that does not fit."""
    memory = {
        "arguments": compiled.arguments,
        "temporaries": compiled.needed - compiled.arguments,
        "peak": compiled.needed,
        "capacity": compiled.available,
    }
    return {"fits": False, "compile_seconds": compiled.seconds, "memory": memory}


def fitting(compiled: Compiled, on: Topology) -> dict[str, Any]:
    """Returns the memory of a program, and whether a chip has that much."""
    memory = compiled.memory | {"capacity": on.chip.usable}
    return {"fits": memory["peak"] <= memory["capacity"], "compile_seconds": compiled.seconds, "memory": memory}


def parts(totals: Totals, formula: float) -> dict[str, Any]:
    """Returns what a step's time goes into; formula: the model FLOPs of a chip."""
    return {
        "flops": {"program": totals.flops, "formula": formula, "ratio": totals.flops / formula},
        "memory_traffic": totals.bytes,
        "time": _time(totals),
        "collectives": _collectives(totals),
        "overlap": _overlap(totals),
        "loops_of_unknown_length": sorted(totals.endless),
        "uncounted": sorted(totals.uncounted),
    }


def _time(totals: Totals) -> dict[str, float]:
    """Returns the parts of a step's seconds."""
    waited: dict[str, float] = {}
    for (network, _), traffic in totals.traffic.items():
        waited[network] = waited.get(network, 0) + traffic.waited
    return {
        "matrix_units": totals.busy - totals.bound_by_memory,
        "memory": totals.bound_by_memory + totals.copies_waited,
        **{f"waiting_for_{network}": seconds for network, seconds in sorted(waited.items())},
    }


def _collectives(totals: Totals) -> list[dict[str, Any]]:
    """Returns the traffic of each network and kind of collective, most bytes first."""
    rows = [
        {
            "network": network,
            "reach": "across pods" if network == "DCN" else "within a pod",
            "kind": kind,
            "count": traffic.count,
            "bytes": traffic.sent,
            "seconds": traffic.seconds,
            "waited_seconds": traffic.waited,
        }
        for (network, kind), traffic in totals.traffic.items()
    ]
    return sorted(rows, key=lambda row: -float(row["bytes"]))


def _overlap(totals: Totals) -> dict[str, float]:
    """Returns, for each network, the share of its busy time in which the chip computes or moves memory."""
    return {
        network: busy.hidden / busy.seconds if busy.seconds else 1.0
        for network, busy in sorted(totals.networks.items())
    }
