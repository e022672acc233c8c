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


def read_archive(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """A record a response that is a page or plain text, or a text extracted before (conversion). Others are counted."""
    warc = need("fastwarc.warc")
    wanted = warc.WarcRecordType.response | warc.WarcRecordType.conversion | warc.WarcRecordType.resource
    records = warc.ArchiveIterator(
        stream.file, record_types=wanted, parse_http=True, auto_decode="all", stream_detect=False
    )
    number = 0
    while True:
        number += 1
        name = f"{file.name}:{number}"
        try:
            each = next(records)
            data = each.reader.read()
        except StopIteration:
            break
        except OSError as error:
            if not stream.damage:
                yield Problem(file.source, name, f"damaged ({error}); what comes before is kept")
            break
        # The record in which a damaged file ends is not whole.
        if not stream.damage or each.content_length <= len(data) or stream.file.peek(1):  # type: ignore[attr-defined]
            yield _page(each, data, name, file, source)
    if number == 1 and not stream.damage:
        yield Problem(file.source, file.name, "no WARC records in it")


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
