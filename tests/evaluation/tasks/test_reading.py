"""Tests that files of sets that are damaged are refused by name."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.tasks.reading import json_lines, json_list, table


@pytest.mark.parametrize(
    ("read", "data", "message"),
    [
        (json_lines, b'{"q": "\xe9"}', "not UTF-8"),
        (json_lines, b"{}\n" + b"[" * 100_000, "line 2 is not JSON"),
        (json_list, b"5", "expected a list of objects"),
        (table, b"q,g\n\xe9,0\n", "not UTF-8"),
        (table, b"q,g\nwhy, then?,0\n", "line 2: 3 cells where 2 columns are named"),
    ],
)
def test_a_damaged_file_is_named(
    read: Callable[[Path], Iterable[Any]], data: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "set").write_bytes(data)
    with pytest.raises(UserError, match=f"{tmp_path / 'set'}: {message}"):
        list(read(tmp_path / "set"))


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(b'\xef\xbb\xbfq,g\r\n"a\r\nb",0\r\n')
    assert list(table(tmp_path / "set")) == [{"q": "a\r\nb", "g": "0"}]
