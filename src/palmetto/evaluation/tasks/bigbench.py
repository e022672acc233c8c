"""BIG-bench's tasks in JSON (arXiv 2206.04615), each in the form and with the metrics that its file has."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from palmetto.errors import UserError
from palmetto.evaluation import bleu, rouge
from palmetto.evaluation.tasks import bigbench_metrics as metrics
from palmetto.evaluation.tasks.bigbench_humans import humans
from palmetto.evaluation.tasks.suite import Means, Results, Suite
from palmetto.evaluation.tasks.task import Example, File, Option, Record, Task
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
"""The pattern of the answer within the generated text, if the file says nothing."""


def _in_front(path: Path) -> list[Record]:
    """Returns what the file says about all examples: its prefix, and where answers end."""
    content = read_json(path)
    stop = content.get("stop_string")
    return [{"instruction": content.get("task_prefix", ""), "stop": (stop,) if stop else ()}]


def _examples(path: Path) -> Iterator[Record]:
    """Yields the examples with the defaults of BIG-bench for what the file does not say."""
    content = read_json(path)
    append = content.get("append_choices_to_input", True)
    for record in content["examples"]:
        options, shown = record.get("target_scores", {}), ""
        if append and options:
            # Options in the prompt are shuffled, in each example with a generator of the same seed.
            choices = np.random.RandomState(42).permutation(sorted(options))
            shown = "".join(f"{content.get('choice_prefix', _CHOICE)}{choice}" for choice in choices)
        asked = f"{content.get('example_input_prefix', _INPUT)}{record['input']}{shown}"
        yield {
            "context": f"{asked}{content.get('example_output_prefix', _OUTPUT)}",
            "options": options,
            "target": record.get("target") or _likeliest(options),
            "pattern": content.get("output_regex") or ("" if content.get("stop_string") else _PATTERN),
            "separator": content.get("few_shot_example_separator", "\n"),
        }


def _likeliest(options: dict[str, float]) -> str | None:
    """Returns the first of the options that score most, which is the target where a file has none."""
    return max(options, key=options.__getitem__, default=None)


def _choice(record: Record) -> Example:
    scores = tuple(map(float, record["options"].values()))
    if not scores:
        raise ValueError("no target_scores")
    options = tuple(Option(record["context"], text) for text in record["options"])
    gold = tuple(place for place, score in enumerate(scores) if score == max(scores))
    return Example(options, gold, credits={metrics.GRADE: scores}, separator=record["separator"])


def _targets(record: Record) -> tuple[str, ...]:
    targets = record["target"]
    if not targets:
        raise ValueError("no target")
    return (targets,) if isinstance(targets, str) else tuple(targets)


def _answer(record: Record) -> Example:
    return Example(
        context=record["context"],
        answers=_targets(record),
        separator=record["separator"],
        pattern=record["pattern"],
    )


def _likelihood(record: Record) -> Example:
    targets = _targets(record)
    options = tuple(Option(record["context"], text) for text in targets)
    return Example(options, tuple(range(len(targets))), separator=record["separator"])


def _response(text: str, example: Example) -> str:
    """Returns the part of an answer that the pattern finds, without the space that its first token has."""
    return next(iter(re.findall(example.pattern, text)), "").strip() if example.pattern else text.strip()


def _mark(wanted: Sequence[str], text: str, example: Example) -> dict[str, float] | None:
    response = _response(text, example)
    if not response:
        return None
    return metrics.generated(wanted, response, [answer.strip() for answer in example.answers])


def _counts(text: str, example: Example) -> dict[str, tuple[float, ...]]:
    return metrics.ngrams(_response(text, example), example.answers)


def _task(name: str, path: str, wanted: Sequence[str], preferred: str) -> Task:
    """Returns a task.

    path: the file, in the folder of all sets or anywhere. wanted: the names of its metrics. preferred: its own one.
    """
    form = "a task.json of BIG-bench, with examples"
    tests, preamble = (File(path, _examples, form),), (File(path, _in_front, form),)
    base = Task(name, CATEGORY, tests, _choice, preamble=preamble, metric=preferred, normalization="raw")
    if preferred in (metrics.GRADE, "macro_f1"):
        normalized = partial(metrics.normalized_options, preferred)
        return replace(base, metric=metrics.GRADE, figures=metrics.of_options, estimates=normalized)
    if preferred == "log_likelihood":
        return replace(base, example=_likelihood, figures=metrics.of_targets, estimates=metrics.normalized_targets)
    pools = "bleu" in wanted
    return replace(
        base,
        example=_answer,
        mark=partial(_mark, wanted),
        keeps_stop=True,
        estimates=metrics.normalized_responses,
        counts=_counts if pools else None,
        signature=metrics.signature if pools else None,
        require=_require if pools or "rouge" in wanted else None,
        tokens=64,
    )


def _require() -> None:
    """Raises UserError if the libraries of BLEU and ROUGE are missing."""
    bleu.require(metrics.TOKENIZER)
    rouge.require()


def load(path: Path) -> Task:
    """Returns the task of a file of BIG-bench, by the metric that it prefers; raises UserError that names the file."""
    content = read_json(path)
    if not isinstance(content, dict) or not {"name", "metrics", "preferred_score"} <= content.keys():
        raise UserError(f"{path}: not a task.json of BIG-bench; expected name, metrics, preferred_score and examples")
    preferred = content["preferred_score"]
    known = {metrics.GRADE, "macro_f1", "log_likelihood", "bleu", *metrics.MATCHES, "rouge1", "rouge2", "rougeLsum"}
    if preferred not in known:
        why = " (it needs weights that are not here)" if preferred == "bleurt" else ""
        raise UserError(
            f"{path}: preferred_score: {preferred} cannot be computed{why}; expected {', '.join(sorted(known))}"
        )
    task = _task(f"bigbench_{content['name']}", str(path.resolve()), content["metrics"], preferred)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return replace(task, digest=digest, references=partial(humans, content["name"]))


def _listed(name: str, kind: str) -> Task:
    wanted, path = tuple(metrics.MATCHES)[:2], f"bigbench_json/{name}.json"
    preferred = metrics.GRADE if kind == "multiple_choice" else wanted[0]
    return replace(_task(f"bigbench_{name}_{kind}", path, wanted, preferred), references=partial(humans, name))


def _mean(results: Results) -> Means:
    """Returns the mean of normalized preferred metrics, in which 0 is chance on every task."""
    return {"normalized": [each.by("normalized") for each in results.values()]}


TASKS = (
    *(_listed(name, "multiple_choice") for name in _OPTIONS.split()),
    *(_listed(name, "generate_until") for name in _GENERATED.split()),
)
SUITES = {"bigbench": Suite({task.name: 0 for task in TASKS}, _mean, least=-float("inf"))}
