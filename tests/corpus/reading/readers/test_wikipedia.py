"""Tests that MediaWiki dumps are read."""

import bz2
import tracemalloc
from pathlib import Path

import pytest

from palmetto.corpus.reading.dispatch import read
from palmetto.corpus.reading.finding import Problem, find
from palmetto.corpus.reading.records import Dropped, Record
from palmetto.recipe.corpus import Source
from tests.references.reading_of import reading_of

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="ko">
  <siteinfo><sitename>위키백과</sitename><base>https://ko.wikipedia.org/wiki/%EC%9C%84%ED%82%A4</base></siteinfo>
"""


def page(title: str, text: str, space: int = 0, more: str = "") -> str:
    return (
        f"  <page><title>{title}</title><ns>{space}</ns><id>1</id>{more}"
        "<revision><id>2</id><contributor><username>X</username></contributor>"
        f"<text bytes='1'>{text}</text></revision></page>\n"
    )


DUMP = (
    HEAD
    + page("서울 (도시)", "'''서울'''은 [[대한민국]]의 수도이다.&lt;ref&gt;x&lt;/ref&gt;")
    + page("틀:수도", "{{x}}", 10)
    + page("한성", "#넘겨주기 [[서울]]", more='<redirect title="서울" />')
    + page("Seoul", "#REDIRECT [[서울]]")
    + page("빈 문서", "{{삭제}}")
    + "</mediawiki>"
)


@pytest.mark.parametrize("name", ["a.xml", "a.xml.bz2"])
def test_articles(tmp_path: Path, name: str) -> None:
    data = DUMP.encode()
    (tmp_path / name).write_bytes(bz2.compress(data[:400]) + bz2.compress(data[400:]) if "bz2" in name else data)
    first, *others = reading_of(tmp_path / name)
    url = "https://ko.wikipedia.org/wiki/%EC%84%9C%EC%9A%B8_(%EB%8F%84%EC%8B%9C)"
    assert first == Record(f"{name}:1", "서울 (도시)\n\n서울은 대한민국의 수도이다.", url)
    reasons = [other.reason for other in others if isinstance(other, Dropped)]
    assert reasons == ["a page that is no article", "a redirect", "a redirect"]
    assert [other.text for other in others if isinstance(other, Record)] == [""]


def test_a_damaged_dump_gives_the_articles_before(tmp_path: Path) -> None:
    dump = HEAD + "".join(page(f"T{i}", f"Article {i * 7919}") for i in range(6000)) + "</mediawiki>"
    data = bz2.compress(dump.encode(), 1)
    (tmp_path / "a.xml.bz2").write_bytes(data[: len(data) // 2])
    *articles, problem = reading_of(tmp_path / "a.xml.bz2")
    assert problem == Problem("s", "a.xml.bz2", "cut short; what comes before is kept")
    assert len(articles) > 1000
    last = articles[-1]
    assert isinstance(last, Record)
    assert last.text == f"T{len(articles) - 1}\n\nArticle {(len(articles) - 1) * 7919}"


def test_a_long_dump_is_never_in_memory(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        HEAD + "".join(page(f"T{i}", "word " * 40_000) for i in range(100)) + "</mediawiki>"
    )
    source = Source(paths=("a.xml",), markup="none")
    (file,) = find(source, str(tmp_path), "s").files
    tracemalloc.start()
    try:
        assert sum(isinstance(item, Record) for item in read(file, source)) == 100
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_files_that_are_no_dump_are_problems(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<html><p>x</p></html>")
    assert reading_of(tmp_path / "a.xml") == [Problem("s", "a.xml", "no dump of MediaWiki, but XML of <html>")]
    (tmp_path / "a.xml").write_text(HEAD + page("A", "one") + "<page><title>B</ti")
    first, problem = reading_of(tmp_path / "a.xml")
    assert isinstance(first, Record)
    assert isinstance(problem, Problem)
    assert problem.reason.startswith("broken XML (")
    entities = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    long = "x" * 1000
    bomb = f'<!DOCTYPE m [<!ENTITY a "{long}">{entities}]>{HEAD}{page("A", "&j;")}</mediawiki>'
    (tmp_path / "a.xml").write_text(bomb)
    (problem,) = reading_of(tmp_path / "a.xml")
    assert isinstance(problem, Problem)


PAGES = [page(f"T{number}", f"Article {number * 7919}. " * 20) for number in range(9)]
BROKEN = {
    "an entity": PAGES[4].replace("Article", "&nosuch;", 1),
    "a tag": PAGES[4].replace("<revision>", "<revision><open>"),
    "no end": PAGES[4].replace("</page>", ""),
    "no beginning": PAGES[4].replace("<page>", ""),
    "cut short": PAGES[4][:99],
    "a control character": PAGES[4].replace("Article", "\x01", 1),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_page_costs_only_itself(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.xml").write_text(HEAD + "".join([*PAGES[:4], BROKEN[kind], *PAGES[5:]]) + "</mediawiki>")
    items = reading_of(tmp_path / "a.xml")
    kept = [item for item in items if isinstance(item, Record)]
    assert [item.text.split()[0] for item in kept] == [f"T{number}" for number in range(9) if number != 4]
    assert {item.name for item in kept} == {f"a.xml:{number + 1}" for number in range(9) if number != 4}
    assert [item.name for item in items if isinstance(item, Problem)] == ["a.xml:5"]


@pytest.mark.parametrize("member", [0, 2])
def test_a_damaged_member_costs_its_pages(tmp_path: Path, member: int) -> None:
    parts = [HEAD, *("".join(PAGES[place : place + 3]) for place in (0, 3, 6)), "</mediawiki>"]
    members = [bytearray(bz2.compress(part.encode())) for part in parts]
    members[member][40:60] = bytes(20)
    (tmp_path / "a.xml.bz2").write_bytes(b"".join(members))
    items = reading_of(tmp_path / "a.xml.bz2")
    titles = [item.text.split()[0] for item in items if isinstance(item, Record)]
    assert titles == [f"T{number}" for number in range(9) if member == 0 or number not in (3, 4, 5)]
    (problem,) = [item for item in items if isinstance(item, Problem)]
    assert problem.reason.endswith("what comes before and after is kept")


def test_a_dump_without_pages_or_end(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(HEAD + "</mediawiki>\n")
    assert reading_of(tmp_path / "a.xml") == []
    (tmp_path / "a.xml").write_text(HEAD + PAGES[0])
    first, problem = reading_of(tmp_path / "a.xml")
    assert isinstance(first, Record)
    assert problem == Problem("s", "a.xml", "broken XML (it does not end); what comes before is kept")
