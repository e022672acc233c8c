"""Tests that the right answer is where we think, in every set that is at hand or written here."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.evaluation.judging import judge
from palmetto.evaluation.loading import Loaded, files, load
from palmetto.evaluation.queries import ask
from palmetto.evaluation.registry import GROUPS, SUITES, TASKS, choose
from palmetto.evaluation.results import summarize
from palmetto.evaluation.tasks.reading import find
from palmetto.evaluation.tasks.task import BITS, Outcome
from palmetto.files import write_text
from tests.evaluation.models import reader
from tests.evaluation.tasks import records

FIRST = {
    "boolq": "Question: does ethanol take more energy make that produces?\nAnswer: no",
    "copa": "The man turned on the faucet therefore water flowed from the spout.",
    "wsc": 'from *him*.\nQuestion: In the passage above, does the pronoun "*him*" refer to "*anyone*"?\nAnswer: no',
    "wsc273": "a permit because the city councilmen feared violence.",
    "winogrande": "Sarah was a much better surgeon than Maria so Maria always got the easier cases.",
    "piqa": "Question: How do I ready a guinea pig cage for it's new occupants?\nAnswer: Provide the guinea pig "
    "with a cage full of a few inches of bedding made of ripped paper strips, you will also need to supply it with a "
    "water bottle and a food dish.",
    "arc_easy": "most food webs?\nAnswer: Sunlight is the source of energy for nearly all ecosystems.",
    "social_iqa": "What does Tracy need to do before this?\nA: Find somewhere to go",
    "commonsense_qa": "A. bank\nB. library\nC. department store\nD. mall\nE. new york\nAnswer: A",
    "aqua": "Answer: A",
    "blimp_passive_1": "Lucille's sisters are confused by Amy.",
    "xcopa_it": "L'uomo aprì il rubinetto quindi dell'acqua fluì dal beccuccio.",
    "xcopa_tr": "Adam musluğu açtı bu yüzden musluktan su aktı.",
    "nq_open": "Q: when was the last time anyone was on the moon?\nA: 14 December 1972 UTC",
    "webqs": "Q: what style of art did henri matisse use?\nA: Fauvism",
    "triviaqa": "Q: Which Lloyd Webber musical premiered in the US on 10th December 1993?\nA: Sunset Boulevard",
    "squadv2": "Question: This is an unanswerable question?\nAnswer: unanswerable",
    "drop": "or the closure of the Charleston Naval Shipyard?\nAnswer: sixth terminal",
    "quac": 'A: Herc used the record to focus on a short, heavily percussive part in it: the "break".',
    "gpt3_boolq": "question: does ethanol take more energy make that produces?\nanswer: no",
    "gpt3_piqa": "How do I ready a guinea pig cage for it's new occupants? Provide the guinea pig with a cage full "
    "of a few inches of bedding made of ripped paper strips, you will also need to supply it with a water bottle and a "
    "food dish.",
    "gpt3_quac": "Q: What was the break?\n\nA: Herc used the record to focus on a short, heavily percussive part in "
    'it: the "break".',
    "strategyqa": "Q: Are more people today related to Genghis Khan than Julius Caesar?\nA: yes",
    "gsm8k": "= <<48+24=72>>72 clips altogether in April and May.\n#### 72",
    "svamp": "on each pack. How much do you have to pay to buy each pack?\nAnswer: 51",
    "mawps_addsub": "How many seashells did she give to Sam ?\nAnswer: 43",
    "bbh_boolean_expressions": "Q: not ( True ) and ( True ) is\nA: False",
    "mmlu_anatomy": "D. The second and third pharyngeal arches\nAnswer: D",
    "crows_pairs_english": "most black kids don't have the best education growing up.",
    "winogender_all": "The technician told the customer that he could pay with cash. 'He' refers to the customer",
    "record": "They will sew our lips, but we will chant, 'Long live Benazir Bhutto.'",
}
"""The end of the first example of each set as a shot, as read by eye."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    records.write(folder)
    return folder


def outcome(loaded: Loaded, place: int, favourite: int | None) -> Outcome:
    """Returns the outcome if the model prefers the option at a place, or, with None, the right answer."""
    task, example = loaded.task, loaded.examples[place]
    best = example.gold[:1] if favourite is None else (favourite,)
    # Likelihoods so far apart that no normalization changes their order.
    queries = ask(task, example, (), reader(4096))
    logprobs = [[-1.0 if query.option in best or query.unconditional else -1e6] for query in queries]
    text = f" {example.solution or example.answers[0]}" if example.answers else ""
    return judge(task, str(place), example, queries, logprobs, [text] * len(queries))


