"""The tasks of SuperGLUE (arXiv 1905.00537), in GPT-3's forms; their files are lines of JSON."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from palmetto.evaluation.scoring import f1_of
from palmetto.evaluation.statistics import Estimate
from palmetto.evaluation.tasks.reading import json_lines
from palmetto.evaluation.tasks.suite import Means, Results, Suite
from palmetto.evaluation.tasks.task import Example, File, Outcome, Record, Source, Task, choice, cluster_of

CATEGORY = "SuperGLUE"
NO_OR_YES = (" no", " yes")


def _boolq(record: Record) -> Example:
    context = f"{record['passage']}\nQuestion: {record['question']}?\nAnswer:"
    return choice(context, NO_OR_YES, int(record["label"]), cluster=cluster_of(record["passage"]))


def _cb(record: Record) -> Example:
    context = f"{record['premise']}\nQuestion: {record['hypothesis']}. True, False, or Neither?\nAnswer:"
    gold = ("entailment", "contradiction", "neutral").index(record["label"])
    return choice(context, (" True", " False", " Neither"), gold)


def _copa(record: Record) -> Example:
    link = {"cause": "because", "effect": "therefore"}[record["question"]]
    context = f"{record['premise'].strip().rstrip('.')} {link}"
    options = (record["choice1"], record["choice2"])
    return choice(context, [f" {text[0].lower()}{text[1:]}" for text in options], record["label"])


def _rte(record: Record) -> Example:
    context = f"{record['premise']}\nQuestion: {record['hypothesis']} True or False?\nAnswer:"
    return choice(context, (" True", " False"), ("entailment", "not_entailment").index(record["label"]))


def _wic(record: Record) -> Example:
    question = f"Question: Is the word '{record['word']}' used in the same way in the two sentences above?"
    context = f"{record['sentence1']}\n{record['sentence2']}\n{question}\nAnswer:"
    return choice(context, NO_OR_YES, int(record["label"]))


def _wsc(record: Record) -> Example:
    target = record["target"]
    words, pronoun = record["text"].split(), target["span2_text"]
    # In one record the index is off by one, so the nearest word that is the pronoun counts.
    found = [place for place, word in enumerate(words) if re.search(rf"\b{re.escape(pronoun)}\b", word)]
    if not found:
        raise ValueError(f"{pronoun!r} is not in the text")
    place = min(found, key=lambda place: abs(place - target["span2_index"]))
    words[place] = re.sub(rf"\b{re.escape(pronoun)}\b", f"*{pronoun}*", words[place], count=1)
    question = f'In the passage above, does the pronoun "*{pronoun}*" refer to "*{target["span1_text"]}*"?'
    passage = _closed_up(" ".join(words))
    return choice(f"Passage: {passage}\nQuestion: {question}\nAnswer:", NO_OR_YES, int(record["label"]))


def _closed_up(text: str) -> str:
    """Returns a text without the spaces that the set has around marks, as lm-eval does."""
    for spaced, plain in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        text = text.replace(spaced, plain)
    return re.sub(r" (['.,])", r"\1", text)


def _macro_f1(outcomes: Sequence[Outcome], own: Estimate) -> dict[str, Estimate]:
    """Returns CB's F1, the mean over its three labels."""
    said, right = [outcome.chosen for outcome in outcomes], [outcome.gold[0] for outcome in outcomes]
    return {"macro_f1": f1_of(said, right, range(3), [outcome.cluster for outcome in outcomes])}


def files(folder: str, name: str, keys: str) -> Source:
    """Returns the file of a part, such as val, of a set of SuperGLUE."""
    return (File(f"superglue/{folder}/{name}.jsonl", json_lines, f"lines of JSON with {keys}"),)


def _task(name: str, folder: str, keys: str, example: Callable[[Record], Example], **others: Any) -> Task:
    tests, training = files(folder, "val", keys), files(folder, "train", keys)
    return Task(name, CATEGORY, tests, example, training, **others)


TASKS = (
    _task("boolq", "BoolQ", "question, passage and label", _boolq),
    _task("cb", "CB", "premise, hypothesis and label", _cb, estimates=_macro_f1),
    _task("copa", "COPA", "premise, choice1, choice2, question and label", _copa, normalization="raw"),
    _task("rte", "RTE", "premise, hypothesis and label", _rte),
    _task("wic", "WiC", "word, sentence1, sentence2 and label", _wic),
    _task("wsc", "WSC", "text, target and label", _wsc),
)


def score(results: Results) -> Means:
    """Returns SuperGLUE's score; of tasks with two metrics, their mean counts."""
    pairs = {"cb": ("acc", "macro_f1"), "multirc": ("em", "f1a"), "record": ("em", "f1")}
    return {
        "score": [each.by(*pairs[name]) if name in pairs else each.estimate for name, each in results.items()],
    }


ALL = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")
SUITES = {"superglue": Suite(dict.fromkeys(ALL, 0), score)}
