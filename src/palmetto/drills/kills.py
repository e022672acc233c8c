"""The drill `kill`: a training is killed by SIGKILL at three instants."""

import shutil
from collections.abc import Callable, Collection

from palmetto.drills.report import Report
from palmetto.drills.spikes import spoil
from palmetto.drills.workplace import Run, Workplace
from palmetto.json_lines import read_json_lines

IN_A_STEP, WHILE_WRITING, AFTER_A_ROLLBACK = INSTANTS = (
    "in the middle of a step",
    "while a checkpoint is written",
    "right after a rollback",
)

_LINES = 7
"""The lines in the ledger at the first kill."""

_TRIES = 5
"""The number of attempts for each instant. On a busy machine a run may end before the drill sees the instant."""


def kill(place: Workplace, report: Report) -> None:
    """Kills a run in a step, in a checkpoint and after a rollback, for which its text contains a loss spike."""
    report.do(f"train to step {place.recipe.training.steps}, with a loss spike on the way, undisturbed")
    undisturbed, run = place.run("undisturbed"), place.run("disturbed")
    for each in (undisturbed, run):
        spoil(each, place)
    undisturbed.train()
    report.quote_events(undisturbed.new_events())

    comes: dict[str, Callable[[], bool]] = {
        IN_A_STEP: lambda: run.line_count() >= _LINES,
        WHILE_WRITING: lambda: bool(run.whole_checkpoints() and run.incomplete_checkpoint()),
        AFTER_A_ROLLBACK: lambda: any(event["event"] == "rollback" for event in read_json_lines(run.events)),
    }
    killed: list[str] = []
    for when, has_come in comes.items():
        report.do(f"{'the same command' if killed else 'train another run of the same'}, killed {when}")
        if was_killed(place, run, when, has_come, report):
            killed.append(when)
    report.do("the same command, to its end")
    run.train()
    report.quote_events(run.new_events())

    report.compare({each.name: each.digests() for each in (undisturbed, run)})
    judge(report, killed)


def judge(report: Report, killed: Collection[str]) -> None:
    """Checks the promise. killed: the instants at which the run was killed."""
    for when in INSTANTS:
        report.check(f"killed {when}", when in killed, "it ended before this instant was seen")
    report.check_same("disturbed", "undisturbed")


def was_killed(place: Workplace, run: Run, when: str, has_come: Callable[[], bool], report: Report) -> bool:
    """Kills the run at an instant, reports what is left of it, and returns whether it was killed.

    A run that ended before the instant was seen is restored, and killed in another attempt.
    """
    for _ in range(_TRIES):
        before = place.copy(run, "before")
        killed = run.kill_when(when, has_come)
        report.quote_events(run.new_events())
        report.found(f"{'killed' if killed else 'it ended before this instant was seen'}: {_what_is_left(run)}")
        if killed:
            shutil.rmtree(before.path)
            return True
        run.put_back(before)
    return False


def _what_is_left(run: Run) -> str:
    whole, incomplete = run.whole_checkpoints(), run.incomplete_checkpoint()
    left = f"{run.line_count()} lines in the ledger, newest checkpoint {whole[-1] if whole else 'none'}"
    return f"{left}, {incomplete} incomplete" if incomplete else left
