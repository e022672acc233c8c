"""Programs written by the model, and run: HumanEval (arXiv 2107.03374) and MBPP (arXiv 2108.07732)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.evaluation.tasks.reading import json_lines
from palmetto.evaluation.tasks.task import Example, File, Record, Task
from palmetto.sandbox import running

_SHOTS, _TESTS = range(2, 5), range(11, 511)
"""The numbers of MBPP's problems that its paper shows, and of those that it tests."""
_OFTEN = (1, 10, 100)
"""The numbers of attempts of which one must pass, as papers report them."""


def pass_at(k: int, samples: int, passed: int) -> float:
    """Returns the unbiased estimate of how often one of `k` attempts passes, from more `samples` of which some passed.

    It is 1 − Π(1 − k/i) over i = n−c+1 … n, for c of n samples (arXiv 2107.03374, section 2.1).
    """
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - passed + 1, samples + 1))


def _passes(answer: str, example: Example, confined: bool) -> bool:
    before, after = example.program
    return bool(answer.strip()) and running.run(before + answer + after, confined=confined).passed


def _mark(answer: str, example: Example, confined: bool = True) -> dict[str, float] | None:
    return {"pass@1": float(_passes(answer, example, confined))} if answer.strip() else None


def _sampled(answers: Sequence[str], example: Example, confined: bool = True) -> dict[str, float]:
    """Scores samples by the unbiased estimates, and, as PaLM does, by whether any of them passes."""
    samples, passed = len(answers), sum(_passes(answer, example, confined) for answer in answers)
    unbiased = {f"pass@{k}": pass_at(k, samples, passed) for k in _OFTEN if k <= samples}
    return {**unbiased, f"any@{samples}": float(passed > 0)}


def _unconfined(task: Task) -> Task:
    return replace(task, mark=partial(_mark, confined=False), sampled=partial(_sampled, confined=False), require=None)


def _completion(record: Record) -> Example:
    prompt, solution = record["prompt"], record["canonical_solution"]
    # The prompt is asked for without the newline at its end, which the answer begins with.
    program = prompt.rstrip(), f"\n\n{record['test']}\ncheck({record['entry_point']})\n"
    return Example(context=prompt, answers=(solution,), program=program)


def _problems(path: Path) -> Iterator[Record]:
    return (record for record in json_lines(path) if record["task_id"] in _TESTS)


def _shots(path: Path) -> list[Record]:
    numbered = {record["task_id"]: record for record in json_lines(path)}
    lacking = [str(number) for number in _SHOTS if number not in numbered]
    if lacking:
        raise UserError(f"{path}: no problem {' and '.join(lacking)}; expected all that its paper shows: 2, 3 and 4")
    shown = [_problem(numbered[number]).demonstration for number in _SHOTS]
    return [{"exemplars": tuple(f"{text}\n[DONE]\n\n" for text in shown)}]


def _problem(record: Record) -> Example:
    tests, solution = "\n".join(record["test_list"]), record["code"].replace("\r\n", "\n").rstrip()
    context = (
        f"You are an expert Python programmer, and here is your task: {record['text'].strip()} "
        f"Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )
    return Example(context=context, answers=(solution,), program=("", f"\n{record['test_setup_code']}\n{tests}\n"))


_SAMPLING = Sampling(0.8, top_p=0.95)
"""PaLM's, for several attempts (arXiv 2204.02311, section 6.4)."""
_HUMANEVAL = "lines of JSON with task_id, prompt, canonical_solution, test and entry_point"
_MBPP = "lines of JSON with task_id, text, code, test_setup_code and test_list"


TASKS = (
    Task(
        "humaneval",
        "Code",
        (
            File("humaneval/HumanEval.jsonl.gz", json_lines, _HUMANEVAL),
            File("humaneval/HumanEval.jsonl", json_lines, _HUMANEVAL),
        ),
        _completion,
        metric="pass@1",
        mark=_mark,
        sampled=_sampled,
        sampling=_SAMPLING,
        require=running.require,
        unconfined=_unconfined,
        stop=("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
        tokens=512,
    ),
    Task(
        "mbpp",
        "Code",
        (File("mbpp/mbpp.jsonl", _problems, _MBPP),),
        _problem,
        takes_shots=False,
        preamble=(File("mbpp/mbpp.jsonl", _shots, _MBPP),),
        metric="pass@1",
        mark=_mark,
        sampled=_sampled,
        sampling=_SAMPLING,
        require=running.require,
        unconfined=_unconfined,
        stop=("[DONE]",),
        tokens=512,
    ),
)
