"""Summaries, and texts made of data, as PaLM reports them of GEM (arXiv 2102.01672), scored by ROUGE-2."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from palmetto.evaluation import rouge
from palmetto.evaluation.tasks.reading import json_lines, table
from palmetto.evaluation.tasks.suite import Suite
from palmetto.evaluation.tasks.task import Example, File, Record, Task

_SUMMARIZE, _VERBALIZE = "Summarize the following article:", "Verbalize:"
_ENDING = "\n\nText:"


class _Set(NamedTuple):
    """Describes a set in GEM's lines: what is asked, of which field, and whether the answer is in English."""

    ask: str
    field: str
    english: bool = True


_SETS: Mapping[str, _Set] = {
    "mlsum_de": _Set(_SUMMARIZE, "text", False),
    "mlsum_es": _Set(_SUMMARIZE, "text", False),
    "wiki_lingua_en": _Set(_SUMMARIZE, "source"),
    "wiki_lingua_es_en": _Set(_SUMMARIZE, "source"),
    "wiki_lingua_ru_en": _Set(_SUMMARIZE, "source"),
    "wiki_lingua_tr_en": _Set(_SUMMARIZE, "source"),
    "wiki_lingua_vi_en": _Set(_SUMMARIZE, "source"),
    "xsum": _Set(_SUMMARIZE, "document"),
    "cs_restaurants": _Set(_VERBALIZE, "dialog_act", False),
    "web_nlg_en": _Set(_VERBALIZE, "input"),
    "web_nlg_ru": _Set(_VERBALIZE, "input", False),
}


def _restaurants(path: Path) -> Iterator[Record]:
    """Yields the meanings of E2E, each with all the texts that say it."""
    texts: dict[str, list[str]] = {}
    for row in table(path):
        texts.setdefault(row["mr"], []).append(row["ref"])
    for meaning, references in texts.items():
        yield {"input": meaning, "target": references[0], "references": references}


def _example(ask: str, field: str, record: Record) -> Example:
    given = record[field]
    text = given if isinstance(given, str) else ", ".join(given)
    answers = tuple(dict.fromkeys([record["target"], *record.get("references", ())]))
    return Example(context=f"{ask} {text.strip()}{_ENDING}", ending=_ENDING, answers=answers)


def _mark(english: bool, text: str, example: Example) -> dict[str, float] | None:
    if not text.strip():
        return None
    return rouge.scores(text.strip(), example.answers, "stems" if english else "words")


def _task(name: str, tests: File, training: File, of: _Set) -> Task:
    return Task(
        name,
        "Writing",
        (tests,),
        partial(_example, of.ask, of.field),
        (training,),
        metric="rouge2",
        mark=partial(_mark, of.english),
        require=rouge.require,
        stop=("\n\n",),
        tokens=256,
    )


def _gem(name: str) -> Task:
    form = f"lines of JSON with {_SETS[name].field}, target and references"
    tests, training = (File(f"gem/{name}/{part}.jsonl", json_lines, form) for part in ("test", "train"))
    return _task(name, tests, training, _SETS[name])


_E2E_TEST, _E2E_DEVELOPMENT = (
    File(f"e2e_nlg/{name}.csv", _restaurants, "a table with mr and ref") for name in ("testset_w_refs", "devset")
)

TASKS = (*map(_gem, _SETS), _task("e2e_nlg", _E2E_TEST, _E2E_DEVELOPMENT, _Set(_VERBALIZE, "input")))
SUITES = {
    "gem": Suite(
        {task.name: 0 for task in TASKS}, lambda results: {"rouge2": [each.estimate for each in results.values()]}
    )
}
