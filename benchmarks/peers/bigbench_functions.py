"""Computes BIG-bench's metrics with its own functions, of the answers that come as JSON on standard input.

    bigbench_functions.py FOLDER < {"responses", "targets", "options"} > {METRIC: VALUE}

FOLDER holds the archives of bigbench and t5. Of both, only the modules of metrics are loaded, and what these import of
their own packages; the libraries that no metric here calls are empty modules.
"""

import importlib
import json
import sys
import tarfile
import types
import zipfile
from pathlib import Path

_ABSENT = ("editdistance", "datasets")
"""Modules that are imported, but whose functions no metric here calls."""


def _functions(folder: Path) -> types.ModuleType:
    """Returns BIG-bench's module of metrics."""
    with tarfile.open(next(folder.glob("bigbench-*.tar.gz"))) as archive:
        for member in archive:
            if member.name.endswith("bigbench/api/task_metrics.py"):
                source = archive.extractfile(member)
                assert source is not None, "a file"
                (folder / "task_metrics.py").write_bytes(source.read())
                break
    with zipfile.ZipFile(next(folder.glob("t5-*.whl"))) as wheel:
        for name in ("metrics.py", "qa_utils.py"):
            wheel.extract(f"t5/evaluation/{name}", folder)
    for name in _ABSENT:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["datasets"].load_metric = None  # type: ignore[attr-defined]
    sys.path.insert(0, str(folder))
    return importlib.import_module("task_metrics")


def main(folder: Path) -> None:
    """Writes the value of each metric."""
    metrics, given = _functions(folder), json.load(sys.stdin)
    responses, targets = given["responses"], given["targets"]
    values = dict[str, float]()
    for name, function in metrics.GENERATIVE_FN.items():
        if name == "numeric_match_with_0_1_relative_error":
            values |= function([[number] for number in given["numbers"]], given["guesses"])
        elif name != "bleurt":
            values |= function(targets, responses)
    values |= metrics.measure_multiple_choice_metrics(given["options"], list(metrics.MULTIPLE_CHOICE_FN))
    for logs in ("one", "several"):
        for name, value in metrics.log_likelihood_fn(given[f"{logs}_logs"], given[f"{logs}_targets"]).items():
            values[f"{name}_of_{logs}"] = value
    print(json.dumps({name: float(value) for name, value in values.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
