"""The environment that a process trains or reads a run in, beside the one that the run began in."""

from typing import Any

from palmetto.files import write_json
from palmetto.host import environment
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment


def difference(run: RunDirectory, here: dict[str, Any]) -> str:
    """Returns what of the environment that a run began in is not known, or cannot be had here; "" if nothing.

    `here` is what `environment.record` gives.
    """
    recorded = read_environment(run.environment)
    if recorded is None:
        missing = f"{run.environment}: missing, so what the run began on is not known, nor the same bits promised"
        return missing if run.begun else ""
    differing = environment.differences(recorded, here)
    return "the same bits cannot be promised here: " + "; ".join(differing) if differing else ""


def record(run: RunDirectory, here: dict[str, Any]) -> None:
    """Records the environment that a run begins in, and as an event that it goes on in another."""
    if text := difference(run, here):
        run.record_event("environment", text=text)
    if read_environment(run.environment) is None:
        write_json(run.environment, here)
