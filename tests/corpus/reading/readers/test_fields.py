"""Tests that records with named fields become documents."""

from typing import Any

import pytest

from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.readers.fields import record
from palmetto.corpus.reading.records import Dropped, Item, Record
from palmetto.corpus.rules.licences.repository import RecordedLicences
from palmetto.recipe.corpus import Source

FILE = File("/x/a.jsonl", "a.jsonl", "s", "lines", 1, "1")


def of(values: Any, licences: RecordedLicences | None = None, **source: object) -> Item:
    return record(values, "n", FILE, Source.model_validate({"paths": ["x"], **source}), licences)


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
def test_values_that_are_no_record_are_problems(values: Any, reason: str) -> None:
    assert of(values) == Problem("s", "n", reason)


def test_code() -> None:
    code = {"repo": "a/b", "path": "src/x.RS", "license": "MIT", "text": "fn"}
    assert of(code, kind="code") == Record("n", "fn", "a/b/src/x.RS", "MIT", "Rust")
    assert of({**code, "path": "README.md"}, kind="code") == Dropped("n", "not one of the 24 languages", 2)
    assert of({"text": "fn"}, kind="code", language="Rust") == Record("n", "fn", None, None, "Rust")
    licences = RecordedLicences()
    licences.add("a/b/LICENSE", "Apache License\nVersion 2.0")
    licences.add("a/b/src/COPYING", "GNU GENERAL PUBLIC LICENSE\nVersion 2")
    assert of(code, licences, kind="code") == Record("n", "fn", "a/b/src/x.RS", "(MIT) AND (GPL-2.0)", "Rust")
    del code["license"]
    assert of({**code, "path": "y.py"}, licences, kind="code") == Record("n", "fn", "a/b/y.py", "Apache-2.0", "Python")
    assert of({**code, "licenses": ["MIT", "ISC"]}, kind="code") == Record(
        "n", "fn", "a/b/src/x.RS", "ISC AND MIT", "Rust"
    )


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"license": {"key": "gpl-3.0", "name": "GNU General Public License v3.0", "spdx_id": "GPL-3.0"}}, "GPL-3.0"),
        ({"max_stars_repo_licenses": ["LGPL-2.1", "MIT"]}, "LGPL-2.1 AND MIT"),
        ({"detected_licenses": ["MPL-2.0"], "license_type": "no_license"}, "MPL-2.0"),
        ({"detected_licenses": [], "gha_license_id": "AGPL-3.0"}, "AGPL-3.0"),
        ({"meta": {"license": "gpl-2.0"}}, "gpl-2.0"),
        ({"repository": {"license": {"spdx_id": "EPL-2.0"}}}, "EPL-2.0"),
        ({"license": None, "licenses": ["MIT"]}, "MIT"),
        ({"license": {"key": "other", "spdx_id": "NOASSERTION"}}, "LicenseRef-unrecognized"),
    ],
)
def test_licence_fields_of_data_sets_of_code(stated: dict[str, Any], expected: str) -> None:
    item = of({"text": "x", **stated}, kind="code")
    assert isinstance(item, Record)
    assert item.licence == expected


def test_a_repository_by_the_names_of_the_stack() -> None:
    licences = RecordedLicences()
    licences.add("a/b/COPYING", "GNU GENERAL PUBLIC LICENSE\nVersion 2")
    item = of({"text": "x", "max_stars_repo_name": "a/b", "max_stars_repo_path": "src/x.c"}, licences, kind="code")
    assert isinstance(item, Record)
    assert item.licence == "GPL-2.0"
