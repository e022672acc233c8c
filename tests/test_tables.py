"""Tests that tables are read whole."""

import csv

import pytest

from palmetto import tables


def test_a_limit_that_others_have_set_does_not_hold() -> None:
    csv.field_size_limit(4)
    assert list(tables.reader(["long text,b\n"])) == [["long text", "b"]]


def test_cells_are_named() -> None:
    assert tables.named(["a", "b"], ["1", "2", ""]) == {"a": "1", "b": "2"}
    assert tables.named(["a", "b"], ["1"]) == {"a": "1"}
    with pytest.raises(csv.Error, match="3 cells where 2 columns are named"):
        tables.named(["a", "b"], ["1", "2", "3"])
