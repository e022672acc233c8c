"""Reads a file with the reader for its kind."""

from collections.abc import Callable, Iterator

from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.kinds import Kind
from palmetto.corpus.reading.opening import Opened, TooLong, opened
from palmetto.corpus.reading.readers import columns, json_records, mail, text, web, wikipedia
from palmetto.corpus.reading.records import Item
from palmetto.recipe.corpus import Source

_READERS: dict[Kind, Callable[[Opened, File, Source], Iterator[Item]]] = {
    "text": text.read_text,
    "html": text.read_page,
    "code": text.read_code,
    "lines": json_records.read_lines,
    "json": json_records.read_array,
    "csv": columns.read_csv,
    "tsv": columns.read_csv,
    "parquet": columns.read_parquet,
    "warc": web.read_archive,
    "wiki": wikipedia.read_dump,
    "mail": mail.read_mail,
}


def read(file: File, source: Source) -> Iterator[Item]:
    """Yields the records of a file, and a problem for whatever cannot be read; the rest is read nevertheless.

    Memory holds the longest record; for .jsonl and .json, a few times its size. Raises UserError if a table has none of
    the columns that the recipe names.
    """
    try:
        with opened(file.path) as stream:
            try:
                yield from _READERS[file.kind](stream, file, source)
            except TooLong as error:
                yield Problem(file.source, file.name, str(error), file.size or 0, is_file=True)
            for damage in stream.damages:
                yield Problem(file.source, file.name, str(damage), damage.size, is_file=True)
    except (OSError, MemoryError) as error:
        yield Problem(file.source, file.name, _reason(error), file.size or 0, is_file=True, may_pass=True)


def _reason(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "there is not memory enough to read it"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be read ({error.strerror or error})"
