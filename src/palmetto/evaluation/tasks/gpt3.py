"""The forms of GPT-3's paper (arXiv 2005.14165, appendix G), where they are others than those of the tasks' own files.

A form changes what the model sees of an example; files, the right answer and the metric are the task's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from palmetto.evaluation.tasks import cloze, common_sense, dialogues, inference, multirc, race, superglue
from palmetto.evaluation.tasks.dialogues import so_far
from palmetto.evaluation.tasks.suite import Means, Results, Suite
from palmetto.evaluation.tasks.task import Example, Option, Record, Task

_PREFIX = "gpt3_"
_MODULES = (cloze, common_sense, dialogues, inference, multirc, race, superglue)
_OWN: Mapping[str, Task] = {task.name: task for module in _MODULES for task in module.TASKS}

Form = Callable[[Example, Record], Example]
"""Returns the example of a record in another form, given that in the task's own."""


def _with(plain: Example, context: str, continuations: Sequence[str] = ()) -> Example:
    """Returns an example whose options, which may have other texts, follow another context."""
    texts = continuations or [option.continuation for option in plain.options]
    return replace(plain, options=tuple(Option(context, text) for text in texts))


def _lambada(plain: Example, record: Record) -> Example:
    return replace(plain, context=f"{plain.context} ____. ->", separator="\n")


def _piqa(plain: Example, record: Record) -> Example:
    return _with(plain, record["question"])


def _race(plain: Example, record: Record) -> Example:
    return _with(plain, so_far(f"Article:\n{record['article'].strip()}", record, "\n\n"))


def _quac(plain: Example, record: Record) -> Example:
    passage = f"TITLE: {record['heading']}\nPARAGRAPH: {record['passage']}"
    return replace(plain, context=so_far(passage, record, "\n\n"))


def _coqa(plain: Example, record: Record) -> Example:
    return replace(plain, context=so_far(record["passage"], record, "\n\n"))


def _boolq(plain: Example, record: Record) -> Example:
    return _with(plain, f"{record['passage']}\nquestion: {record['question']}?\nanswer:")


def _cb(plain: Example, record: Record) -> Example:
    context = f"{record['premise']}\nquestion: {record['hypothesis']}. true, false, or neither?\nanswer:"
    return _with(plain, context, [option.continuation.lower() for option in plain.options])


def _rte(plain: Example, record: Record) -> Example:
    return _with(plain, f"{record['premise']}\nquestion: {record['hypothesis']} True or False?\nanswer:")


def _wic(plain: Example, record: Record) -> Example:
    question = f"question: Is the word '{record['word']}' used in the same way in the two sentences above?"
    return _with(plain, f"{record['sentence1']}\n{record['sentence2']}\n{question}\nanswer:")


def _multirc(plain: Example, record: Record) -> Example:
    labelled = [f"\n- [{label}] {record['answer']}" for label in (False, True)]
    return _with(plain, f"{record['passage']}\n\n{record['question']}", labelled)


def _anli(round: int, plain: Example, record: Record) -> Example:
    return _with(plain, f"anli {round}: anli {round}: {plain.options[0].context}")


_FORMS: Mapping[str, tuple[Form, dict[str, Any]]] = {
    "lambada_openai": (_lambada, {"instruction": "Fill in blank:\n\n"}),
    "piqa": (_piqa, {}),
    "race_high": (_race, {"unconditional": "A:"}),
    "race_middle": (_race, {"unconditional": "A:"}),
    "quac": (_quac, {}),
    "coqa": (_coqa, {}),
    "boolq": (_boolq, {}),
    "cb": (_cb, {}),
    "rte": (_rte, {}),
    "wic": (_wic, {}),
    "multirc": (_multirc, {"instruction": "READING COMPREHENSION ANSWER KEY\n\n"}),
    **{f"anli_r{round}": (partial(_anli, round), {}) for round in (1, 2, 3)},
}
"""The forms, each with what else of its task is another."""
_FEW = {
    "triviaqa": 64,
    "nq_open": 64,
    "webqs": 64,
    "lambada_openai": 15,
    "hellaswag": 20,
    "storycloze_2016": 70,
    "wsc273": 7,
    "winogrande": 50,
    "piqa": 50,
    "arc_easy": 50,
    "arc_challenge": 50,
    "openbookqa": 100,
    "drop": 20,
    "coqa": 5,
    "quac": 5,
    "squadv2": 16,
    "race_high": 10,
    "race_middle": 10,
    **dict.fromkeys(superglue.ALL, 32),
    **dict.fromkeys(("anli_r1", "anli_r2", "anli_r3"), 50),
}
"""The tasks, each with the number of shots where its paper shows few (its table H.1)."""


def _example(own: Callable[[Record], Example], form: Form, record: Record) -> Example:
    return form(own(record), record)


def _task(name: str) -> Task:
    own, (form, others) = _OWN[name], _FORMS[name]
    example = partial(_example, own.example, form)
    return replace(own, name=_PREFIX + name, category="GPT-3", example=example, **others)


def _means(results: Results) -> Means:
    """Returns SuperGLUE's score, and the mean of all tasks."""
    own = {name.removeprefix(_PREFIX): each for name, each in results.items()}
    of_superglue = {name: each for name, each in own.items() if name in superglue.ALL}
    return {
        "superglue": superglue.score(of_superglue)["score"],
        "all": [each.estimate for each in own.values()],
    }


TASKS = tuple(map(_task, _FORMS))
SUITES = {"gpt3": Suite({_PREFIX * (name in _FORMS) + name: count for name, count in _FEW.items()}, _means)}