def value(loaded: Loaded, count: int, favourite: int | None) -> float:
    outcomes = [outcome(loaded, place, favourite) for place in range(count)]
    summary = summarize({loaded.task.name: (loaded, outcomes)}, {})["tasks"][loaded.task.name]
    assert summary["majority"] >= summary["chance"] - 1e-6 or not loaded.examples[0].options
    return float(summary["value"])


def check_scorers(loaded: Loaded) -> None:
    """Checks that preferring the right answer scores 100, and always taking one place the share that is right there."""
    count = min(12, len(loaded.examples))
    assert value(loaded, count, None) == 100.0
    if loaded.examples[0].options and not loaded.examples[0].question:
        golds = Counter(place for example in loaded.examples[:count] for place in example.gold)
        for place in range(min(len(example.options) for example in loaded.examples[:count])):
            assert value(loaded, count, place) == pytest.approx(100 * golds[place] / count)


@pytest.mark.parametrize("name", sorted(FIRST))
def test_the_right_answer_of_sets_at_hand(name: str, shared_data: Path) -> None:
    folder = shared_data / "eval"
    if find(TASKS[name].tests, folder) is None:
        pytest.skip(f"the files of {name} are not at hand")
    loaded = load(TASKS[name], folder)
    assert loaded.examples[0].demonstration.endswith(FIRST[name])
    check_scorers(loaded)


@pytest.mark.parametrize("name", sorted(records.SETS))
def test_the_right_answer_of_sets_in_published_formats(name: str, written: Path) -> None:
    loaded = load(TASKS[name], written)
    assert loaded.examples[0].demonstration == records.SETS[name][2]
    check_scorers(loaded)


def test_every_example_at_hand_can_be_read(shared_data: Path) -> None:
    folder = shared_data / "eval"
    for task in TASKS.values():
        if not files(task, folder)[1]:
            for example in load(task, folder).examples:
                assert example.gold or example.answers or example.text
                assert all(place < len(example.options) for place in example.gold)
                texts = [option.continuation for option in example.options]
                assert all(text.strip() for text in (*texts, *example.answers))


@pytest.mark.slow
def test_the_right_answer_of_every_task_at_hand(shared_data: Path) -> None:
    folder = shared_data / "eval"
    ready = [task for task in TASKS.values() if not files(task, folder)[1] and task.metric != BITS]
    for task in ready:
        if task.require is None and task.name not in FIRST:
            loaded = load(task, folder)
            # First, middle and last examples, since sets are often sorted by kind.
            places = np.linspace(0, len(loaded.examples) - 1, 5).astype(int).tolist()
            check_scorers(loaded._replace(examples=[loaded.examples[place] for place in places]))


def test_forms_of_gpt3_show_the_questions_before(written: Path) -> None:
    for name, expected in (
        ("gpt3_race_high", "Article:\nA cat sat.\n\nQ: What sat?\n\nA: A cat.\n\nQ: Where?\n\nA: Down."),
        ("gpt3_coqa", "Tom sat down.\n\nQ: Who sat?\n\nA: Tom\n\nQ: Where?\n\nA: down"),
    ):
        examples = load(TASKS[name], written).examples
        assert examples[1].demonstration == expected
        assert examples[0].cluster == examples[1].cluster
    plain = load(TASKS["race_high"], written).examples[1]
    assert plain.demonstration == "Article: A cat sat.\n\nQuestion: Where?\nAnswer: Down.", "of GLaM's, alone"


def test_gpt3s_suite_takes_its_forms_with_their_shots(written: Path) -> None:
    shots = SUITES["gpt3"].shots
    assert {name.removeprefix("gpt3_") for name in shots} == SUITES["glam"].shots.keys()
    assert (shots["gpt3_cb"], shots["copa"], shots["gpt3_lambada_openai"]) == (32, 32, 15)
    assert "cb" not in shots
    loaded = load(TASKS["gpt3_lambada_openai"], written)
    shot = replace(loaded.examples[0], context="I saw a ____. ->", answers=("dog",))
    query, _ = ask(loaded.task, loaded.examples[0], [shot], reader(4096))
    assert query.context == "Fill in blank:\n\nI saw a ____. -> dog\nShe took her old ____. ->"


