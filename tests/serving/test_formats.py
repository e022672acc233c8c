"""Texts match the format that is asked for, and a format that cannot be followed harms nobody else."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from palmetto.decoding.request import Finish
from palmetto.serving.state import Server
from palmetto.serving.worker import Worker
from tests.references.panic import Panic
from tests.serving.conftest import Post


def test_formats_hold_for_every_seed(complete: Post) -> None:
    fields = {"properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
    schema = {"type": "object", **fields}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    for seed in range(3):
        text = complete(prompt="", seed=seed, max_tokens=100, temperature=0.2, response_format=form).json()["choices"][
            0
        ]
        assert type(json.loads(text["text"])["a"]) is bool
        regex = {"type": "regex", "regex": "[a-c]{3,5}"}
        text = complete(prompt="", seed=seed, max_tokens=100, response_format=regex).json()["choices"][0]
        assert re.fullmatch("[a-c]{3,5}", text["text"])
        assert text["finish_reason"] == "stop"


class Ends:
    """Allows anything twice, and then nothing."""

    left = 2

    def allowed(self) -> np.ndarray | None:
        return np.ones(400, bool) if self.left else None

    def accept(self, token: int) -> None:
        self.left -= 1

    @property
    def finish(self) -> Finish:
        return Finish.DEAD_END


def test_a_dead_end_is_an_error_of_its_request_alone(
    complete: Post, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.models["tiny"].grammars, "regex", lambda pattern: Ends)
    asked = {"prompt": "def ", "max_tokens": 9, "response_format": {"type": "regex", "regex": "a"}}
    asked["logit_bias"] = {"1": -100}
    with ThreadPoolExecutor() as pool:
        other = pool.submit(complete, prompt="def ", max_tokens=60, seed=1)
        refused, streamed = pool.map(lambda stream: complete(**asked, stream=stream), (False, True))
        assert other.result().status_code == 200
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "response_format"
    assert refused.json()["error"]["code"] == "dead_end"
    assert '"code": "dead_end"' in streamed.text
    assert not streamed.text.endswith("data: [DONE]\n\n")


class Panics(Ends):
    """Fails at the first token."""

    def accept(self, token: int) -> None:
        raise Panic("broken")


def test_a_format_that_fails_ends_its_request_alone(
    complete: Post, server: Server, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = complete(prompt="def ", max_tokens=60, seed=1).json()["choices"]
    monkeypatch.setattr(server.models["tiny"].grammars, "regex", lambda pattern: Panics)
    asked = {"prompt": "def ", "max_tokens": 9, "response_format": {"type": "regex", "regex": "a"}}
    with ThreadPoolExecutor() as pool:
        other = pool.submit(complete, prompt="def ", max_tokens=60, seed=1)
        refused, streamed = pool.map(lambda stream: complete(**asked, stream=stream), (False, True))
        assert other.result().json()["choices"] == alone
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "response_format"
    assert refused.json()["error"]["code"] == "format_failed"
    assert '"code": "format_failed"' in streamed.text
    assert worker.failed is None
