"""The datasheet says what the manifest says, in page, picture and values."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from palmetto.report import datasheet
from palmetto.report.sheet import Sheet


def manifest(**changes: Any) -> dict[str, Any]:
    counts, few = ({"documents": n, "bytes": 1000 * n, "tokens": tokens} for n, tokens in ((3, 750), (1, 500)))
    values: dict[str, Any] = {
        "recipe": {"sources": {"web": {}, "books": {}}},
        "stages": [
            {"name": "extraction", "before": {"web": [9, 9000], "books": [2, 2000]},
             "after": {"web": [8, 8900], "books": [2, 2000]}, "dropped": {"web": {"empty": [1, 100]}}},
            {"name": "language", "before": {"web": [8, 8900], "books": [2, 2000]},
             "after": {"web": [8, 8900], "books": [2, 2000]}, "dropped": {}},
            {"name": "filters", "before": {"web": [8, 8900], "books": [2, 2000]},
             "after": {"web": [3, 3000], "books": [1, 1000]},
             "dropped": {"web": {"<b>too few words</b>": [5, 5900]}, "books": {"too few words": [1, 1000]}}},
        ],
        "not_read": [{"source": "web", "name": "a&b.txt", "reason": "binary"}],
        "mixture": {"available": {"web": 900, "books": 250}, "wanted": {"web": 750, "books": 250}},
        "languages": {"web": {"en": counts, "": counts}, "books": {"ko": few}},
        "licences": {"web": {"": counts, "MIT": counts}, "books": {"CC0-1.0": counts}},
        "samples": {"web": [{"name": "p.html", "text": "<script>alert(1)</script> 한국어"}], "books": []},
        "contamination": {"quiz": {"examples": 20, "contaminated": 3}},
    }  # fmt: skip
    return values | changes


def test_values() -> None:
    values = Sheet(manifest()).values()
    assert (values["documents"], values["bytes"], values["tokens"]) == (7, 7000, 2000)
    assert values["sources"]["web"]["share"] == 0.75
    assert values["sources"]["books"]["wanted"] == 0.25
    assert values["licences"] == {"": 3, "MIT": 3, "CC0-1.0": 3}
    assert values["dropped"][0] == {"stage": "extraction", "source": "web", "reason": "empty", "documents": 1,
                                    "bytes": 100, "share": pytest.approx(100 / 9000)}  # fmt: skip
    json.dumps(values)


def test_licences_that_are_not_recognized_are_counted(tmp_path: Path) -> None:
    licences = ["MIT", "LicenseRef-unrecognized", "GPL-3.0 AND LicenseRef-unrecognized", "", "Acme-1.0"]
    of = {licence: {"documents": n, "bytes": n, "tokens": n} for n, licence in enumerate(licences, 1)}
    changed = manifest(licences={"web": of, "books": {}})
    assert Sheet(changed).values()["licences_not_recognized"] == 2 + 3 + 5
    datasheet.write(changed, "mix", tmp_path)
    page = (tmp_path / "datasheet.html").read_text()
    assert re.search(r"not recognized, wholly or in part</td><td[^>]*>10<", page)


def test_only_stages_that_changed_something_are_drawn() -> None:
    assert [name for name, _ in Sheet(manifest()).flow] == ["read", "extraction", "filters"]


def test_the_page_holds_what_the_manifest_holds_and_runs_none_of_it(tmp_path: Path) -> None:
    datasheet.write(manifest(), "mix <x>", tmp_path)
    page = (tmp_path / "datasheet.html").read_text()
    for text in (
        "&lt;b&gt;too few words",
        "a&amp;b.txt",
        "&lt;script&gt;alert(1)",
        "한국어",
        "15.0%",
        "CC0-1.0",
        "mix &lt;x&gt;",
    ):
        assert text in page, text
    assert "<script" not in page
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(before) == ["datasheet.html", "datasheet.json", "datasheet.png"]
    datasheet.write(manifest(), "mix <x>", tmp_path)
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_corpus_without_contamination_or_failures_says_nothing_of_them(tmp_path: Path) -> None:
    datasheet.write(manifest(not_read=[], contamination={}), "mix", tmp_path)
    page = (tmp_path / "datasheet.html").read_text()
    assert "<h2>Contamination" not in page
    assert "<h2>Not read" not in page
