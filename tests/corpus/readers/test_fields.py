"""Records with fields."""

from typing import Any

import pytest

from palmetto.corpus.finding import File, Problem
from palmetto.corpus.readers.fields import record
from palmetto.corpus.records import Dropped, Item, Record
from palmetto.recipe.corpus import Source

FILE = File("/x/a.jsonl", "a.jsonl", "s", "lines", 1, "1")


def of(values: Any, shelf: dict[str, str] | None = None, **source: object) -> Item:
    return record(values, "n", FILE, Source.model_validate({"paths": ["x"], **source}), shelf)


def test_the_fields_that_hold_the_text() -> None:
    assert of({"text": "a", "url": "u", "license": "MIT"}) == Record("n", "a", "u", "MIT")
    assert of({"title": "t", "body": "b", "x": 1}, text=["title", "body"]) == Record("n", "t\nb")
    assert of({"title": None, "body": "b"}, text=["title", "body"]) == Record("n", "b")
    assert of({"body": "b"}, text=["title", "body"], licence="CC0-1.0", language="ko") == Record(
        "n", "b", None, "CC0-1.0", "ko"
    )
    assert of({"text": ["one", "two"], "address": "u", "url": 5}, url="address") == Record("n", "one\ntwo", "u")
    assert of({"text": "나".encode("cp949") * 9}) == Record("n", "나" * 9)
    assert of({"text": None}) == Record("n", "")
    assert of({"text": "<p>a <b>b</b></p>"}, markup="html") == Record("n", "a b")
    assert of({"text": "''a'' [[b|c]]"}, markup="wikitext") == Record("n", "a c")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1], "a JSON list, expected an object"),
        ("x", "a JSON str, expected an object"),
        ({}, "no field `text`, its fields: none"),
        ({"body": 1, "id": 2}, "no field `text`, its fields: 'body', 'id'"),
        ({"text": 12}, "`text` is int '12', expected a string"),
        ({"text": ["a", 1]}, "`text` is list \"['a', 1]\", expected a string"),
        ({"text": bytes(range(256))}, "`text`: binary"),
    ],
)
def test_what_is_no_record(values: Any, reason: str) -> None:
    assert of(values) == Problem("s", "n", reason)


def test_code() -> None:
    code = {"repo": "a/b", "path": "src/x.RS", "license": "MIT", "text": "fn"}
    assert of(code, kind="code") == Record("n", "fn", "a/b/src/x.RS", "MIT", "Rust")
    assert of({**code, "path": "README.md"}, kind="code") == Dropped("n", "not one of the 24 languages", 2)
    assert of({"text": "fn"}, kind="code", language="Rust") == Record("n", "fn", None, None, "Rust")
    shelf = {"a/b": "Apache-2.0", "a/b/src": "GPL-2.0"}
    assert of(code, shelf, kind="code") == Record("n", "fn", "a/b/src/x.RS", "(MIT) AND (GPL-2.0)", "Rust")
    del code["license"]
    assert of({**code, "path": "y.py"}, shelf, kind="code") == Record("n", "fn", "a/b/y.py", "Apache-2.0", "Python")
    assert of({**code, "licenses": ["MIT", "ISC"]}, kind="code") == Record(
        "n", "fn", "a/b/src/x.RS", "ISC AND MIT", "Rust"
    )
