"""Reads what human raters scored on BIG-bench, which its package holds as a pickle."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from palmetto.errors import UserError

FILE = "bigbench_json/task_human_eval.pkl"
"""The file of the package, in the folder of all sets."""
_METRIC = "normalized_aggregate_score"
_NAMES = {"average": "human average", "best": "best human"}


def _scalar(dtype: np.dtype[Any], data: bytes) -> float:
    return float(np.frombuffer(data, dtype)[0])


_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
}


class _Numbers(pickle.Unpickler):
    """Reads texts, numbers and dictionaries of them; a pickle of anything else could run a program."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return _ALLOWED[module, name]


def humans(task: str, folder: Path) -> dict[str, float]:
    """Returns the normalized scores, 0 to 100, of the average and the best rater of a task; nothing if there are none.

    Raises UserError if the file is not that of the package.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        with path.open("rb") as file:
            ratings = _Numbers(file).load()
        sides = {"average": ratings["average"], "best": ratings["expert"]}
        return {_NAMES[side]: float(of[task][_METRIC]) for side, of in sides.items() if _METRIC in of.get(task, {})}
    except (pickle.UnpicklingError, KeyError, TypeError, AttributeError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not BIG-bench's file of human raters ({error})") from None
