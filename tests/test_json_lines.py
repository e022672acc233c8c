"""Lines that were written are read back, and an incomplete last one is none."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.json_lines import JsonLines, read_json_lines


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "lines.jsonl"


values = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=5), max_size=3)


@given(before=st.lists(values, max_size=4), after=st.lists(values, max_size=2), torn=values, share=st.floats(0, 1))
def test_lines_are_read_back_and_incomplete_ones_cut(
    scratch: Path, before: list[Any], after: list[Any], torn: Any, share: float
) -> None:
    scratch.unlink(missing_ok=True)
    log = JsonLines(scratch)
    for value in before:
        log.append(value)
    log.close()
    line = json.dumps(torn).encode() + b"\n"
    with scratch.open("ab") as file:
        file.write(line[: int(share * (len(line) - 1))])
    assert read_json_lines(scratch) == before
    log = JsonLines(scratch)
    for value in after:
        log.append(value)
    log.close()
    assert read_json_lines(scratch) == before + after


def test_an_appended_line_survives_an_immediate_kill(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    program = (
        "import os, signal, sys; from pathlib import Path; from palmetto.json_lines import JsonLines\n"
        "log = JsonLines(Path(sys.argv[1])); log.append({'step': 1}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert read_json_lines(path) == [{"step": 1}]


def test_a_line_that_is_no_json_is_refused_by_number(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a"\n{}\n')
    with pytest.raises(UserError, match=r"lines\.jsonl: line 2 is not JSON"):
        read_json_lines(path)


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert read_json_lines(tmp_path / "none.jsonl") == []
