"""Asks a model through lm-eval's interface, without any of its tasks.

    .venv-lmeval/bin/python benchmarks/peers/lm_eval_answers.py MODEL FOLDER QUESTION.json ANSWER.json [BATCH]

MODEL is `palmetto`, with a run directory as FOLDER, or `hf`, with an export for Hugging Face. QUESTION.json holds
{"pairs": [[context, continuation], …], "prompts": [[context, generation_kwargs], …], "texts": [text, …]}, and
ANSWER.json {"pairs": [[log-likelihood, is greedy], …], "prompts": [answer, …], "texts": [log-likelihood, …],
"seconds": {kind: s}}. Each kind is asked once before the clock starts, with its first requests.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

_FIRST = 8
"""The number of requests that are asked before the clock starts."""


def model(name: str, folder: str, batch: int) -> Any:
    """Returns lm-eval's model of this name."""
    if name == "palmetto":
        from palmetto.adapters.lm_eval import PalmettoLM

        return PalmettoLM(folder)
    from lm_eval.models.huggingface import HFLM

    return HFLM(folder, device="cpu", dtype="float32", batch_size=batch, trust_remote_code=True)


def ask(answer: Callable[[list[Instance]], list[Any]], arguments: list[tuple[Any, ...]]) -> tuple[list[Any], float]:
    """Returns the answers, and the seconds that they took."""
    requests = [Instance("loglikelihood", {}, own, place) for place, own in enumerate(arguments)]
    answer(requests[:_FIRST])
    begin = time.perf_counter()
    answers = answer(requests)
    return answers, time.perf_counter() - begin


def main(name: str, folder: str, question: Path, answer: Path, batch: int) -> None:
    """Asks what a file says, and writes the answers."""
    asked, lm = json.loads(question.read_text()), model(name, folder, batch)
    ways = {"pairs": lm.loglikelihood, "prompts": lm.generate_until, "texts": lm.loglikelihood_rolling}
    answers: dict[str, Any] = {"seconds": {}}
    for kind, way in ways.items():
        arguments = [tuple(own) if isinstance(own, list) else (own,) for own in asked.get(kind, [])]
        if arguments:
            answers[kind], answers["seconds"][kind] = ask(way, arguments)
    answer.write_text(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]) if len(sys.argv) > 5 else 8)
