"""Tests that the datasheet's page, picture and values agree with the manifest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from palmetto.corpus.datasheet import figures
from palmetto.corpus.datasheet import page as datasheet
from palmetto.corpus.datasheet.sheet import Sheet


def manifest(**changes: Any) -> dict[str, Any]:
    counts, few = ({"documents": n, "bytes": 1000 * n, "tokens": tokens} for n, tokens in ((3, 750), (1, 500)))
    read, extracted = ({"web": web, "books": [2, 2000]} for web in ([9, 9000], [8, 8900]))
    filtered = {"web": [3, 3000], "books": [1, 1000]}
    short = {"web": {"<b>too few words</b>": [5, 5600]}, "books": {"too few words": [1, 1000]}}
    values: dict[str, Any] = {
        "recipe": {"sources": {"web": {}, "books": {}}},
        "stages": [
            {"name": "extraction", "before": read, "after": extracted, "dropped": {"web": {"empty": [1, 100]}}},
            {"name": "language", "before": extracted, "after": extracted, "dropped": {}},
            {"name": "filters", "before": extracted, "after": filtered, "dropped": short, "cut": {"web": [2, 350, 50]}},
        ],
        "not_read": [{"source": "web", "name": "a&b.txt", "reason": "binary", "size": 4321}],
        "mixture": {"available": {"web": 900, "books": 250}, "wanted": {"web": 750, "books": 250}},
        "languages": {"web": {"en": counts, "": counts}, "books": {"ko": few}},
        "licences": {"web": {"": counts, "MIT": counts}, "books": {"CC0-1.0": counts}},
        "samples": {"web": [{"name": "p.html", "text": "<script>alert(1)</script> 한국어"}], "books": []},
        "contamination": {"quiz": {"examples": 20, "contaminated": 3}},
    }
    return values | changes


def test_values() -> None:
    values = Sheet(manifest()).values()
    assert (values["documents"], values["bytes"], values["tokens"]) == (7, 7000, 2000)
    assert values["sources"]["web"]["share"] == 0.75
    assert values["sources"]["books"]["wanted"] == 0.25
    assert values["licences"] == {"": 3, "MIT": 3, "CC0-1.0": 3}
    dropped = values["dropped"][0]
    assert (dropped["stage"], dropped["source"], dropped["reason"]) == ("extraction", "web", "empty")
    assert (dropped["documents"], dropped["bytes"], dropped["share"]) == (1, 100, pytest.approx(100 / 9000))
    json.dumps(values)


def test_licences_that_are_not_recognized_are_counted(tmp_path: Path) -> None:
    licences = ["MIT", "LicenseRef-unrecognized", "GPL-3.0 AND LicenseRef-unrecognized", "", "Acme-1.0"]
    of = {licence: {"documents": n, "bytes": n, "tokens": n} for n, licence in enumerate(licences, 1)}
    changed = manifest(licences={"web": of, "books": {}})
    assert Sheet(changed).values()["licences_not_recognized"] == 2 + 3 + 5
    datasheet.write(changed, "mix", tmp_path)
    page = (tmp_path / "datasheet.html").read_text()
    assert re.search(r"not recognized, wholly or in part</td><td[^>]*>10<", page)


def test_what_was_cut_is_counted_and_all_bytes_add_up() -> None:
    sheet = Sheet(manifest())
    assert sheet.values()["cut"] == [
        {
            "stage": "filters",
            "source": "web",
            "what": "lines, by C4's rules",
            "documents": 2,
            "bytes": 350,
            "put_in": 50,
            "share": pytest.approx(350 / 9000),
        }
    ]
    assert sheet.balance == (100 + 5600 + 1000, 350, 50)
    dropped, cut, put = sheet.balance
    left = sum(size for _, size in sheet.manifest["stages"][-1]["after"].values())
    assert sheet.read + put == left + dropped + cut
    assert "350 were cut within others" in datasheet.page(sheet, "mix")


def test_what_was_passed_over_and_the_limit_are_named() -> None:
    changed = manifest(
        passed_over=[{"source": "web", "name": "a.bin", "reason": "not a kind of file that is read"}],
        evaluation_passed_over=["eval/notes.txt"],
    )
    changed["mixture"]["limited_by"] = "books"
    page = datasheet.page(Sheet(changed), "mix")
    for text in ("a.bin", "eval/notes.txt", "not a kind of set that is read", "books is scarcest for its weight"):
        assert text in page, text
    assert "Passed over" not in datasheet.page(Sheet(manifest()), "mix")


@pytest.mark.parametrize("width", [360, 1040])
def test_figures_have_legends_within_their_width(width: int) -> None:
    changed = manifest()
    names = [f"a-source-of-many-letters-{'x' * 30}-{number}" for number in range(9)]
    changed["recipe"]["sources"] = {name: {} for name in names}
    changed["mixture"] = {"available": dict.fromkeys(names, 9), "wanted": dict.fromkeys(names, 9)}
    sheet = Sheet(changed)
    for draw, words in ((figures.shares, ["| share that the weights ask for"]), (figures.flow, names)):
        figure = draw(sheet, width)
        figure.draw_without_rendering()
        legend = {text.get_text(): text.get_window_extent() for text in figure.texts}
        assert all(any(word in text for text in legend) for word in words)
        labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        scale = figure.dpi / 72
        assert all(box.x0 >= 0 and box.x1 <= width * scale for box in (*legend.values(), *labels))
        axes = figure.axes[0].get_window_extent()
        assert all(box.y0 >= axes.y1 for box in legend.values())


def test_no_table_is_cut_off() -> None:
    """Omitted rows are counted; the page's style shows all other rows and wraps the cells."""
    licences = {"web": {f"licence-{number}": {"documents": 1} for number in range(201)}}
    languages = {"web": {f"l{number}": {"documents": 1, "bytes": 1, "tokens": 99 - number} for number in range(26)}}
    page = datasheet.page(Sheet(manifest(licences=licences, languages=languages)), "mix")
    assert "And 1 more, in manifest.json." in page
    assert "And 2 more: l24 75, l25 74." in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert re.search(r"\.whole \.scroll \{[^}]*max-height: none", style)
    assert re.search(r"\.whole td \{[^}]*overflow-wrap: anywhere", style)
    body = page[page.index('<div class="whole">') :]
    assert page.count("<table>") == body.count("<table>") == page.count('<div class="scroll">')
    assert 'class="columns"' not in page


def test_only_stages_that_changed_something_are_drawn() -> None:
    assert [name for name, _ in Sheet(manifest()).flow] == ["read", "extraction", "filters"]


def test_the_page_shows_the_manifest_as_text(tmp_path: Path) -> None:
    datasheet.write(manifest(), "mix <x>", tmp_path)
    page = (tmp_path / "datasheet.html").read_text()
    for text in (
        "&lt;b&gt;too few words",
        "a&amp;b.txt",
        ">4,321<",
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
