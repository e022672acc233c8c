"""Tests what suites report: their figures over the tasks that were run, and the shots that they show."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.evaluation.join import join
from palmetto.evaluation.loading import load
from palmetto.evaluation.queries import ask
from palmetto.evaluation.registry import GROUPS, SUITES, TASKS, choose
from palmetto.evaluation.results import summarize
from palmetto.evaluation.statistics import Estimate
from palmetto.evaluation.tasks.mmlu import SUBJECTS
from palmetto.evaluation.tasks.suite import Measured
from palmetto.files import write_text
from tests.evaluation.models import reader, vocabulary
from tests.evaluation.tasks import records
from tests.evaluation.tasks.test_gold import outcome


def measured(value: float, error: float = 0.1) -> Estimate:
    return Estimate(value, error, (value - 2 * error, value + 2 * error))


def figures(name: str, scores: Mapping[str, float], **metrics: dict[str, float]) -> dict[str, float]:
    """Returns the figures of a suite whose tasks have these scores, 0 to 1."""
    results = {
        task: Measured(measured(score), {key: measured(value) for key, value in metrics.get(task, {}).items()})
        for task, score in scores.items()
    }
    return {
        label: sum(estimate.value for estimate in estimates) / len(estimates)
        for label, estimates in SUITES[name].means(results).items()
    }


def test_core_is_zero_at_chance_and_one_if_all_is_right() -> None:
    chance = {"core_boolq": 0.62, "core_copa": 0.5, "core_arc_easy": 0.25, "core_squad": 0.0}
    assert figures("core", chance) == pytest.approx({"core": 0.0, "core_without_boolq": 0.0})
    right = figures("core", dict.fromkeys(SUITES["core"].shots, 1.0), core_jeopardy={"by_category": 1.0})
    assert right == {"core": 1.0, "core_without_boolq": 1.0}
    always_no = {**chance, "core_boolq": 0.38}
    assert figures("core", always_no)["core"] == pytest.approx((0.38 - 0.62) / 0.38 / 4)
    assert figures("core", always_no)["core_without_boolq"] == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["core_arc_easy", "core_winograd", "core_jeopardy"])
def test_shots_of_core_are_a_line_apart(name: str, tmp_path: Path) -> None:
    records.write(tmp_path)
    [example, *_] = load(TASKS[name], tmp_path).examples
    assert example.separator == "\n"


def test_core_counts_a_continuation_only_token_by_token(tmp_path: Path) -> None:
    records.write(tmp_path)
    loaded = load(TASKS["core_jeopardy"], tmp_path)
    [example], mark = loaded.examples, loaded.task.mark
    query, _ = ask(loaded.task, example, (), reader(4096))
    assert query.tokens == len(join(vocabulary(), example.context, "the Seine").continuation)
    assert mark is not None
    assert [mark(text, example) for text in (" the Seine", " the Seines", "")] == [{"acc": 1.0}, {"acc": 0.0}, None]


def test_core_averages_jeopardy_over_its_categories(tmp_path: Path) -> None:
    asked = [
        {"context": f"Q{number}", "continuation": "yes", "category": "literature" if number < 3 else "word_origins"}
        for number in range(4)
    ]
    path = tmp_path / "core" / "world_knowledge" / "jeopardy_all.jsonl"
    write_text(path, records.lines(*asked))
    loaded = load(TASKS["core_jeopardy"], tmp_path)
    judged = [outcome(loaded, place, None) for place in range(4)]
    judged[3] = judged[3]._replace(scores={"acc": 0.0})
    results = summarize({"core_jeopardy": (loaded, judged)}, {}, {"core": SUITES["core"]})
    assert results["suites"]["core"]["figures"]["core"]["value"] == 50.0
    task = results["tasks"]["core_jeopardy"]
    assert (task["value"], task["metrics"]["by_category"]) == (75.0, 50.0)
    assert {kind: of["value"] for kind, of in task["kinds"].items()} == {"literature": 100.0, "word_origins": 0.0}
    expected = math.sqrt(4 / 3 * (3 * (1 / 12) ** 2 + (1 / 4) ** 2))
    assert results["suites"]["core"]["figures"]["core"]["error"] == pytest.approx(100 * expected, abs=1e-4)
    write_text(path, records.lines({"context": "Q", "continuation": "yes"}))
    with pytest.raises(UserError, match=r"no 'category'; expected .* continuation, each with its category"):
        load(TASKS["core_jeopardy"], tmp_path)


def test_olmes_takes_the_better_form_of_each_set() -> None:
    scores = {"olmes_piqa_cloze": 0.7, "olmes_piqa_mc": 0.5, "olmes_mmlu_cloze": 0.3, "olmes_mmlu_mc": 0.4}
    assert figures("olmes", scores) == {"mean": pytest.approx((0.7 + 0.4) / 2)}


def test_superglue_averages_two_metrics_of_a_task() -> None:
    cb, multirc = {"acc": 0.8, "macro_f1": 0.6}, {"em": 0.2, "f1a": 0.6}
    value = figures("superglue", {"cb": 0.8, "multirc": 0.2, "copa": 0.9}, cb=cb, multirc=multirc)["score"]
    assert value == pytest.approx((0.7 + 0.4 + 0.9) / 3)


def test_two_metrics_of_a_task_share_their_errors() -> None:
    metrics = {"acc": measured(0.8, 0.02), "macro_f1": measured(0.6, 0.06)}
    [mean] = SUITES["superglue"].means({"cb": Measured(metrics["acc"], metrics)})["score"]
    assert (mean.value, mean.error, *mean.interval) == pytest.approx((0.7, 0.04, 0.62, 0.78))


def test_f1_over_answers_has_the_jackknifes_error(tmp_path: Path) -> None:
    questions = [{"question": "q", "answers": [{"text": "a", "label": 1}, {"text": "b", "label": 0}]}]
    texts = [{"passage": {"text": f"text {number}", "questions": questions}} for number in range(40)]
    write_text(tmp_path / "superglue" / "MultiRC" / "val.jsonl", records.lines(*texts))
    loaded = load(TASKS["multirc"], tmp_path)
    said = [int(place % 3 > 0) for place in range(80)]
    judged = [outcome(loaded, place, choice) for place, choice in enumerate(said)]
    suites = summarize({"multirc": (loaded, judged)}, {}, {"glam": SUITES["glam"]})["suites"]
    found, draw = suites["glam"]["figures"]["all"], np.random.default_rng(0)
    drawn = [f1_of_passages(said, draw.integers(0, 40, 40).tolist()) for _ in range(2000)]
    assert found["value"] == pytest.approx(100 * f1_of_passages(said, range(40)), abs=1e-4)
    assert found["error"] == pytest.approx(100 * float(np.std(drawn)), rel=0.15)
    assert found["interval"][0] < found["value"] < found["interval"][1]


def f1_of_passages(said: Sequence[int], passages: Sequence[int]) -> float:
    """Returns F1a over passages of two answers, of which the first is right."""
    both = sum(said[2 * passage] for passage in passages)
    return 2 * both / (sum(said[2 * passage] + said[2 * passage + 1] for passage in passages) + len(passages))


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


def test_references_that_a_task_lacks_are_not_averaged(tmp_path: Path) -> None:
    records.write(tmp_path)
    loaded = load(TASKS["core_arc_easy"], tmp_path)
    rated = {
        "core_arc_easy": {"human average": 60.0, "best human": 90.0},
        "core_copa": {"human average": 80.0},
        "core_piqa": {},
    }
    evaluated = {name: (loaded._replace(references=of), [outcome(loaded, 0, None)]) for name, of in rated.items()}
    suite = summarize(evaluated, {}, {"core": SUITES["core"]})["suites"]["core"]
    assert (suite["references"], suite["rated"]) == ({"human average": 70.0}, 2)


def test_the_four_categories_hold_every_subject_once() -> None:
    parts = [GROUPS[f"mmlu_{name}"] for name in ("stem", "humanities", "social_sciences", "other")]
    assert sorted(name for names in parts for name in names) == sorted(GROUPS["mmlu"])
    assert len(SUBJECTS) == len(set(SUBJECTS)) == 57
    assert "mmlu_anatomy" in GROUPS["mmlu_other"], "its paper counts it as health"


def test_mmlu_has_means_over_questions_and_over_subjects(tmp_path: Path) -> None:
    for subject, rows in (("astronomy", 3), ("virology", 1)):
        for part in ("test", "dev"):
            text = "".join(f"Q{row}?,a,b,c,d,{'ABCD'[row]}\n" for row in range(rows))
            write_text(tmp_path / "mmlu" / part / f"{subject}_{part}.csv", text)
    chosen = choose(["mmlu"], tmp_path)
    evaluated = {}
    for task in chosen.tasks:
        loaded = load(task, tmp_path)
        evaluated[task.name] = loaded, [outcome(loaded, place, 0) for place in range(len(loaded.examples))]
    results = summarize(evaluated, chosen.groups, {}, chosen.lacking)
    assert len(results["tasks"]["mmlu"]["missing"]) == 57 - len(chosen.tasks)
    assert results["tasks"]["mmlu"]["value"] == pytest.approx(50.0)
    assert results["tasks"]["mmlu"]["macro"]["value"] == pytest.approx((100 / 3 + 100) / 2)
    assert results["tasks"]["mmlu_stem"]["value"] == pytest.approx(100 / 3)
    assert results["tasks"]["mmlu_other"]["value"] == pytest.approx(100.0)
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
    every = [records.exam(f"Q{number}", ["x", "y"], "A") for number in range(1501)]
    write_text(tmp_path / "arc" / "ARC-Easy-Test.jsonl", records.lines(*every))
    with pytest.raises(UserError, match=r"olmes/arc_easy.jsonl: no such file; expected lines of JSON with question"):
        choose(["olmes_arc_easy_mc"], tmp_path)
    write_text(tmp_path / "olmes" / "arc_easy.jsonl", records.SHOTS)
    loaded = load(TASKS["olmes_arc_easy_mc"], tmp_path)
    assert [shot.options[0].context for shot in loaded.shots(7, None, 0)] == [
        f"Question: Which is {number}?\n A. A\n B. B\nAnswer:" for number in range(5)
    ]
    drawn = [example.options[0].context.partition("\n")[0] for example in loaded.examples]
    assert drawn == [f"Question: Q{number}" for number in random.Random(1234).sample(range(1501), 1000)]
    write_text(tmp_path / "arc" / "ARC-Easy-Test.jsonl", records.lines(*every[:1500]))
    assert len(load(TASKS["olmes_arc_easy_mc"], tmp_path).examples) == 1500


def test_centred_errors_grow_with_the_scale() -> None:
    results = {"core_boolq": Measured(Estimate(0.62, 0.019, (0.58, 0.66)), {})}
    [estimate] = SUITES["core"].means(results)["core"]
    assert estimate.error == pytest.approx(0.05)
    assert math.isclose(estimate.interval[0], -(0.62 - 0.58) / 0.38)
    assert json.dumps(estimate.interval)
