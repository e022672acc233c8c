"""Recognizes directories that Palmetto made: runs, sweeps, ladders and corpora are not read as text.

A run within its own source would change what it was made from.
"""

from collections.abc import Collection

_OF_A_RUN = frozenset({".lock", "stages", "ledger.jsonl", "checkpoints", "environment.json", "summary.json"})

_LOGS = frozenset({"training-log.txt", "sweep-log.txt"})
"""The log of a run of a sweep or ladder, now and before; a run that failed at once has nothing else."""


def recognized(names: Collection[str]) -> str | None:
    """Returns which kind of Palmetto directory has these names in it, also if only begun or copied, else None."""
    if not _LOGS.isdisjoint(names) or ("recipe.yaml" in names and not _OF_A_RUN.isdisjoint(names)):
        return "the directory of a run"
    if "text.json" in names and "ladder.json" in names:
        return "the directory of a ladder"
    if "text.json" in names and ("sweep.json" in names or ".compiled" in names):
        return "the directory of a sweep"
    if ".lock" in names and "stages" in names:
        return "the directory of a corpus"
    return None
