"""Tests comparisons of evaluations that are written by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.evaluation import comparison_page
from palmetto.evaluation.comparison import compare_all
from palmetto.evaluation.statistics import compare
from palmetto.evaluation.tasks.task import Outcome
from palmetto.files import read_json, write_json


def evaluation(
    folder: Path,
    scores: dict[str, list[float]],
    digest: str = "a",
    file: str = "file",
    suites: dict[str, Any] | None = None,
    **settings: int,
) -> Path:
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps({"data": {file: digest}, **settings}))
    tasks = {name: {"metric": "acc", "files": [file], "chance": 25.0, "majority": 30.0} for name in scores}
    (folder / "results.json").write_text(json.dumps({"tasks": tasks, "categories": {}, "suites": suites or {}}))
    lines = [
        {"task": name, **Outcome(str(place), str(place), {"acc": score}, "")._asdict()}
        for name, of in scores.items()
        for place, score in enumerate(of)
    ]
    (folder / "outcomes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_difference_is_paired_with_its_interval(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "one", {"boolq": [0.0, 1.0, 0.0, 1.0] * 10, "copa": [1.0]})
    two = evaluation(tmp_path / "two", {"boolq": [1.0, 1.0, 0.0, 1.0] * 10})
    compared = compare_all([one, two, one])["tasks"]
    assert list(compared) == ["boolq"]
    assert compare_all([two, one])["unpaired"] == {"copa": "not in all evaluations"}
    better, same = compared["boolq"]["others"]
    assert (compared["boolq"]["first"]["value"], better["value"], better["difference"]) == (50.0, 75.0, 25.0)
    low, high = better["difference_interval"]
    assert (low + high) / 2 == pytest.approx(25.0)
    assert 0 < low < 25
    assert better["needed"] < 40
    assert (same["difference"], same["needed"]) == (0.0, None)


def grouped(folder: Path, scores: dict[str, list[float]], parts: Sequence[str], name: str = "group") -> Path:
    """Returns an evaluation whose first tasks are a group, which is a category of its own with the last one."""
    evaluation(folder, scores)
    results = read_json(folder / "results.json")
    shown = {"value": 0.0, "interval": [0.0, 1.0], "error": 0.1}
    results["tasks"][name] = {"metric": "acc", **shown, "macro": shown, "parts": list(parts)}
    results["tasks"][name] |= {"chance": 25.0, "majority": 30.0}
    results["categories"] = {"Both": {**shown, "tasks": [name, "copa"]}}
    write_json(folder / "results.json", results)
    return folder


def test_groups_are_paired_over_all_examples_and_over_tasks(tmp_path: Path) -> None:
    few, many = [0.0, 1.0] * 10, [0.0, 0.0, 1.0, 1.0] * 20
    one = grouped(tmp_path / "one", {"few": few, "many": many, "copa": few}, ("few", "many"))
    two = grouped(tmp_path / "two", {"few": [1.0] * 20, "many": many, "copa": few}, ("few", "many"))
    compared = compare_all([one, two])
    [group] = compared["tasks"]["group"]["others"]
    assert (compared["tasks"]["group"]["count"], group["difference"]) == (100, 10.0)
    paired = compare([*few, *many], [*[1.0] * 20, *many], [str(place) for place in range(100)])
    assert group["difference_interval"] == pytest.approx([100 * bound for bound in paired.difference.interval])
    assert group["needed"] == paired.needed
    [macro], [both] = compared["means"]["group macro"]["others"], compared["means"]["Both"]["others"]
    [alone] = compared["tasks"]["few"]["others"]
    assert (macro["difference"], both["difference"]) == (25.0, 12.5)
    for mean, share in ((macro, 2), (both, 4)):
        bounds = zip(mean["difference_interval"], alone["difference_interval"], strict=True)
        assert all(own == pytest.approx(of / share, abs=1e-5) for own, of in bounds), "few is all that differs"
    page = comparison_page.html(compared)
    assert page.index(">group<") < page.index(">group macro<") < page.index(">Both<")
    assert "1 of 2 differences are certain" in page, "of the group and of copa"


def test_translations_are_paired_by_their_place(tmp_path: Path) -> None:
    ours, theirs = [0.0, 0.0, 1.0, 1.0] * 5, [0.0, 1.0, 1.0, 1.0] * 5
    one = grouped(tmp_path / "one", {"de": ours, "fr": ours, "copa": ours}, ("de", "fr"), "xcopa")
    two = grouped(tmp_path / "two", {"de": theirs, "fr": theirs, "copa": theirs}, ("de", "fr"), "xcopa")
    compared = compare_all([one, two])
    paired = compared["tasks"] | compared["means"]
    intervals = [paired[name]["others"][0]["difference_interval"] for name in ("de", "xcopa", "xcopa macro", "Both")]
    assert intervals == [pytest.approx(intervals[0], abs=1e-4)] * 4, "nothing is known better by repeating it"


def test_groups_of_other_tasks_are_left_out_and_named(tmp_path: Path) -> None:
    one = grouped(tmp_path / "one", {"few": [1.0], "many": [1.0], "copa": [1.0]}, ("few", "many"))
    two = grouped(tmp_path / "two", {"few": [1.0], "copa": [1.0]}, ("few",))
    compared = compare_all([one, two])
    assert (list(compared["tasks"]), compared["means"]) == (["few", "copa"], {})
    assert compared["unpaired"] == {
        "group": "not over the same tasks in all evaluations",
        "Both": "over group, which cannot be paired",
    }
    assert "group: not over the same tasks in all evaluations." in comparison_page.html(compared)


def test_a_group_within_another_is_not_counted_again(tmp_path: Path) -> None:
    scores = {name: [0.0, 1.0] * 10 for name in ("few", "many", "copa")}
    folders = [grouped(tmp_path / name, scores, ("few", "many")) for name in ("one", "two")]
    for folder in folders:
        results = read_json(folder / "results.json")
        results["tasks"]["inner"] = {**results["tasks"]["group"], "parts": ["few"]}
        write_json(folder / "results.json", results)
    page = comparison_page.html(compare_all(folders))
    assert "0 of 2 differences are certain" in page, "of the group and of copa"
    assert ">inner<" in page


def test_groups_that_only_another_has_are_named(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "one", {"copa": [1.0]})
    two = grouped(tmp_path / "two", {"few": [1.0], "many": [1.0], "copa": [1.0]}, ("few", "many"))
    expected = dict.fromkeys(("group", "Both"), "not in all evaluations")
    assert compare_all([one, two])["unpaired"] == compare_all([two, one])["unpaired"] == expected


def test_scores_by_other_metrics_are_not_paired(tmp_path: Path) -> None:
    one, two = (evaluation(tmp_path / name, {"pairs": [1.0], "copa": [1.0]}) for name in ("one", "two"))
    results = read_json(one / "results.json")
    results["tasks"]["pairs"]["metric"] = "pct_stereotype"
    write_json(one / "results.json", results)
    compared = compare_all([one, two])
    assert list(compared["tasks"]) == ["copa"]
    assert compared["unpaired"] == {"pairs": "scored by pct_stereotype and by acc"}
    alone = evaluation(tmp_path / "alone", {"pairs": [1.0]})
    with pytest.raises(UserError, match=r"one: no task .* by the same metric; pairs is scored by pct_.* and by acc;"):
        compare_all([one, alone])


def test_the_page_shows_runs_side_by_side(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "one", {"boolq": [0.0, 1.0] * 20, "copa": [0.0, 1.0] * 20})
    two = evaluation(tmp_path / "t<o", {"boolq": [1.0, 1.0] * 20, "copa": [1.0, 0.0] * 20})
    page = comparison_page.html(compare_all([one, two]))
    assert "1 of 2 differences are certain" in page
    assert "t&lt;o" in page
    assert "t<o" not in page
    rows = [row for row in page.split("<tr") if "+50.00" in row or "+0.00" in row]
    assert [row.startswith(' class="grey"') for row in rows] == [False, True]


def test_scores_are_drawn_over_what_differs(tmp_path: Path) -> None:
    scores = ([0.0, 1.0] * 20, [1.0] * 40, [0.0] * 40)
    folders = [
        evaluation(tmp_path / f"{shots}", {"boolq": own}, shots=shots, step=8, size=100)
        for shots, own in zip((5, 0, 1), scores, strict=True)
    ]
    compared = compare_all(folders)
    assert compared["over"] == {"shots": [5, 0, 1]}
    page = comparison_page.html(compared)
    assert "<h2>Scores by shots</h2>" in page
    assert "Scores by step" not in page
    assert "<output>50.00 acc</output>" in page  # the last of the axis, not of the folders


def test_bias_is_drawn_against_what_is_neutral(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path / f"{n}", {"pairs": [1.0] * 40, "copa": [1.0] * 40}, step=n) for n in range(2)]
    for folder in folders:
        results = read_json(folder / "results.json")
        results["tasks"]["pairs"] |= {"metric": "acc", "neutral": 50.0, "higher_is_better": None}
        write_json(folder / "results.json", results)
    page = comparison_page.html(compare_all(folders))
    scores, bias = page.index("<h2>Scores</h2>"), page.index("<h2>Bias</h2>")
    assert "copa" in page[scores:bias]
    assert "pairs" not in page[scores:bias]
    assert "neutral" in page[page.index("pairs by step") : page.index("copa by step")]


def test_suites_are_drawn_over_sizes_with_people_as_lines(tmp_path: Path) -> None:
    folders = []
    for size, value in ((8_000, 10.0), (1_000, -2.0), (64_000, 40.0)):
        figure = {"value": value, "interval": [value - 3, value + 3], "error": 1.5}
        people = {"human average": 30.0, "best human": 70.0}
        suite = {"figures": {"normalized": figure}, "tasks": ["x"], "missing": [], "references": people}
        other = {"figures": {"mean": figure}, "tasks": [str(size)], "missing": []}
        suites = {"bigbench": suite, "olmes": other}
        folders.append(evaluation(tmp_path / f"{size}", {"boolq": [1.0, 0.0]}, suites=suites, shots=0, size=size))
    compared = compare_all(folders)
    assert list(compared["suites"]) == ["bigbench normalized"]
    assert compared["unpaired"] == {"olmes": "not over the same tasks in all evaluations"}
    assert [each["value"] for each in compared["suites"]["bigbench normalized"]["values"]] == [10.0, -2.0, 40.0]
    page = comparison_page.html(compared)
    drawn = page[page.index("bigbench normalized by parameters") :]
    assert "human average" in drawn
    assert "best human" in drawn
    assert "<output>40.00</output>" in page


def test_other_data_and_other_examples_are_refused(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "one", {"boolq": [0.0, 1.0]})
    with pytest.raises(UserError, match="file is not the file"):
        compare_all([one, evaluation(tmp_path / "changed", {"boolq": [0.0, 1.0]}, "b")])
    with pytest.raises(UserError, match="3 examples of boolq, and 2"):
        compare_all([one, evaluation(tmp_path / "longer", {"boolq": [0.0, 1.0, 1.0]})])
    with pytest.raises(UserError, match="no task that"):
        compare_all([one, evaluation(tmp_path / "other", {"copa": [0.0]})])
    (one / "outcomes.jsonl").write_text('{"task": "boolq"}\n')
    with pytest.raises(UserError, match="line 1 is not an outcome"):
        compare_all([one, one])
    with pytest.raises(UserError, match="no finished evaluation"):
        compare_all([tmp_path, one])


def test_tasks_of_other_files_are_not_paired(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "one", {"mmlu": [0.0, 1.0]}, file="test.jsonl")
    two = evaluation(tmp_path / "two", {"mmlu": [1.0, 1.0]}, file="dev.jsonl")
    with pytest.raises(UserError, match=r"two: mmlu was read from dev\.jsonl, and from test\.jsonl in .*one"):
        compare_all([one, two])
