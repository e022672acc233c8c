"""Directories that Palmetto itself has made. What lies in a run, a sweep or a corpus is no text to read beside others:
a run within its own source would change what it was made from."""

from collections.abc import Collection

_OF_A_RUN = frozenset({".lock", "stages", "ledger.jsonl", "checkpoints", "environment.json", "summary.json"})

_LOG = "sweep-log.txt"
"""The output of the process of a sweep's run; a run that failed at once has nothing else."""


def recognized(names: Collection[str]) -> str | None:
    """Returns which directory of ours a folder with these names is, also one only begun or copied; else None."""
    if _LOG in names or ("recipe.yaml" in names and not _OF_A_RUN.isdisjoint(names)):
        return "the directory of a run"
    if "text.json" in names and ("sweep.json" in names or ".compiled" in names):
        return "the directory of a sweep"
    if ".lock" in names and "stages" in names:
        return "the directory of a corpus"
    return None
