"""Archives of the web: WARC (responses) and WET (their text), as Common Crawl has them."""

from collections.abc import Iterator
from typing import Any

from palmetto.corpus import encoding, markup
from palmetto.corpus.extras import need
from palmetto.corpus.finding import File, Problem
from palmetto.corpus.opening import Opened
from palmetto.corpus.records import Dropped, Item, Record
from palmetto.recipe.corpus import Source

_PAGES = ("text/html", "application/xhtml+xml")
_OK = 200
_END = b"\r\n\r\n"


def read_archive(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """A record a response that is a page or plain text, or a text extracted before (conversion). Others are counted."""
    warc = need("fastwarc.warc")
    wanted = (warc.WarcRecordType.response, warc.WarcRecordType.resource, warc.WarcRecordType.conversion)
    number = 0
    last: Item | None = None
    problem: Problem | None = None
    ending = _Ending(stream)
    try:
        for number, each in enumerate(warc.ArchiveIterator(ending, auto_decode="all", stream_detect=False), 1):
            if last is not None:
                yield last
            last = None
            if each.record_type in wanted:
                last = _page(each, each.reader.read(), f"{file.name}:{number}", file, source)
    except OSError as error:
        problem = Problem(file.source, f"{file.name}:{number + 1}", f"damaged ({error}); what comes before is kept")
    else:
        if number == 0:
            problem = Problem(file.source, file.name, "no WARC records in it")
        elif ending.last != _END:
            problem = Problem(file.source, file.name, "cut short; what comes before is kept")
            last = None
    # Of a damaged file the reader says so; the record in which it ends is not whole.
    if not stream.damage:
        yield from (each for each in (last, problem) if each is not None)


class _Ending:
    """A stream that knows its last bytes: every record ends with two line breaks, and fastwarc does not mind if not."""

    def __init__(self, stream: Opened) -> None:
        self._file = stream.file
        self.tell = stream.file.tell
        self.last = b""

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.last = (self.last + data[-len(_END) :])[-len(_END) :]
        return data


def _page(each: Any, data: bytes, name: str, file: File, source: Source) -> Item:
    kind, charset, status = _described(each)
    if status is not None and status != _OK:
        return Dropped(name, "a response other than 200", len(data))
    url = each.headers.get("WARC-Target-URI")
    try:
        if kind in _PAGES:
            text = markup.plain(markup.page(data, charset), source.markup or "html")
        elif kind == "text/plain":
            text = markup.plain(encoding.decode(data), source.markup)
        else:
            return Dropped(name, "a response that is no page", len(data))
    except encoding.Undecodable as error:
        return Problem(file.source, f"{name} {url or ''}".strip(), str(error))
    return Record(name, text, url, source.licence, source.language)


def _described(each: Any) -> tuple[str, str | None, int | None]:
    """Type, charset and status of a response; of others the type that the archive notes."""
    if each.is_http and each.http_headers is not None:
        kind = each.http_content_type or ""
        return kind.split(";")[0].strip().lower(), each.http_charset, each.http_headers.status_code
    return (each.headers.get("Content-Type") or "").split(";")[0].strip().lower(), None, None
