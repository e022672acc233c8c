"""Tables: .csv, .tsv and Parquet."""

import csv
import io
import sys
from collections.abc import Iterator
from typing import IO, Any

from palmetto.corpus import encoding
from palmetto.corpus.finding import File, Problem
from palmetto.corpus.opening import Opened
from palmetto.corpus.readers.fields import LICENCE_FIELDS, record
from palmetto.corpus.records import Item
from palmetto.errors import UserError
from palmetto.recipe.corpus import Source

_ROWS = 256
_SHOWN = 8


def read_csv(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """A record a row. The first row names the columns, unless `text` is numbers: then there is none, and 1 is the first
    column. UserError names the columns where none is one of `text`."""
    tabs = file.kind == "tsv"
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(
        _decoded(stream.file), delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    )
    columns: list[str] | None = None
    if all(field.isdecimal() for field in source.text):
        columns = [str(number) for number in range(1, max(map(int, source.text)) + 1)]
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except (csv.Error, encoding.Undecodable) as error:
            yield Problem(file.source, f"{file.name}:{rows.line_num + 1}", str(error))
            continue
        if columns is None:
            columns = row
            _demand(row, file, source)
        elif row:
            yield record(dict(zip(columns, row, strict=False)), f"{file.name}:{rows.line_num}", file, source)


def _demand(columns: list[str], file: File, source: Source) -> None:
    if not set(columns) & set(source.text):
        found = ", ".join(repr(column[:40]) for column in columns[:_SHOWN]) or "nothing"
        named = " or ".join(f"`{field}`" for field in source.text)
        key = f"corpus.build.sources.{file.source}.text"
        raise UserError(f"{file.path}: no column {named}; the columns are {found}; set {key} to one of them, or, if "
                        "these are no names, to numbers of columns (['1'] is the first)")  # fmt: skip


def _decoded(file: IO[bytes]) -> Iterator[str]:
    return map(_or_raise, encoding.Lines(file))


def _or_raise(line: str | encoding.Undecodable) -> str:
    if isinstance(line, encoding.Undecodable):
        raise line
    return line


def read_parquet(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """A record a row; UserError where no column is one of `text`. Damage ends it, and what comes before stays."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # Parquet is read from its end: what cannot seek is decompressed first.
        table = parquet.ParquetFile(io.BytesIO(stream.file.read()) if stream.compressed else stream.file)
        names = table.schema_arrow.names
        _demand(names, file, source)
        used = {*source.text, source.url, *LICENCE_FIELDS}
        wanted = [name for name in names if name in used]
        row = 0
        for batch in table.iter_batches(_ROWS, columns=wanted):
            columns = {name: _values(batch.column(name)) for name in wanted}
            for values in zip(*columns.values(), strict=True):
                yield record(dict(zip(columns, values, strict=True)), f"{file.name}:{row}", file, source)
                row += 1
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield Problem(file.source, file.name, f"damaged or not Parquet ({what}); what comes before is kept")


def _values(column: Any) -> list[Any]:
    """Strings as bytes, so that each is decoded by itself."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.large_binary())
    values: list[Any] = column.to_pylist()
    return values
