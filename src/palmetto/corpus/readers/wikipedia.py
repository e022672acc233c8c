"""Dumps of MediaWiki (Wikipedia's pages-articles.xml), read page by page."""

from collections.abc import Iterator
from urllib.parse import quote
from xml.etree import ElementTree

from palmetto.corpus import encoding, markup
from palmetto.corpus.finding import File, Problem
from palmetto.corpus.opening import Opened
from palmetto.corpus.records import Dropped, Item, Record
from palmetto.recipe.corpus import Source

_ARTICLES = "0"


def read_dump(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """An article a page of namespace 0: its title, and its text without markup; no redirects.

    The dump's own address (`base`) gives the articles theirs.
    """
    base = ""
    number = 0
    open_elements: list[ElementTree.Element] = []
    try:
        for event, element in ElementTree.iterparse(stream.file, ("start", "end")):
            tag = _local(element)
            if event == "start":
                if not open_elements and tag != "mediawiki":
                    yield Problem(file.source, file.name, f"no dump of MediaWiki, but XML of <{tag}>")
                    return
                open_elements.append(element)
                continue
            open_elements.pop()
            if tag == "base":
                base = (element.text or "").rpartition("/")[0]
            elif tag == "page":
                number += 1
                yield _article(element, f"{file.name}:{number}", base, file, source)
                open_elements[-1].remove(element)
    except ElementTree.ParseError as error:
        if not stream.damage:
            yield Problem(file.source, file.name, f"broken XML ({error}); what comes before is kept")


def _article(page: ElementTree.Element, name: str, base: str, file: File, source: Source) -> Item:
    values: dict[str, str] = {}
    for element in page.iter():
        # A page of several revisions ends with its last.
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
        return Problem(file.source, f"{name} {title}", str(error))
    url = f"{base}/{quote(title.replace(' ', '_'), safe='/:(),')}" if base and title else None
    return Record(name, f"{title}\n\n{body}" if body.strip() else "", url, source.licence, source.language)


def _local(element: ElementTree.Element) -> str:
    """A tag without its namespace, which changes with each version of the format."""
    return element.tag.rpartition("}")[2]
