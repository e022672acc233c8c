"""Directories that Palmetto itself has made. What lies in a run, a sweep or a corpus is no text to read beside others:
a run within its own source would change what it was made from."""

from collections.abc import Collection

_OF_A_RUN = frozenset({".lock", "stages", "ledger.jsonl", "checkpoints", "environment.json", "summary.json"})

_LOG = "sweep-log.txt"
"""What the process of a sweep's run has printed; of one that failed at once it is all there is."""


def recognized(names: Collection[str]) -> str | None:
    """What a folder that holds these names is, if it is one of ours: also one that is only begun, or was copied."""
    if _LOG in names or ("recipe.yaml" in names and not _OF_A_RUN.isdisjoint(names)):
        return "the directory of a run"
    if "text.json" in names and ("sweep.json" in names or ".compiled" in names):
        return "the directory of a sweep"
    if ".lock" in names and "stages" in names:
        return "the directory of a corpus"
    return None