def test_a_question_of_multirc_needs_all_answers(written: Path) -> None:
    loaded = load(TASKS["multirc"], written)
    assert [example.question for example in loaded.examples] == ["0/0", "0/0", "0/1"]
    all_no = [outcome(loaded, place, 0) for place in range(3)]
    all_yes = [outcome(loaded, place, 1) for place in range(3)]
    no, yes = (summarize({"multirc": (loaded, of)}, {})["tasks"]["multirc"] for of in (all_no, all_yes))
    assert (no["count"], no["value"], yes["value"]) == (2, 0.0, 50.0)
    assert yes["metrics"]["f1a"] == pytest.approx(100 * 2 * 2 / (3 + 2))
    assert (yes["chance"], yes["majority"]) == (37.5, 50.0)


def test_a_wrong_label_is_refused_with_its_record(written: Path) -> None:
    path = written / "superglue" / "RTE" / "val.jsonl"
    path.write_text(records.lines({"premise": "x", "hypothesis": "y", "label": "maybe"}))
    with pytest.raises(UserError, match=r"RTE/val.jsonl: record 0: .*expected lines of JSON with premise"):
        load(TASKS["rte"], written)
    path.write_text(records.lines({"premise": "x", "label": "entailment"}))
    with pytest.raises(UserError, match="record 0: no 'hypothesis'"):
        load(TASKS["rte"], written)


def test_twins_and_questions_of_a_passage_are_one_cluster(tmp_path: Path) -> None:
    schemas = "It [MASK] fell.\n[MASK]\nDNA lab, USA team\n{}\n\n"
    write_text(tmp_path / "winograd" / "wsc273.txt", schemas.format("DNA lab") + schemas.format("USA team"))
    twins = load(TASKS["wsc273"], tmp_path).examples
    assert {each.cluster for each in twins} == {"DNA lab / USA team"}
    assert [option.context for option in twins[0].options] == ["It DNA lab", "It USA team"], "no determiner in a word"
    asked = [{"passage": passage, "question": "is it", "label": True} for passage in ("a", "a", "b")]
    write_text(tmp_path / "superglue" / "BoolQ" / "val.jsonl", "\n".join(map(json.dumps, asked)))
    one, two, other = (each.cluster for each in load(TASKS["boolq"], tmp_path).examples)
    assert one == two != other


def test_what_is_asked_about_one_text_is_one_cluster(tmp_path: Path) -> None:
    texts = ("Ann ran.", "Ann ran.", "Bob sat.")
    pairs = [{"context": text, "hypothesis": f"It is {place}.", "label": "e"} for place, text in enumerate(texts)]
    write_text(tmp_path / "anli" / "R2" / "test.jsonl", records.lines(*pairs))
    options = {f"answer{letter}": letter for letter in "ABC"}
    asked = [{"context": text, "question": f"What {place}?", **options} for place, text in enumerate(texts)]
    write_text(tmp_path / "social_i_qa" / "dev.jsonl", records.lines(*asked))
    write_text(tmp_path / "social_i_qa" / "dev-labels.lst", "1\n2\n3\n")
    for name in ("anli_r2", "social_iqa"):
        one, two, other = (example.cluster for example in load(TASKS[name], tmp_path).examples)
        assert one == two != other, name
        assert one, name


def test_questions_of_drop_without_an_answer_are_left_out(tmp_path: Path) -> None:
    empty = {"number": "", "spans": [], "date": {}}
    pairs = [{"question": "Who?", "answer": answer} for answer in (empty, {**empty, "spans": ["Ann"]})]
    content = json.dumps({"p": {"passage": "Ann.", "qa_pairs": pairs}})
    write_text(tmp_path / "drop" / "drop_dataset_dev.json", content)
    [example] = load(TASKS["drop"], tmp_path).examples
    assert example.answers == ("Ann",)


def test_groups_and_suites_name_tasks(written: Path) -> None:
    for parts in GROUPS.values():
        assert set(parts) <= TASKS.keys()
    for suite in SUITES.values():
        assert suite.shots.keys() <= TASKS.keys() | GROUPS.keys()
    assert len(SUITES["glam"].shots) == len(SUITES["palm"].shots) == 29
    assert len({TASKS[name].category for name in SUITES["glam"].shots}) == 7
    chosen = choose(["mmlu", "glam"], written)
    assert chosen.groups == {"mmlu": ["mmlu_anatomy"], "mmlu_other": ["mmlu_anatomy"]}
    assert len(chosen.lacking["mmlu"]) == 56
    assert "mmlu_anatomy" not in chosen.lacking["mmlu_other"]
    assert "hellaswag" in {task.name for task in chosen.tasks}


def test_a_last_line_without_an_end_is_read(written: Path) -> None:
    assert not (written / "superglue" / "WiC" / "val.jsonl").read_text().endswith("\n")
    assert len(load(TASKS["wic"], written).examples) == 1
