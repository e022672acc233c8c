"""Asks a model through lm-eval's interface, without any of its tasks.

    .venv-lmeval/bin/python benchmarks/peers/lm_eval_answers.py MODEL FOLDER QUESTION.json ANSWER.json [BATCH]

MODEL is `palmetto`, with a run directory as FOLDER, or `hf`, with an export for Hugging Face. QUESTION.json holds
lists by name, each of pairs [context, continuation], of prompts [context, generation_kwargs], or of texts [text].
ANSWER.json holds under each name {"answers": [[log-likelihood, is greedy] or answer or log-likelihood, …],
"seconds": s}. Before the clock starts, the list `NAME warm` is asked, if there is one.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance


def model(name: str, folder: str, batch: int) -> Any:
    """Returns lm-eval's model of this name."""
    if name == "palmetto":
        from palmetto.adapters.lm_eval import PalmettoLM

        return PalmettoLM(folder)
    from lm_eval.models.huggingface import HFLM

    return HFLM(folder, device="cpu", dtype="float32", batch_size=batch, trust_remote_code=True)


def ask(lm: Any, requests: list[tuple[Any, ...]]) -> list[Any]:
    """Returns the answers to requests of one kind."""
    first = requests[0]
    way = lm.loglikelihood_rolling if len(first) == 1 else lm.loglikelihood
    if len(first) == 2 and isinstance(first[1], dict):
        way = lm.generate_until
    return list(way([Instance("loglikelihood", {}, own, place) for place, own in enumerate(requests)]))


def main(name: str, folder: str, question: Path, answer: Path, batch: int) -> None:
    """Asks what a file says, and writes the answers."""
    asked, lm, found = json.loads(question.read_text()), model(name, folder, batch), {}
    lists = {kind: [tuple(each) for each in requests] for kind, requests in asked.items()}
    for kind, requests in lists.items():
        if kind.endswith(" warm"):
            continue
        if warm := lists.get(f"{kind} warm"):
            ask(lm, warm)
        begin = time.perf_counter()
        found[kind] = {"answers": ask(lm, requests), "seconds": time.perf_counter() - begin}
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]) if len(sys.argv) > 5 else 8)
