"""Comparison of the environment of a process with the one that a run began in."""

from typing import Any

from palmetto.files import write_json
from palmetto.host import environment
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment


def difference(run: RunDirectory, here: dict[str, Any]) -> str:
    """Returns why the same bits cannot be promised here: the recorded environment is missing or differs; or "".

    `here` is the result of `environment.record`.
    """
    recorded = read_environment(run.environment)
    if recorded is None:
        missing = f"{run.environment}: missing, so what the run began on is not known, nor the same bits promised"
        return missing if run.begun else ""
    differing = environment.differences(recorded, here)
    return "the same bits cannot be promised here: " + "; ".join(differing) if differing else ""


def record(run: RunDirectory, here: dict[str, Any]) -> None:
    """Records the environment that a run begins in; if it resumes in another, writes an event."""
    if text := difference(run, here):
        run.record_event("environment", text=text)
    if read_environment(run.environment) is None:
        write_json(run.environment, here)
