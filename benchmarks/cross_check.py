"""Asks lm-eval's own model what our tasks ask ours, and compares likelihoods, answers and scores, task by task.

    .venv/bin/python benchmarks/cross_check.py --data FOLDER [--run DIR] [--tasks NAME,…] [--shots 1] [--limit 8]

lm-eval's model (0.4.13, in `.venv-lmeval`, which is made if necessary) has the export of the run for Hugging Face. It
gets the prompts and continuations of every request as texts, so it tokenizes, joins and scores by itself. Scores are
made of its likelihoods and answers. Left out are examples of which something was cut, or in which a token spans the
join: there the two differ by design (docs/evaluation.md). Without --run the weights are drawn.

A second table has lm-eval's own tasks on its own model, of which everything is lm-eval's but the records: its `acc` is
our score without normalization, its `acc_norm` that by characters.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.host import environment

os.environ.setdefault("JAX_PLATFORMS", "cpu")
environment.prepare(os.cpu_count() or 1)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import evaluation  # noqa: E402
from peer_environment import lm_eval_python  # noqa: E402

from palmetto.evaluation.harness import answer_of, run_all  # noqa: E402
from palmetto.evaluation.judging import judge, total  # noqa: E402
from palmetto.evaluation.loading import Loaded, files, load  # noqa: E402
from palmetto.evaluation.model import EvaluatedModel  # noqa: E402
from palmetto.evaluation.queries import Manner, Query, ask, requests  # noqa: E402
from palmetto.evaluation.registry import TASKS, choose  # noqa: E402
from palmetto.evaluation.results import summarize  # noqa: E402
from palmetto.evaluation.tasks.reading import find  # noqa: E402
from palmetto.evaluation.tasks.task import Outcome, Record, Task  # noqa: E402
from palmetto.evaluation.until import up_to_stop  # noqa: E402
from palmetto.interop.export import export  # noqa: E402
from palmetto.runs.directory import RunDirectory  # noqa: E402


class Given(NamedTuple):
    """Holds what a model has answered to an example."""

    likelihoods: list[float]
    texts: list[str]


class Asked(NamedTuple):
    """Holds an example with what is asked about it, and our answers."""

    place: int
    queries: list[Query]
    ours: Given


def pairs(task: Task, asked: Asked, text: str) -> list[list[Any]]:
    """Returns the requests of an example as lm-eval takes them."""
    if text:
        return [["", text]]
    settings = {"until": list(task.stop)}
    return [
        [query.context.rstrip(), settings | {"max_gen_toks": query.tokens}]
        if query.tokens
        else [query.context, query.continuation]
        for query in asked.queries
    ]


def ask_ours(loaded: Loaded, model: EvaluatedModel, shots: int, limit: int) -> list[Asked]:
    """Returns the first examples of a task with our answers."""
    task, reader = loaded.task, model.reader
    make, found = requests(Manner(task.stop, task.sampling), reader.vocabulary), list[Asked]()
    for place, example in enumerate(loaded.examples[:limit]):
        queries = ask(task, example, loaded.shots(place, shots, 0), reader)
        results = run_all(queries, make, model.engine)
        answers = [answer_of(query, result, reader) for query, result in zip(queries, results, strict=True)]
        ours = Given([total(answer.logprobs) for answer in answers], [answer.text for answer in answers])
        found.append(Asked(place, queries, ours))
    return found


def treated_alike(asked: Asked, text: str) -> bool:
    """Returns whether both have the same ids for all that is asked."""
    differ = any(query.truncated or query.spans for query in asked.queries)
    return not differ and (not text or len(asked.queries) == 1)


def outcomes(loaded: Loaded, asked: Sequence[Asked], given: Sequence[Given]) -> list[Outcome]:
    """Returns what becomes of the examples with a model's answers."""
    return [
        judge(loaded.task, str(place), loaded.examples[place], queries, [[each] for each in likelihoods], texts)
        for (place, queries, _), (likelihoods, texts) in zip(asked, given, strict=True)
    ]


def score(loaded: Loaded, judged: list[Outcome]) -> dict[str, Any]:
    """Returns the results of a task."""
    values: dict[str, Any] = summarize({loaded.task.name: (loaded, judged)}, {})["tasks"][loaded.task.name]
    return values


def theirs(asked: Asked, answers: Sequence[Any]) -> Given:
    """Returns lm-eval's answers to an example in the form of ours."""
    generated = [isinstance(answer, str) for answer in answers]
    likelihoods = [0.0 if text else answer[0] for text, answer in zip(generated, answers, strict=True)]
    texts = [
        answer if text else query.continuation
        for text, answer, query in zip(generated, answers, asked.queries, strict=True)
    ]
    return Given(likelihoods, texts)


