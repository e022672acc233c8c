"""Reads MediaWiki dumps (Wikipedia's pages-articles.xml) page by page; broken XML affects only its page."""

import itertools
import re
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import quote
from xml.etree import ElementTree

from palmetto.corpus.reading import encoding, markup, opening
from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.opening import Opened
from palmetto.corpus.reading.records import Dropped, Item, Record
from palmetto.recipe.corpus import Source

_ARTICLES = "0"
_BEGIN, _END = b"<page>", b"</page>"
_SIGN = re.compile(rb"</?page>")
_CLOSED = re.compile(rb"</mediawiki>\s*$")
_DECLARATION = re.compile(rb"\s*<\?xml[^>]*\?>")
_CHUNK = 1 << 18


def read_dump(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields a document per page of namespace 0 that is no redirect: its title and its text without markup.

    The articles' addresses follow from the dump's own address (`base`).
    """
    base, number, declaration = "", 0, b""
    for stretch, part in enumerate(stream.stretches()):
        pieces = _pieces(part)
        piece = next(pieces)
        if stretch == 0:
            declaration = found.group() if (found := _DECLARATION.match(piece)) else b""
            base, wrong = _described(piece)
            if wrong and not stream.damage:
                yield Problem(file.source, file.name, wrong, file.size or 0, is_file=True)
                return
        elif piece.startswith(_BEGIN):
            pieces = itertools.chain([piece], pieces)
        for piece in pieces:
            if not piece.strip() or _CLOSED.search(piece):
                continue
            number += 1
            name = f"{file.name}:{number}"
            try:
                yield _article(_parsed(declaration, piece), name, base, file, source)
            except encoding.Undecodable as error:
                # If damage ends the stretch within this page, the damage itself is reported.
                if not (stream.torn and not piece.endswith(_END)):
                    yield Problem(file.source, name, str(error), len(piece))
        if not stream.damage and not piece.startswith(_BEGIN) and not _CLOSED.search(piece):
            yield Problem(file.source, file.name, "broken XML (it does not end); what comes before is kept")


def _described(head: bytes) -> tuple[str, str]:
    """Returns the base address of a dump, and the reason why it is no dump or ""."""
    if (mark := encoding.mark(head)) and mark[1] != "utf-8":
        return "", f"a dump in {mark[1].upper()}, expected UTF-8"
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    parser.feed(head)
    base, root = "", None
    try:
        for event, element in parser.read_events():
            if root is None:
                root = _local(element)
            if event == "end" and _local(element) == "base":
                base = (element.text or "").rpartition("/")[0]
    except ElementTree.ParseError as error:
        if root in ("mediawiki", None):
            return "", f"broken XML ({error}); nothing of it is read"
    if root is None:
        return "", "broken XML (there is no element in it)"
    return base, "" if root == "mediawiki" else f"no dump of MediaWiki, but XML of <{root}>"


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the beginning of a dump up to its first page, then its pages and whatever lies between and after them.

    After damage, the first piece is the rest of a page. A page that is not closed extends to the beginning of the next.
    Of a piece longer than RECORD_BYTES, only the beginning is yielded.
    """
    data, searched, passed = b"", 0, False
    while True:
        if (found := _SIGN.search(data, searched)) is not None:
            if found.end() == len(_BEGIN) and not passed:
                searched = found.end()
                continue
            end = found.end() if found.group() == _END else found.start()
            if not passed:
                yield data[:end]
            data, searched, passed = data[end:], 0, False
            continue
        if len(data) > opening.RECORD_BYTES and not passed:
            yield data
            data, passed = b"", True
        # A tag may continue in the next piece.
        searched = max(searched, len(data) - len(_END))
        if passed:
            data, searched = data[-len(_END) :], 0
        if not (more := file.read(_CHUNK)):
            break
        data += more
    if not passed:
        yield data


def _parsed(declaration: bytes, page: bytes) -> ElementTree.Element:
    """Returns a page's XML element; raises Undecodable."""
    if len(page) > opening.RECORD_BYTES:
        raise encoding.Undecodable(opening.too_long(len(page)))
    if not page.startswith(_BEGIN):
        raise encoding.Undecodable("broken XML (no beginning of a page)")
    try:
        return ElementTree.fromstring(declaration + page)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise encoding.Undecodable(f"broken XML ({error})") from None


def _article(page: ElementTree.Element, name: str, base: str, file: File, source: Source) -> Item:
    values: dict[str, str] = {}
    for element in page.iter():
        # If a page has several revisions, the last one counts.
        values[_local(element)] = element.text or ""
    title, text = values.get("title", ""), values.get("text", "")
    size = len(text.encode())
    if values.get("ns", _ARTICLES) != _ARTICLES:
        return Dropped(name, "a page that is no article", size)
    if "redirect" in values or text.lstrip()[:9].lower() == "#redirect":
        return Dropped(name, "a redirect", size)
    try:
        body = markup.plain(text, source.markup or "wikitext")
    except encoding.Undecodable as error:
        return Problem(file.source, f"{name} {title}", str(error), size)
    url = f"{base}/{quote(title.replace(' ', '_'), safe='/:(),')}" if base and title else None
    return Record(name, f"{title}\n\n{body}" if body.strip() else "", url, source.licence, source.language)


def _local(element: ElementTree.Element) -> str:
    """Returns a tag without its namespace, which changes with the version of the format."""
    return element.tag.rpartition("}")[2]
