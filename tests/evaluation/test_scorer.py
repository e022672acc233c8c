"""Tests that a scorer of the user's that does not work is refused by its name."""

from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation import scorer


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("raises", "raise ValueError('boom')", r"cannot be imported \(ValueError: boom\)"),
        ("no_python", "def f(:", r"cannot be imported \(SyntaxError"),
        ("imports", "import nowhere_to_be_found", "no module nowhere_to_be_found"),
        ("constant", "f = 5", "has no function f"),
        ("too_few", "def f(texts): return [0.5]", r"gave \[0\.5\] for 2 texts; expected as many from 0 to 1"),
        ("no_number", "def f(texts): return [float('nan')] * 2", r"gave \[nan, nan\] for 2 texts"),
        ("fails", "def f(texts): return texts[5]", "IndexError: list index out of range"),
        ("nothing", "def f(texts): pass", "TypeError: 'NoneType' object is not iterable"),
        ("too_large", "def f(texts): return [2] * 2", "for 2 texts; expected as many from 0 to 1"),
    ],
)
def test_a_scorer_that_does_not_work_is_refused(
    name: str, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"scorer_that_{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"--scorer scorer_that_{name}:f: .*{message}"):
        scorer.load(f"scorer_that_{name}:f")(["a", "b"])


def test_a_module_has_an_absolute_name() -> None:
    with pytest.raises(UserError, match=r"--scorer \.\.:f: "):
        scorer.load("..:f")
