"""Evaluates a small model once for all tests."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from palmetto.evaluation import registry
from palmetto.evaluation.evaluating import Evaluation, run
from palmetto.evaluation.model import EvaluatedModel
from palmetto.evaluation.settings import Settings
from tests.conftest import RecipeMaker
from tests.evaluation.models import trained
from tests.evaluation.small import NAMES, PREMISES, PROGRAM, SETTINGS


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for path, records in (
        (
            "superglue/COPA/val.jsonl",
            [
                {
                    "premise": f"{text}.",
                    "choice1": "It is.",
                    "choice2": "The width.",
                    "question": "cause",
                    "label": n % 2,
                }
                for n, text in enumerate(PREMISES)
            ],
        ),
        ("nq_open/NQ-open.dev.jsonl", [{"question": text, "answer": [text, "x"]} for text in PREMISES]),
        ("humaneval/HumanEval.jsonl", [PROGRAM]),
        ("paloma/ptb/val.jsonl", [{"text": "def wrap(text):\n    return text\n" * 20}, {"text": "é"}]),
    ):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="package")
def model(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    return EvaluatedModel(trained(tiny_recipe, tmp_path_factory.mktemp("run")), None)


@pytest.fixture(scope="package")
def evaluate(model: EvaluatedModel, data: Path) -> Callable[..., Evaluation]:
    def evaluate(out: Path, engine: Any = None, settings: Settings = SETTINGS, names: Sequence[str] = NAMES) -> Any:
        chosen, of = registry.choose(names, data), engine or model.engine
        return run(chosen, data, settings, model.identity, of, model.reader, out, lambda text: None)

    return evaluate


@pytest.fixture(scope="package")
def done(evaluate: Callable[..., Evaluation], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    out = tmp_path_factory.mktemp("done")
    return out, evaluate(out)
