"""Reads separated values: fields may be of any size, and no cell is passed over."""

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _csv import Reader


def reader(lines: Iterable[str], delimiter: str = ",", quoted: bool = True, strict: bool = False) -> "Reader":
    """Returns csv's reader of the rows in these lines, without its limit of 128 KiB a field.

    quoted: whether quotation marks enclose fields that contain line breaks and delimiters. strict: whether marks in
    other places are an error. The rows raise csv.Error.
    """
    csv.field_size_limit(sys.maxsize)  # the limit is one for the process, and other code may have set it
    return csv.reader(
        lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, strict=strict
    )


def named(names: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """Returns a row's cells by their columns' names; the last columns may have no cells.

    Raises csv.Error if cells that are not empty have no column: a delimiter in a text is not quoted, perhaps.
    """
    if any(row[len(names) :]):
        raise csv.Error(f"{len(row)} cells where {len(names)} columns are named")
    return dict(zip(names, row, strict=False))
