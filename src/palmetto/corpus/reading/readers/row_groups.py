"""Rows of Parquet, group by group: damage costs what is left of its group."""

from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

_ROWS = 256
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError)
"""Raised by pyarrow where bytes are not as they should be, or a value is none that Python has."""


class NoTable(ValueError):
    """The file is damaged where it says what is in it, or not Parquet."""


class Lost(NamedTuple):
    """Rows that cannot be read: why, how many, and their bytes as the file states them."""

    reason: str
    rows: int
    size: int


def opened(file: IO[bytes]) -> parquet.ParquetFile:
    """A table whose rows can be read; raises NoTable."""
    try:
        return parquet.ParquetFile(file)
    except _UNREADABLE as error:
        _raise_if_system(error)
        raise NoTable(_short(error)) from None


def rows(table: parquet.ParquetFile, columns: list[str]) -> Iterator[tuple[int, list[Any] | Lost]]:
    """Yields each row's number and its values of `columns`, strings as bytes, since each is to be decoded by itself; of
    rows that cannot be read the first one's number."""
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
    """A disk that fails is no damage of the file; pyarrow's own errors of this class have no number."""
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
