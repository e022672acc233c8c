"""The core needs none of the libraries that extras are for, nor what only peers have."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OTHERS = {"torch", "transformers", "tokenizers", "flax", "ray", "lm-eval", "fsspec", "fastapi", "uvicorn"}


def names(lines: list[str]) -> set[str]:
    """Returns the names of the packages that lines require."""
    return {found[0].lower() for line in lines if (found := re.match(r"[A-Za-z0-9._-]+", line))}


def test_the_core_requires_no_framework_of_others() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "jax" in names(required)
    assert not names(required) & OTHERS


@pytest.mark.parametrize("lock", ["py311", "py312"])
def test_nothing_that_the_core_requires_brings_one_along(lock: str) -> None:
    locked = names((ROOT / "requirements" / lock / "core.txt").read_text().splitlines())
    assert {"jax", "numpy"} <= locked
    assert not locked & (OTHERS - {"fsspec"})
