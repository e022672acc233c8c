"""Measures an evaluation's requests per second, against lm-eval with its own model on the same weights.

    .venv/bin/python benchmarks/evaluation.py [--rounds 2] [--batches 1,8,32] [KEY.PATH=VALUE]...

The weights are drawn, those of the recipe `quickstart` with the overrides below and those given. lm-eval's model has
them as an export, in float32, with as many threads as cores; of the batch sizes, the best counts for each kind of
request. Ours is asked through lm-eval's interface too, in the same environment, `.venv-lmeval`, which is made if
necessary. Both take turns. Their likelihoods must agree. The last line is the smallest ratio of all kinds.
"""

import argparse
import json
import os
import pydoc_data.topics
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from palmetto.host import environment

os.environ.setdefault("JAX_PLATFORMS", "cpu")
environment.prepare(os.cpu_count() or 1)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax  # noqa: E402
from peer_environment import lm_eval_python  # noqa: E402

from palmetto.decoding import step  # noqa: E402
from palmetto.decoding.request import GREEDY  # noqa: E402
from palmetto.evaluation.harness import run_all  # noqa: E402
from palmetto.evaluation.model import EvaluatedModel  # noqa: E402
from palmetto.evaluation.queries import Manner, of_options, of_prompt, requests  # noqa: E402
from palmetto.evaluation.tasks.task import Option  # noqa: E402
from palmetto.interop.export import export  # noqa: E402
from palmetto.recipe import loading  # noqa: E402
from palmetto.runs.directory import RunDirectory  # noqa: E402
from palmetto.tokens.vocabulary import Vocabulary  # noqa: E402
from tests.references import exported  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
OVERRIDES = ("model.activations=float32", "tokens.sequence_length=1024")
QUESTIONS, FEW_SHOT, WORDS, PROMPTS, NEW = 32, 8, 64, 16, 32
SETTINGS = {"until": [], "max_gen_toks": NEW}
VARIABLES = {
    "PYTHONPATH": str(ROOT / "src"),
    "OMP_NUM_THREADS": str(os.cpu_count()),
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}
"""The variables that lm-eval's environment needs."""
Requests = dict[str, list[Any]]


def drawn(folder: Path, overrides: list[str]) -> RunDirectory:
    """Returns a run of drawn weights, with a vocabulary of Python's text."""
    recipe = loading.load("quickstart", (*OVERRIDES, *overrides))
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [*pydoc_data.topics.topics.values(), *(file.read_text(errors="replace") for file in files)]
    words = Vocabulary.train(texts, recipe.tokens.vocabulary_size, "bpe")
    return exported.made(folder, recipe, words=words)


def asked(seed: int, count: int) -> Requests:
    """Returns the requests of each kind, cut out of Python's documentation; `count` divides how many."""
    words, chance = " ".join(pydoc_data.topics.topics.values()).split(), random.Random(seed)

    def cut(length: int) -> str:
        begin = chance.randrange(len(words) - length)
        return " ".join(words[begin : begin + length])

    def questions(number: int, front: str) -> list[Any]:
        contexts = [front + cut(50) for _ in range(number)]
        return [[context, f" {cut(12)}"] for context in contexts for _ in range(4)]

    shots = "".join(f"{cut(62)}\n\n" for _ in range(5))
    return {
        "multiple choice": questions(QUESTIONS // count, ""),
        "multiple choice, five shots": questions(FEW_SHOT // count, shots),
        "last word": [[cut(75), f" {cut(1)}"] for _ in range(WORDS // count)],
        "generation": [[cut(60), SETTINGS] for _ in range(PROMPTS // count)],
    }


def answer(python: Path, model: str, folder: Path, question: Path, batch: int) -> Any:
    """Returns the answers and seconds of a model in lm-eval's environment."""
    script = ROOT / "benchmarks" / "peers" / "lm_eval_answers.py"
    with tempfile.NamedTemporaryFile() as file:
        command = [str(python), str(script), model, str(folder), str(question), file.name, str(batch)]
        subprocess.run(command, env=os.environ | VARIABLES, check=True, capture_output=True)
        return json.loads(Path(file.name).read_text())


def outside(run: RunDirectory, asked: Requests) -> dict[str, float]:
    """Returns for each kind of request the share of the time that is not in compiled steps."""
    model, within = EvaluatedModel(run, None), 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal within
            begin = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                within += time.perf_counter() - begin

        return call

    make, shares = requests(Manner((), GREEDY), model.reader.vocabulary), dict[str, float]()
    for kind, own in asked.items():
        within, begin = 0.0, time.perf_counter()
        queries = [
            of_prompt("", context, NEW, model.reader)
            if isinstance(wanted, dict)
            else of_options("", [Option(context, wanted)], model.reader)[0]
            for context, wanted in own
        ]
        with (
            patch.object(model.engine._model, "_program", timed(model.engine._model._program)),
            patch.object(step, "choose", timed(step.choose)),
            patch.object(jax, "device_get", timed(jax.device_get)),
        ):
            run_all(queries, make, model.engine)
        shares[kind.removesuffix(" warm")] = 1 - within / (time.perf_counter() - begin)  # the second time counts
    return shares


def check(ours: Any, theirs: Any) -> None:
    """Asserts that both have answered the same."""
    for kind, found in ours.items():
        if kind != "generation":
            pairs = zip(found["answers"], theirs[kind]["answers"], strict=True)
            assert all(abs(our[0] - their[0]) < 1e-2 for our, their in pairs), kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("overrides", nargs="*", metavar="KEY.PATH=VALUE")
    given = parser.parse_args()
    python, measured, warm = lm_eval_python(), asked(0, 1), asked(1, 4)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = drawn(folder / "run", given.overrides)
        export(run, "huggingface", folder / "export", None, "float32", None)
        question = folder / "question.json"
        question.write_text(json.dumps(measured | {f"{kind} warm": own for kind, own in warm.items()}))
        best = {kind: {"ours": (float("inf"), 0), "lm-eval's": (float("inf"), 0)} for kind in measured}
        for _ in range(given.rounds):
            ours = answer(python, "palmetto", run.path, question, 1)
            turns = [("ours", 0, ours)]
            for batch in map(int, given.batches.split(",")):
                turns.append(("lm-eval's", batch, answer(python, "hf", folder / "export", question, batch)))
                check(ours, turns[-1][2])
            for whose, batch, found in turns:
                for kind in measured:
                    best[kind][whose] = min(best[kind][whose], (found[kind]["seconds"], batch))
        shares = outside(run, {f"{kind} warm": own for kind, own in warm.items()} | measured)
    print("| requests | ours, a second | lm-eval's, a second | its batch | ratio | outside steps |")
    print("|---|---|---|---|---|---|")
    ratios = []
    for kind, own in measured.items():
        (our, _), (their, batch) = best[kind]["ours"], best[kind]["lm-eval's"]
        ratios.append(their / our)
        figures = f"{len(own) / our:.1f} | {len(own) / their:.1f} | {batch} | {ratios[-1]:.2f} | {shares[kind]:.0%}"
        print(f"| {kind} | {figures} |")
    print(f"ratio {min(ratios):.2f}")


if __name__ == "__main__":
    main()
