"""Kill -9, again and again."""

from collections.abc import Callable

from palmetto.drills.report import Report
from palmetto.drills.spikes import spoil
from palmetto.drills.workplace import Run, Workplace
from palmetto.files import read_json_lines

_LINES = 7
"""In the ledger at the first kill."""


def kill(place: Workplace, report: Report) -> None:
    """The run has a loss spike, so that it can be killed at its rollback too."""
    report.do(f"train to step {place.recipe.training.steps}, with a loss spike on the way, undisturbed")
    undisturbed, run = place.run("undisturbed"), place.run("disturbed")
    for each in (undisturbed, run):
        spoil(each, place)
    undisturbed.train()
    report.logged(undisturbed.new_events())

    def at_a_rollback() -> bool:
        return any(event["event"] == "rollback" for event in read_json_lines(run.events))

    kills = 0
    report.do("train another run of the same, killed in the middle of a step")
    kills += _killed(run, lambda: _lines(run) >= _LINES, report)
    report.do("the same command, killed while a checkpoint is written")
    kills += _killed(run, lambda: bool(run.whole_checkpoints() and run.incomplete_checkpoint()), report)
    report.do("the same command, killed right after a rollback")
    kills += _killed(run, at_a_rollback, report)
    report.do("the same command, to its end")
    run.train()
    report.logged(run.new_events())

    report.compare({each.name: each.digests() for each in (undisturbed, run)})
    judge(report, kills)


def judge(report: Report, kills: int) -> None:
    """Whether the kills changed anything, and there were some."""
    report.check("the run was killed on the way", kills > 0, "it ended before each of the instants was seen")
    report.check_same("disturbed", "undisturbed")


def _killed(run: Run, instant: Callable[[], bool], report: Report) -> bool:
    """Kills the run at an instant and tells what that left; whether it came before the end."""
    killed = run.kill_when(instant)
    report.logged(run.new_events())
    whole, incomplete = run.whole_checkpoints(), run.incomplete_checkpoint()
    state = f"{_lines(run)} lines in the ledger, newest checkpoint {whole[-1] if whole else 'none'}"
    if incomplete:
        state += f", {incomplete} incomplete"
    report.found(f"killed: {state}" if killed else f"it ended before this instant was seen: {state}")
    return killed


def _lines(run: Run) -> int:
    """How many lines the ledger has, the last one perhaps not all of it."""
    return run.ledger.read_bytes().count(b"\n") if run.ledger.exists() else 0
