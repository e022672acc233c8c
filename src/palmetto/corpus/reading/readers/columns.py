"""Reads tables: .csv, .tsv and Parquet."""

import csv
import io
from collections.abc import Iterator

from palmetto import tables
from palmetto.corpus.reading import encoding
from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.opening import Opened
from palmetto.corpus.reading.readers import row_groups, separated
from palmetto.corpus.reading.readers.fields import LICENCE_FIELDS, record
from palmetto.corpus.reading.records import Item
from palmetto.errors import UserError
from palmetto.recipe.corpus import Source

_SHOWN = 8


def read_csv(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields a record per row.

    The first row names the columns, unless `text` consists of numbers: then there is no header, and column 1 is the
    first. Raises UserError, which lists the columns, if none is in `text`.
    """
    columns: list[str] | None = None
    numbered = all(field.isdecimal() for field in source.text)
    if numbered:
        columns = [str(number) for number in range(1, max(map(int, source.text)) + 1)]
    number = 0
    for stretch, part in enumerate(stream.stretches()):
        begun = number
        for number, row, whole in separated.rows(part, file.kind == "tsv", begun):
            # Where damage begins and ends, part of a row may be left; it belongs to the damage.
            if stream.torn and not whole:
                continue
            first = stretch > 0 and number == begun + 1
            if isinstance(row, encoding.Undecodable):
                yield Problem(file.source, f"{file.name}:{number}", str(row), row.size)
            elif columns is None:
                columns = row
                _demand(row, file, source)
            elif row and not (first and len(row) != len(columns)):
                cells = row[: len(columns)] if numbered else row
                yield _row(columns, cells, f"{file.name}:{number}", file, source)


def _row(columns: list[str], row: list[str], name: str, file: File, source: Source) -> Item:
    """Returns a row's record. A row with a cell too many may have an unquoted comma in its text."""
    try:
        return record(tables.named(columns, row), name, file, source)
    except csv.Error as error:
        return Problem(file.source, name, str(error), sum(len(cell.encode()) for cell in row))


def _demand(columns: list[str], file: File, source: Source) -> None:
    key = f"corpus.build.sources.{file.source}.text"
    if not set(columns) & set(source.text):
        found = ", ".join(repr(column[:40]) for column in columns[:_SHOWN]) or "nothing"
        named = " or ".join(f"`{field}`" for field in source.text)
        raise UserError(
            f"{file.path}: no column {named}; the columns are {found}; set {key} to one of them, or, if "
            "these are no names, to numbers of columns (['1'] is the first)"
        )
    if several := [name for name in source.text if columns.count(name) > 1]:
        raise UserError(
            f"{file.path}: {columns.count(several[0])} columns are named `{several[0]}`; rename those that "
            f"are not meant, or set {key} to another"
        )


def read_parquet(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields a record per row; damage affects only the rest of its row group.

    Raises UserError if no column, or more than one of the same name, is in `text`.
    """
    try:
        # Parquet is read from its end, so a stream that cannot seek is read whole first.
        table = row_groups.opened(io.BytesIO(stream.whole()) if stream.compressed else stream.file)
    except row_groups.NoTable as error:
        reason = f"damaged or not Parquet ({error}); nothing of it is read"
        yield Problem(file.source, file.name, reason, file.size or 0, is_file=True)
        return
    names = table.schema_arrow.names
    _demand(names, file, source)
    used = {*source.text, source.url, *LICENCE_FIELDS}
    # A name that occurs twice is ambiguous.
    wanted = [name for name in names if name in used and names.count(name) == 1]
    for row, values in row_groups.rows(table, wanted):
        name = f"{file.name}:{row}"
        if isinstance(values, row_groups.Lost):
            reason = f"damaged or not Parquet ({values.reason}); {values.rows:,} rows are lost, the others are kept"
            yield Problem(file.source, file.name, reason, values.size)
        else:
            yield record(dict(zip(wanted, values, strict=True)), name, file, source)
