"""Texts match the format that is asked for, and a format that cannot be followed harms nobody else."""

import itertools
import json
import re

import pytest

from palmetto.serving.state import Server
from palmetto.serving.worker import Worker
from tests.references.constraints import Ends, Free, Panics
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


@pytest.mark.parametrize(("broken", "reason", "tokens"), [(Ends, "dead_end", 2), (Panics, "format_failed", 1)])
def test_a_format_that_cannot_be_met_ends_its_choice_alone(
    complete: Post,
    server: Server,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    broken: type[Free],
    reason: str,
    tokens: int,
) -> None:
    asked = {"prompt": "def ", "max_tokens": 9, "seed": 1, "n": 2, "logprobs": 0}
    asked |= {"logit_bias": {"1": -100}, "response_format": {"type": "regex", "regex": "a"}}
    grammars = server.models["tiny"].grammars
    monkeypatch.setattr(grammars, "regex", lambda pattern: Free)
    free = complete(**asked).json()["choices"]
    made = itertools.cycle([broken, Free])
    monkeypatch.setattr(grammars, "regex", lambda pattern: lambda: next(made)())
    first, second = complete(**asked).json()["choices"]
    assert second == free[1], "the other choice goes on"
    assert first["finish_reason"] == reason
    assert len(first["logprobs"]["tokens"]) == tokens
    assert free[0]["text"].startswith(first["text"])
    streamed = complete(**asked, stream=True).text
    assert f'"finish_reason": "{reason}"' in streamed
    assert streamed.endswith("data: [DONE]\n\n")
    [best] = complete(**(asked | {"n": 1, "best_of": 2})).json()["choices"]
    assert best["text"] == second["text"], "a choice that meets its format is better than any that does not"
    assert worker.failed is None
