"""Trains the points of a sweep, and gathers their results."""

from typing import Any

from palmetto.sweeps import children, outcomes, results
from palmetto.sweeps import page as report
from palmetto.sweeps.children import Failures, Say
from palmetto.sweeps.plan import Plan, Point


def run(planned: Plan, say: Say) -> results.Sweep:
    """Trains the points that are not finished (children.train_all), and writes the results after each."""
    members = [planned.member(point) for point in planned.points]
    child = children.child_environment(planned.out)
    with children.opened(members, planned.out):
        from palmetto.planning import summary as planning  # imports JAX

        counts = [planning.plan(point.recipe) for point in planned.points[: len(planned.choices)]]
        choices = tuple(_choice(*each) for each in zip(planned.choices, counts, strict=True))
        flops = [counts[point.choice]["flops"] for point in planned.points]
        found: list[results.Sweep] = []

        def write(failures: Failures) -> None:
            found[:] = [_results(planned, choices, failures)]
            report.write(found[0], planned.out)

        children.train_all(members, flops, child, say, write)
    return found[0]


def _choice(chosen: tuple[tuple[str, ...], tuple[str, ...]], counts: dict[str, Any]) -> results.Choice:
    """Returns a choice. chosen: its labels and overrides. counts: the summary of its recipe."""
    parameters = counts["parameters"]
    return results.Choice(*chosen, parameters["total"], parameters["active"], counts["flops_per_token"])


def _results(planned: Plan, choices: tuple[results.Choice, ...], failures: Failures) -> results.Sweep:
    """Returns the present results."""
    firsts = planned.points[: len(planned.choices)]
    counted = {(point.recipe.corpus, point.recipe.tokens) for point in firsts}
    return results.Sweep(
        name=planned.recipe,
        axes=planned.axes,
        fixed=planned.fixed,
        seeds=len(planned.points) // len(choices),
        comparable=len(counted) == 1,
        choices=choices,
        points=tuple(_result(point, planned, failures) for point in planned.points),
    )


def _result(point: Point, planned: Plan, failures: Failures) -> results.Point:
    directory = str(point.run.path.relative_to(planned.out))
    return results.Point(point.choice, point.seed, directory, **outcomes.of(planned.member(point), failures)._asdict())
