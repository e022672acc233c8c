"""Reads files that are one document: plain text, HTML pages and code."""

import re
from collections.abc import Iterator

from palmetto.corpus.reading import code_languages, encoding, markup
from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.opening import Opened
from palmetto.corpus.reading.readers import chat
from palmetto.corpus.reading.records import Item, Record
from palmetto.corpus.rules.licences import nearby
from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED
from palmetto.recipe.corpus import Source

_NEAR = 32768
"""The distance from either end, in characters, within which a book's frame is searched; the licence alone has
18,000.
"""
_BEGIN = re.compile(
    r"^\*{3} ?START OF TH(?:E|IS) PROJECT GUTENBERG EBOOK.*?\*{3}[ \t]*\r?\n"
    r"|^\*END\*? ?THE SMALL PRINT.*?\*END\*[ \t]*\r?\n",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_END = re.compile(
    r"^(?:End of (?:the |this )?Project Gutenberg|\*{3} ?END OF TH(?:E|IS) PROJECT GUTENBERG EBOOK)",
    re.MULTILINE | re.IGNORECASE,
)


def read_text(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields the whole file, without the frame that Project Gutenberg puts around a book; chat logs become dialogue."""
    try:
        text = encoding.decode(_whole(stream))
        if source.kind == "dialogue":
            yield _record(file, source, chat.dialogue(text) or text)
            return
        book = without_frame(text)
        removed = len(text.encode()) - len(book.encode()) if book is not text else 0
        yield _record(file, source, markup.plain(book, source.markup), removed)
    except encoding.Undecodable as error:
        yield _problem(file, error)


def _problem(file: File, error: encoding.Undecodable) -> Problem:
    return Problem(file.source, file.name, str(error), file.size or 0, is_file=True)


def _record(file: File, source: Source, text: str, removed: int = 0) -> Record:
    return Record(file.name, text, None, source.licence, source.language, removed)


def read_page(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields the main text of a page, or the page unchanged with `markup: none`."""
    try:
        yield _record(file, source, markup.plain(markup.page(_whole(stream), None), source.markup or "html"))
    except encoding.Undecodable as error:
        yield _problem(file, error)


def read_code(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields a file of code with its repository's licence."""
    try:
        text = encoding.decode(_whole(stream))
    except encoding.Undecodable as error:
        yield _problem(file, error)
        return
    licence = nearby.licence(file.path, file.licences)
    if licence in (None, UNRECOGNIZED) and source.licence:
        licence = source.licence if licence is None else f"({source.licence}) AND {UNRECOGNIZED}"
    yield Record(file.name, text, None, licence, code_languages.language(file.name))


def _whole(stream: Opened) -> bytes:
    """Returns all of a file that can be read; before damage only whole lines, as the last may end within a
    character.
    """
    parts = []
    for _ in stream.stretches():
        data = stream.whole()
        parts.append(data[: data.rfind(b"\n") + 1] if stream.damage else data)
    return b"".join(parts)


def without_frame(text: str) -> str:
    """Returns a book without Project Gutenberg's header and footer, if it has them."""
    begin = _BEGIN.search(text, 0, _NEAR)
    if begin is None:
        return text
    end = _END.search(text, max(begin.end(), len(text) - _NEAR))
    return text[begin.end() : end.start() if end else len(text)].strip("\r\n") + "\n"
