"""Reads web archives as Common Crawl publishes them: WARC (responses) and WET (extracted text)."""

import io
from collections.abc import Iterator
from typing import Any

from palmetto.corpus.extras import need
from palmetto.corpus.reading import encoding, markup, opening
from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.opening import Opened
from palmetto.corpus.reading.readers import archives
from palmetto.corpus.reading.readers.archives import Raw
from palmetto.corpus.reading.records import Dropped, Item, Record
from palmetto.recipe.corpus import Source

_PAGES = ("text/html", "application/xhtml+xml")
_OK = 200


def read_archive(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields a record per response that is a page or plain text, and per extracted text (conversion); counts the
    others.

    Damaged records are problems; the records after them are read nevertheless.
    """
    number = 0
    for stretch, part in enumerate(stream.stretches()):
        last: Raw | None = None
        for raw in archives.split(part, resumed=stretch > 0):
            if last is not None:
                yield from _items(last, f"{file.name}:{number}", file, source)
            number, last = number + 1, raw
        # The damage itself is reported, so the part of a record next to it is not.
        if number == 1 and last is not None and last.problem == archives.NO_RECORD:
            number = 0
        elif last is not None and not stream.torn:
            yield from _items(last, f"{file.name}:{number}", file, source)
    if number == 0 and not stream.damages:
        yield Problem(file.source, file.name, "no WARC records in it", file.size or 0, is_file=True)


def _items(raw: Raw, name: str, file: File, source: Source) -> Iterator[Item]:
    if raw.problem == archives.CUT_SHORT:
        yield Problem(file.source, file.name, f"{raw.problem}; what comes before is kept", raw.size)
        return
    if raw.problem is not None and not raw.is_long:
        yield Problem(file.source, name, raw.problem, raw.size)
        return
    warc = need("fastwarc.warc")
    wanted = (warc.WarcRecordType.response, warc.WarcRecordType.resource, warc.WarcRecordType.conversion)
    try:
        each = next(iter(warc.ArchiveIterator(io.BytesIO(raw.data), auto_decode="all", stream_detect=False)))
        if each.record_type in wanted:
            yield _page(each, raw, name, file, source)
    except (OSError, StopIteration) as error:
        yield Problem(file.source, name, f"damaged ({error})", raw.size)


def _page(each: Any, raw: Raw, name: str, file: File, source: Source) -> Item:
    kind, charset, status = _described(each)
    if raw.is_long and (kind in (*_PAGES, "text/plain") and status in (None, _OK)):
        return Problem(file.source, name, str(raw.problem), raw.size)
    data = each.reader.read(opening.RECORD_BYTES + 1)
    size = raw.size if raw.is_long else len(data)
    if size > opening.RECORD_BYTES and not raw.is_long:
        return Problem(file.source, name, opening.too_long(size), raw.size)
    if status is not None and status != _OK:
        return Dropped(name, "a response other than 200", size)
    url = each.headers.get("WARC-Target-URI")
    try:
        if kind in _PAGES:
            text = markup.plain(markup.page(data, charset), source.markup or "html")
        elif kind == "text/plain":
            text = markup.plain(encoding.decode(data), source.markup)
        else:
            return Dropped(name, "a response that is no page", size)
    except encoding.Undecodable as error:
        return Problem(file.source, f"{name} {url or ''}".strip(), str(error), len(data))
    return Record(name, text, url, source.licence, source.language)


def _described(each: Any) -> tuple[str, str | None, int | None]:
    """Returns the type, charset and status of a response; for other records only the type that the archive states."""
    if each.is_http and each.http_headers is not None:
        kind = each.http_content_type or ""
        return kind.split(";")[0].strip().lower(), each.http_charset, each.http_headers.status_code
    return (each.headers.get("Content-Type") or "").split(";")[0].strip().lower(), None, None