def compare(loaded: Loaded, asked: Sequence[Asked], answers: Sequence[Any]) -> str:
    """Returns the row of a task."""
    given, at = list[Given](), 0
    for each in asked:
        given.append(theirs(each, answers[at : at + len(each.queries)]))
        at += len(each.queries)
    distances, same = [0.0], []
    for (_, queries, ours), their in zip(asked, given, strict=True):
        for place, query in enumerate(queries):
            if query.tokens:
                stop = loaded.task.stop
                same.append(up_to_stop(ours.texts[place], stop) == up_to_stop(their.texts[place], stop))
            else:
                distances.append(abs(ours.likelihoods[place] - their.likelihoods[place]) / len(query.continuation_ids))
    texts = f"{sum(same)} of {len(same)}" if same else ""
    distance = "" if same else f"{max(distances):.1e}"
    both = (outcomes(loaded, asked, of) for of in ([each.ours for each in asked], given))
    scores = " | ".join(f"{score(loaded, judged)['value']:.3f}" for judged in both)
    return f"| {loaded.task.name} | {len(asked)} | {at} | {distance} | {texts} | {scores} |"


def _letters(record: Record) -> Record:
    choices = {"text": record["options"], "label": list("ABCDE"[: len(record["options"])])}
    return {"question": record["question"], "choices": choices, "answerKey": "ABCDE"[record["gold"]]}


OWN: dict[str, Callable[[Record], Record]] = {
    "copa": dict,
    "xcopa_it": dict,
    "boolq": lambda record: record | {"label": int(record["label"])},
    "piqa": lambda record: {
        "goal": record["question"],
        "sol1": record["options"][0],
        "sol2": record["options"][1],
        "label": record["gold"],
    },
    "winogrande": lambda record: {
        "sentence": record["sentence"],
        "option1": record["options"][0],
        "option2": record["options"][1],
        "answer": str(record["gold"] + 1),
    },
    "arc_easy": _letters,
    "commonsense_qa": _letters,
    **{name: dict for name in TASKS if name.startswith("blimp_")},
}
"""The tasks whose records have, after these changes, the columns that lm-eval's own task expects."""


def own_tasks(
    names: Sequence[str], data: Path, limit: int, python: Path, folder: Path, model: EvaluatedModel
) -> Iterator[str]:
    """Yields the rows of those of lm-eval's own tasks that have these names.

    folder: where the export is, and files may be written.
    """
    sets, rows = dict[str, str](), dict[str, Loaded]()
    for name, change in OWN.items():
        if name not in names or (file := find(TASKS[name].tests, data)) is None:
            continue
        records = list(islice(file.read(data / file.path), limit))
        sets[name] = str(folder / f"{name}.jsonl")
        Path(sets[name]).write_text("".join(json.dumps(change(record)) + "\n" for record in records))
        rows[name] = load(TASKS[name], data)
    (folder / "sets.json").write_text(json.dumps(sets))
    script = Path(__file__).parent / "peers" / "lm_eval_tasks.py"
    command = [python, script, folder / "export", folder / "sets.json", folder / "results.json"]
    subprocess.run(command, env=os.environ | evaluation.VARIABLES, check=True, capture_output=True)
    for name, found in json.loads((folder / "results.json").read_text()).items():
        loaded = rows[name]
        asked = ask_ours(loaded, model, 0, limit)
        judged = outcomes(loaded, asked, [each.ours for each in asked])
        ours = score(loaded, judged)["metrics"]
        pairs = zip(found["right"], (outcome.scores["raw"] for outcome in judged), strict=True)
        same = sum(their == our for their, our in pairs)
        norm = found["metrics"].get("acc_norm")
        normalized = " | " if norm is None else f"{ours['character']:.2f} | {100 * norm:.2f}"
        acc = f"{ours['raw']:.2f} | {100 * found['metrics']['acc']:.2f}"
        yield f"| {name} | {same} of {len(judged)} | {acc} | {normalized} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--tasks", default=",".join(TASKS), help="by default all whose files are there")
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--limit", type=int, default=8)
    given = parser.parse_args()
    python, names = lm_eval_python(), [name for name in given.tasks.split(",") if not files(TASKS[name], given.data)[1]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = RunDirectory.existing(given.run) if given.run else evaluation.drawn(folder / "run", [])
        export(run, "huggingface", folder / "export", None, "float32", None)
        model = EvaluatedModel(run, None)
        tasks = [load(task, given.data) for task in choose(names, given.data).tasks]
        asked = {
            loaded.task.name: [
                each
                for each in ask_ours(loaded, model, given.shots, given.limit)
                if treated_alike(each, loaded.examples[each.place].text)
            ]
            for loaded in tasks
        }
        question = folder / "question.json"
        lists = {
            loaded.task.name: [
                pair
                for each in asked[loaded.task.name]
                for pair in pairs(loaded.task, each, loaded.examples[each.place].text)
            ]
            for loaded in tasks
        }
        question.write_text(json.dumps({name: own for name, own in lists.items() if own}))
        answers = evaluation.answer(python, "hf", folder / "export", question, 8)
        second = list(own_tasks(names, given.data, given.limit, python, folder, model))
    print(
        "| task | examples | requests | likelihoods differ a token by | equal answers | our score | lm-eval's model |"
    )
    print("|---|---|---|---|---|---|---|")
    for loaded in tasks:
        own = asked[loaded.task.name]
        print(
            compare(loaded, own, answers[loaded.task.name]["answers"])
            if own
            else f"| {loaded.task.name} | 0 | | | | | |"
        )
    print("\n| lm-eval's task | equal decisions | ours, raw | its acc | ours by character | its acc_norm |")
    print("|---|---|---|---|---|---|\n" + "\n".join(second))


if __name__ == "__main__":
    main()
