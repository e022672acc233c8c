"""Reads the rows of Parquet files by row group; damage affects only the rest of its group."""

from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

_ROWS = 256
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError)
"""The errors that pyarrow raises for damaged bytes, or for a value that Python cannot represent."""


class NoTable(ValueError):
    """Raised if a file is not Parquet, or its metadata are damaged."""


class Lost(NamedTuple):
    """Rows that cannot be read: the reason, their number, and their bytes according to the file."""

    reason: str
    rows: int
    size: int


def opened(file: IO[bytes]) -> parquet.ParquetFile:
    """Opens a table; raises NoTable."""
    try:
        return parquet.ParquetFile(file)
    except _UNREADABLE as error:
        _raise_if_system(error)
        raise NoTable(_short(error)) from None


def rows(table: parquet.ParquetFile, columns: list[str]) -> Iterator[tuple[int, list[Any] | Lost]]:
    """Yields each row's number and its values of `columns`, or, for rows that cannot be read, the first one's number
    and Lost.

    Strings are returned as bytes, because each is decoded by itself.
    """
    row = 0
    for number in range(table.num_row_groups):
        group = table.metadata.row_group(number)
        end = row + group.num_rows
        try:
            for batch in table.iter_batches(_ROWS, row_groups=[number], columns=columns):
                values = [_values(batch.column(name)) for name in columns]
                for at in range(len(batch)):
                    yield row, [column[at] for column in values]
                    row += 1
        except _UNREADABLE as error:
            _raise_if_system(error)
            lost = end - row
            yield row, Lost(_short(error), lost, group.total_byte_size * lost // max(1, group.num_rows))
        row = end


def _raise_if_system(error: Exception) -> None:
    """Raises errors of the system again, such as a failing disk; pyarrow's own errors have no errno."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _short(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _values(column: Any) -> list[Any]:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.large_binary())
    values: list[Any] = column.to_pylist()
    return values
