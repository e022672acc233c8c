"""BIG-bench's tasks in JSON (arXiv 2206.04615): options or an exact answer, in the form that a task's file has."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from palmetto.evaluation.tasks.task import Example, File, Option, Outcome, Record, Task
from palmetto.files import read_json

CATEGORY = "BIG-bench"
_OPTIONS = """
bbq_lite_json code_line_description conceptual_combinations date_understanding emoji_movie
formal_fallacies_syllogisms_negation hindu_knowledge known_unknowns language_identification logic_grid_puzzle
logical_deduction misconceptions_russian novel_concepts penguins_in_a_table play_dialog_same_or_different
reasoning_about_colored_objects strange_stories strategyqa symbol_interpretation tracking_shuffled_objects
vitaminc_fact_verification winowhy
"""
_GENERATED = """
auto_debugging linguistics_puzzles operators parsinlu_reading_comprehension penguins_in_a_table repeat_copy_logic
"""
_INPUT, _OUTPUT, _CHOICE = "\nQ: ", "\nA: ", "\n  choice: "
_PATTERN = r"[^\.\?\!\;\n]+"
"""What of the generated text is the answer, if the file says nothing."""


def _prefix(path: Path) -> list[Record]:
    return [{"text": read_json(path).get("task_prefix", "")}]


def _examples(path: Path) -> Iterator[Record]:
    """Yields the examples with the defaults of BIG-bench for what the file does not say."""
    content = read_json(path)
    # Options in the prompt are shuffled, with one generator for the whole file.
    random = np.random.RandomState(42)
    append = content.get("append_choices_to_input", True)
    for record in content["examples"]:
        options, shown = record.get("target_scores", {}), ""
        if append and options:
            choices = random.permutation(sorted(options))
            shown = "".join(f"{content.get('choice_prefix', _CHOICE)}{choice}" for choice in choices)
        asked = f"{content.get('example_input_prefix', _INPUT)}{record['input']}{shown}"
        yield {
            "context": f"{asked}{content.get('example_output_prefix', _OUTPUT)}",
            "options": options,
            "target": record.get("target"),
            "pattern": content.get("output_regex") or ("" if content.get("stop_string") else _PATTERN),
            "separator": content.get("few_shot_example_separator", "\n"),
        }


def _choice(record: Record) -> Example:
    scores = list(record["options"].values())
    if not scores:
        raise ValueError("no target_scores")
    options = tuple(Option(record["context"], text) for text in record["options"])
    gold = tuple(place for place, score in enumerate(scores) if score == max(scores))
    return Example(options, gold, separator=record["separator"])


def _answer(record: Record) -> Example:
    targets = record["target"]
    if not targets:
        raise ValueError("no target")
    return Example(
        context=record["context"],
        answers=tuple([targets] if isinstance(targets, str) else targets),
        separator=record["separator"],
        pattern=record["pattern"],
    )


def _same(text: str, example: Example) -> dict[str, float] | None:
    """Marks the part of an answer that the pattern finds, which must be a target but for spaces around it."""
    found = re.search(example.pattern, text) if example.pattern else None
    said = (found[0] if found else "" if example.pattern else text).strip()
    return {"em": float(said in {answer.strip() for answer in example.answers})} if said else None


def _normalized(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns the normalized preferred metric, 0 at chance."""
    chance = float(np.mean([len(outcome.gold) / outcome.options for outcome in outcomes]))
    score = float(np.mean([outcome.scores["acc"] for outcome in outcomes]))
    return {"normalized": (score - chance) / (1 - chance)} if chance < 1 else {}


def _task(name: str, kind: str) -> Task:
    path, form = f"bigbench_json/{name}.json", "a task.json of BIG-bench, with examples"
    tests, preamble = (File(path, _examples, form),), (File(path, _prefix, form),)
    full = f"bigbench_{name}_{kind}"
    if kind == "multiple_choice":
        return Task(full, CATEGORY, tests, _choice, preamble=preamble, normalization="raw", figures=_normalized)
    return Task(full, CATEGORY, tests, _answer, preamble=preamble, metric="em", mark=_same, tokens=64)


TASKS = (
    *(_task(name, "multiple_choice") for name in _OPTIONS.split()),
    *(_task(name, "generate_until") for name in _GENERATED.split()),
)
