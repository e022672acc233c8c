"""Tests the running text of HTML and wikitext."""

from pathlib import Path
from typing import Literal

import pytest

from palmetto.corpus.reading import markup
from palmetto.corpus.reading.encoding import Undecodable
from palmetto.corpus.reading.records import Record
from tests.references.reading_of import reading_of

PAGE = """<html><head><meta charset="{charset}"><title>T</title><script>var x = 1;</script></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/b">About us</a></li></ul></nav>
<main><article><h1>{words}</h1><p>{words} {words}</p><p>Second paragraph, {words}.</p></article></main>
<footer>Copyright</footer></body></html>"""


def test_main_text_of_a_page() -> None:
    text = markup.from_html(PAGE.format(charset="utf-8", words="서울의 봄"))
    assert text.split() == ["서울의", "봄", "서울의", "봄", "서울의", "봄", "Second", "paragraph,", "서울의", "봄."]
    assert "\n" in text


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("euc-kr", "서울의 봄"),
        ("shift_jis", "吾輩は猫である"),
        ("windows-1251", "Война и мир"),
        ("iso-8859-1", "déjà vu"),
    ],
)
def test_a_page_says_its_charset(charset: str, words: str) -> None:
    data = PAGE.format(charset=charset, words=words).encode(charset)
    assert words in markup.page(data, None)
    undeclared = PAGE.format(charset="", words=words).encode(charset)
    assert words in markup.page(undeclared, charset)


def test_a_page_that_lies_about_its_charset_is_detected() -> None:
    data = PAGE.format(charset="us-ascii-or-so", words="서울의 봄이 왔다").encode("cp949")
    assert "서울의 봄이 왔다" in markup.page(data, "utf-8")
    with pytest.raises(Undecodable):
        markup.page(PAGE.format(charset="utf-8", words="서울의 봄").encode().replace("봄".encode(), b"\xff"), None)


@pytest.mark.parametrize("declared", ["iso-8859-1", "windows-1251", "euc-kr", "gbk", "utf-16", "us-ascii"])
@pytest.mark.parametrize("words", ["서울의 봄이 왔다", "Война и мир", "déjà vu, un été à la plage, garçon, où"])
def test_a_page_in_utf8_that_declares_another_charset(declared: str, words: str) -> None:
    data = PAGE.format(charset=declared, words=words).encode()
    assert words in markup.page(data, None)
    assert words in markup.page(data, declared)


def test_few_characters_that_are_utf8_by_chance() -> None:
    data = b"<p>\xc4\xa3\xc4\xbf</p>"
    assert data.decode() == "<p>ģĿ</p>"
    assert markup.page(data, "gbk") == "<p>模目</p>"


WIKITEXT = """{{Infobox city|name=Seoul {{nested|x}}}}
'''Seoul''' ({{lang|ko|서울}}; {{IPA|x}}) is ''the'' capital&nbsp;of [[S. Korea|Korea]].<ref>[[x]]</ref><ref name=b />
[[File:A.jpg|thumb|A [[picture]] of it]] <!-- nothing -->__NOTOC__
{| class="wikitable"
! head
|-
| cell {{b}} ||
{| inner
| x
|}
|}
* an item, [http://a.example with words]
# two [http://bare.example]
; term : definition
== History ==
{{main|History of Seoul}}
Founded<br/>in 18 BC. See [[Star Trek: Picard]] and [[:Category:Cities|cities]].<math>x^2</math>
== References ==
{{reflist}}
=== Books ===
* Someone
== Legacy ==
Lasting.
[[Category:Capitals]] [[ko:서울]] [[분류:수도]]"""


def test_prose_of_an_article() -> None:
    assert markup.from_wikitext(WIKITEXT).split("\n") == [
        "Seoul (서울; ) is the capital of Korea.",
        "",
        "an item, with words",
        "two",
        "term definition",
        "",
        "History",
        "",
        "Founded",
        "in 18 BC. See Star Trek: Picard and cities.",
        "",
        "Legacy",
        "",
        "Lasting.",
    ]


@pytest.mark.parametrize(
    "text", ["", "{{", "[[a|", "{|\n|}\n|}", "'''''", "<ref>", "{{{{{{", "&#xFFFFFFFF; &bogus;", "== x", "{|"]
)
def test_broken_wikitext_is_text(text: str) -> None:
    markup.from_wikitext(text)


def test_real_articles(shared_data: Path) -> None:
    file = shared_data / "corpus" / "wikipedia" / "enwiki_wikitext_markup.jsonl"
    (found, *_) = reading_of(file, text=["wikitext"], markup="wikitext")
    assert isinstance(found, Record)
    assert found.text.startswith("Anarchism is a political philosophy that advocates self-governed societies based on")
    assert not [sign for sign in ("[[", "]]", "{{", "'''", "<ref", "{|") if sign in found.text]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<div>" * 100_000, "html"),
        ("<div>" * 50_000, "wikitext"),
        ("<div style='<li>http://a.b \0<nowiki></nowiki>/>", "wikitext"),
    ],
)
def test_markup_too_deep_for_the_parser_is_refused(text: str, kind: Literal["html", "wikitext"]) -> None:
    with pytest.raises(Undecodable):
        markup.plain(text, kind)


def test_many_tags_that_are_closed_or_need_not_be() -> None:
    assert markup.plain("<p>words<br>" * 5000 + "<div>last</div>" * 5000, "html").count("words") == 5000
    assert markup.plain("word<ref name=a>{{x}}</ref> " * 5000, "wikitext").split() == ["word"] * 5000
    assert markup.plain("word<ref>open " * 3, "wikitext") == "word<ref>open word<ref>open word<ref>open"
