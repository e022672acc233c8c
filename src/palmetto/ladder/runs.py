"""Trains the rungs of a ladder, cheapest first, and writes what follows from them."""

from typing import TYPE_CHECKING

from palmetto.host import environment
from palmetto.ladder.request import Request
from palmetto.sweeps import children
from palmetto.sweeps.children import Failures, Say

if TYPE_CHECKING:
    from palmetto.ladder.results import Ladder


def run(asked: Request, say: Say) -> "Ladder":
    """Says what the rungs will take, trains those that are not finished, and writes the results after each."""
    child = children.child_environment(asked.out)
    environment.prepare(asked.base.training.threads)
    from palmetto.ladder import pacing, page, results  # import JAX
    from palmetto.ladder.plan import plan

    planned = plan(asked)
    members = [rung.member for rung in planned.rungs]
    found: list[Ladder] = []

    def write(failures: Failures) -> None:
        found[:] = [results.gather(planned, failures)]
        page.write(found[0], planned.out)

    with children.opened(members, planned.out):
        write({})
        pacing.measure(planned, child, say)
        children.train_all(members, [rung.cost.flops for rung in planned.rungs], child, say, write)
    return found[0]
