"""Tests what suites report: their figures over the tasks that were run, and the shots that they show."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.loading import load
from palmetto.evaluation.registry import GROUPS, SUITES, TASKS, choose
from palmetto.evaluation.results import summarize
from palmetto.evaluation.statistics import Estimate
from palmetto.evaluation.tasks.mmlu import SUBJECTS
from palmetto.evaluation.tasks.suite import Measured
from palmetto.files import write_text
from tests.evaluation.tasks import records
from tests.evaluation.tasks.test_gold import outcome


def figures(name: str, scores: Mapping[str, float], **metrics: dict[str, float]) -> dict[str, float]:
    """Returns the figures of a suite whose tasks have these scores, 0 to 1."""
    results = {
        task: Measured(Estimate(score, 0.1, (0.0, 1.0)), metrics.get(task, {})) for task, score in scores.items()
    }
    return {
        label: sum(estimate.value for estimate in estimates) / len(estimates)
        for label, estimates in SUITES[name].means(results).items()
    }


def test_core_is_zero_at_chance_and_one_if_all_is_right() -> None:
    chance = {"core_boolq": 0.62, "core_copa": 0.5, "core_arc_easy": 0.25, "core_squad": 0.0}
    assert figures("core", chance) == pytest.approx({"core": 0.0, "core_without_boolq": 0.0})
    assert figures("core", dict.fromkeys(SUITES["core"].shots, 1.0)) == {"core": 1.0, "core_without_boolq": 1.0}
    always_no = {**chance, "core_boolq": 0.38}
    assert figures("core", always_no)["core"] == pytest.approx((0.38 - 0.62) / 0.38 / 4)
    assert figures("core", always_no)["core_without_boolq"] == pytest.approx(0.0)


def test_olmes_takes_the_better_form_of_each_set() -> None:
    scores = {"olmes_piqa_cloze": 0.7, "olmes_piqa_mc": 0.5, "olmes_mmlu_cloze": 0.3, "olmes_mmlu_mc": 0.4}
    assert figures("olmes", scores) == {"mean": pytest.approx((0.7 + 0.4) / 2)}


def test_superglue_averages_two_metrics_of_a_task() -> None:
    cb, multirc = {"acc": 0.8, "macro_f1": 0.6}, {"em": 0.2, "f1a": 0.6}
    value = figures("superglue", {"cb": 0.8, "multirc": 0.2, "copa": 0.9}, cb=cb, multirc=multirc)["score"]
    assert value == pytest.approx((0.7 + 0.4 + 0.9) / 3)


def test_palm_separates_generation_and_understanding() -> None:
    values = figures("palm", {"nq_open": 0.1, "multirc": 0.2, "piqa": 0.6}, multirc={"em": 0.2, "f1a": 0.8})
    assert values == {"generation": 0.1, "understanding": pytest.approx(0.7), "all": pytest.approx(0.5)}


def test_a_suite_names_what_it_lacks(tmp_path: Path) -> None:
    records.write(tmp_path)
    chosen = choose(["core"], tmp_path)
    evaluated = {}
    for task in chosen.tasks:
        loaded = load(task, tmp_path)
        evaluated[task.name] = loaded, [outcome(loaded, 0, None)]
    suite = summarize(evaluated, chosen.groups, chosen.suites)["suites"]["core"]
    assert suite["figures"]["core"]["value"] == 100.0
    assert set(suite["tasks"]) == {"core_arc_easy", "core_winograd", "core_jeopardy"}
    assert len(suite["missing"]) == 19


def test_the_four_categories_hold_every_subject_once() -> None:
    parts = [GROUPS[f"mmlu_{name}"] for name in ("stem", "humanities", "social_sciences", "other")]
    assert sorted(name for names in parts for name in names) == sorted(GROUPS["mmlu"])
    assert len(SUBJECTS) == len(set(SUBJECTS)) == 57


def test_mmlu_has_means_over_questions_and_over_subjects(tmp_path: Path) -> None:
    for subject, rows in (("anatomy", 3), ("virology", 1)):
        for part in ("test", "dev"):
            text = "".join(f"Q{row}?,a,b,c,d,{'ABCD'[row]}\n" for row in range(rows))
            write_text(tmp_path / "mmlu" / part / f"{subject}_{part}.csv", text)
    chosen = choose(["mmlu"], tmp_path)
    evaluated = {}
    for task in chosen.tasks:
        loaded = load(task, tmp_path)
        evaluated[task.name] = loaded, [outcome(loaded, place, 0) for place in range(len(loaded.examples))]
    results = summarize(evaluated, chosen.groups)
    assert results["tasks"]["mmlu"]["value"] == pytest.approx(50.0)
    assert results["tasks"]["mmlu"]["macro"]["value"] == pytest.approx((100 / 3 + 100) / 2)
    assert results["tasks"]["mmlu_stem"]["value"] == pytest.approx(100 / 3)
    assert results["categories"]["Knowledge"]["tasks"] == ["mmlu"]


def test_palm_shows_its_own_number_of_shots(tmp_path: Path) -> None:
    questions = [{"question": f"which {number}", "answer": ["x"]} for number in range(80)]
    write_text(tmp_path / "nq_open" / "NQ-open.dev.jsonl", records.lines(*questions))
    [task] = choose(["palm"], tmp_path).tasks
    loaded = load(task, tmp_path)
    assert len(loaded.shots(0, None, 0)) == 64
    assert len(loaded.shots(0, 1, 0)) == 1
    [plain] = choose(["nq_open"], tmp_path).tasks
    assert load(plain, tmp_path).shots(0, None, 0) == []
    with pytest.raises(UserError, match="shows 0 examples in front of nq_open, and another name 64"):
        choose(["palm", "nq_open"], tmp_path)


def test_curated_shots_must_be_there_and_come_in_order(tmp_path: Path) -> None:
    tests = records.lines(*[records.exam(f"Q{number}", ["x", "y"], "A") for number in range(1200)])
    write_text(tmp_path / "arc" / "ARC-Easy-Test.jsonl", tests)
    with pytest.raises(UserError, match=r"olmes/arc_easy.jsonl: no such file; expected lines of JSON with question"):
        choose(["olmes_arc_easy_mc"], tmp_path)
    write_text(tmp_path / "olmes" / "arc_easy.jsonl", records.SHOTS)
    loaded = load(TASKS["olmes_arc_easy_mc"], tmp_path)
    assert [shot.options[0].context for shot in loaded.shots(7, None, 0)] == [
        f"Question: Which is {number}?\n A. A\n B. B\nAnswer:" for number in range(5)
    ]
    assert len(loaded.examples) == 1000
    assert loaded.examples[0].options[0].context.startswith("Question: Q902\n")


def test_centred_errors_grow_with_the_scale() -> None:
    results = {"core_boolq": Measured(Estimate(0.62, 0.019, (0.58, 0.66)), {})}
    [estimate] = SUITES["core"].means(results)["core"]
    assert estimate.error == pytest.approx(0.05)
    assert math.isclose(estimate.interval[0], -(0.62 - 0.58) / 0.38)
    assert json.dumps(estimate.interval)
