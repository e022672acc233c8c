"""A model of spans is served as others are; it also fills the gap before a suffix."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from palmetto.decoding.limits import Limits
from palmetto.serving.app import application
from palmetto.serving.server import load
from palmetto.serving.settings import Settings
from tests.conftest import RecipeMaker
from tests.references.drawn_runs import make_run
from tests.serving.test_completions import chunks, joined

pytestmark = pytest.mark.slow

LIMITS = Limits(rows=8, sequences=8, longest=40)


@pytest.fixture(scope="module")
def client(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("served") / "spans"
    run = make_run(folder, tiny_recipe, "training.objective={name: spans}")
    server = load({"spans": run}, LIMITS, Settings())
    yield TestClient(application(server))
    server.models["spans"].current.worker.close()


@pytest.mark.parametrize("given", [{}, {"suffix": "return x"}, {"echo": True}])
def test_a_stream_of_a_model_of_spans_is_the_whole(client: TestClient, given: dict[str, Any]) -> None:
    asked = {"model": "spans", "prompt": "def f(", "max_tokens": 12, "seed": 3, "n": 2, **given}
    whole = client.post("/v1/completions", json=asked).json()["choices"]
    assert joined(chunks(client.post("/v1/completions", json={**asked, "stream": True}).text)) == whole


def test_a_suffix_tells(client: TestClient) -> None:
    asked = {"model": "spans", "prompt": "def f(", "max_tokens": 12, "temperature": 0, "logprobs": 0}
    answers = [
        client.post("/v1/completions", json={**asked, **given}).json()
        for given in ({}, {"suffix": "return x"}, {"suffix": "import os"})
    ]
    logprobs = [answer["choices"][0]["logprobs"]["token_logprobs"] for answer in answers]
    assert logprobs[0] != logprobs[1] != logprobs[2] != logprobs[0]
    assert answers[0]["usage"]["prompt_tokens"] < answers[1]["usage"]["prompt_tokens"]


def test_the_prompt_of_a_model_of_spans_has_no_scores(client: TestClient) -> None:
    asked = {"model": "spans", "prompt": "def f(", "max_tokens": 0, "echo": True, "logprobs": 0}
    answer = client.post("/v1/completions", json=asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "echo")
