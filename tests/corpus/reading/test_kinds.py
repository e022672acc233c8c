"""Tests that a file's kind follows from its name."""

import pytest

from palmetto.corpus.reading.kinds import compression, kind
from palmetto.recipe.corpus import Source

PROSE, CODE = Source(paths=("x",)), Source(paths=("x",), kind="code")


@pytest.mark.parametrize(
    ("name", "prose", "code", "checkout"),
    [
        ("a.txt", "text", None, None),
        ("a.RST.GZ", "text", None, None),
        ("a.jsonl.zst", "lines", "lines", None),
        ("a.json", "json", None, None),
        ("a.parquet", "parquet", "parquet", None),
        ("a.warc.wet.gz", "warc", None, None),
        ("a.html", "html", "code", "code"),
        ("a.xml.bz2", "wiki", "code", "code"),
        ("a.py", None, "code", "code"),
        ("a.csv", "csv", None, None),
        ("a.mbox", "mail", None, None),
        ("a.pdf", None, None, None),
        ("gz", None, None, None),
        ("a.gz", None, None, None),
    ],
)
def test_by_name_source_and_checkout(name: str, prose: str | None, code: str | None, checkout: str | None) -> None:
    assert (kind(name, PROSE, False), kind(name, CODE, False), kind(name, CODE, True)) == (prose, code, checkout)


def test_compressions() -> None:
    assert [compression(name) for name in ("a.txt", "a.txt.GZ", "a.zst", "a.b.bz2", "gz")] == [
        "",
        ".gz",
        ".zst",
        ".bz2",
        "",
    ]
