"""Beams over HTTP are those of the engine."""

from dataclasses import replace
from typing import Any

import pytest

from palmetto.decoding.request import Request
from palmetto.decoding.text import ended_by
from palmetto.decoding.trained import TrainedModel
from palmetto.runs.directory import RunDirectory
from palmetto.serving.state import Server
from tests.serving.conftest import LIMITS, Post
from tests.serving.test_completions import chunks, joined

ASKED: dict[str, Any] = {"prompt": [5, 9, 300], "use_beam_search": True, "n": 2, "best_of": 4, "max_tokens": 6}


@pytest.mark.parametrize("penalty", [0.6, 0.0, 2.0])
def test_beams_are_those_of_the_engine(complete: Post, run: RunDirectory, server: Server, penalty: float) -> None:
    served = server.models["tiny"]
    request = Request(
        (5, 9, 300), 6, choices=2, beams=4, length_penalty=penalty, top=2, stop=frozenset([served.vocabulary.eod])
    )
    [results] = TrainedModel(run).engine(LIMITS).run([request])
    given = {} if penalty == 0.6 else {"length_penalty": penalty}
    answer = complete(**ASKED, **given, logprobs=2).json()
    assert len(answer["choices"]) == 2
    for choice, result in zip(answer["choices"], results, strict=True):
        assert choice["logprobs"]["tokens"] == [served.pieces.names[token.id] for token in result.tokens]
        assert choice["logprobs"]["token_logprobs"] == [token.logprob for token in result.tokens]
    assert answer["usage"]["completion_tokens"] == sum(len(result.tokens) for result in results)


def test_beams_end_at_a_stop_string(complete: Post, run: RunDirectory, server: Server) -> None:
    """What would follow it does not decide which beam is best."""
    pieces, asked = server.models["tiny"].pieces, {**ASKED, "max_tokens": 24, "length_penalty": 3}
    text = max((choice["text"] for choice in complete(**asked).json()["choices"]), key=len)
    stop, eod = text[len(text) // 2], server.models["tiny"].vocabulary.eod
    request = Request((5, 9, 300), 24, choices=2, beams=4, length_penalty=3, stop=frozenset([eod]))
    engine = TrainedModel(run).engine(LIMITS)
    [results] = engine.run([replace(request, ended=ended_by([stop], pieces))])
    written = [
        b"".join(pieces.data[token.id] for token in result.tokens).decode(errors="replace") for result in results
    ]
    texts = [choice["text"] for choice in complete(**asked, stop=[stop]).json()["choices"]]
    assert texts == [text.partition(stop)[0] for text in written]


def test_beams_are_streamed_and_echoed(complete: Post) -> None:
    for tokens in (1, 6):
        asked = {**ASKED, "best_of": 2, "max_tokens": tokens, "echo": True, "logprobs": 1}
        whole = complete(**asked).json()["choices"]
        assert joined(chunks(complete(**asked, stream=True).text)) == whole
        assert all(len(choice["logprobs"]["tokens"]) == 3 + tokens for choice in whole)


@pytest.mark.parametrize(
    ("parameter", "changes"),
    [
        ("temperature", {"temperature": 0.5}),
        ("top_p", {"top_p": 0.5}),
        ("logit_bias", {"logit_bias": {"5": 1}}),
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("logprobs_mode", {"logprobs": 1, "logprobs_mode": "processed_logprobs"}),
        ("best_of", {"best_of": 9}),
        ("n", {"best_of": None, "n": 9}),
        ("best_of", {"stream": True, "n": 1, "use_beam_search": None}),
        ("max_tokens", {"max_tokens": 0}),
        ("length_penalty", {"use_beam_search": None, "length_penalty": 1}),
        ("length_penalty", {"length_penalty": -1}),
    ],
)
def test_what_beams_replace_is_refused(complete: Post, parameter: str, changes: dict[str, Any]) -> None:
    response = complete(**{**ASKED, **changes})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == parameter


def test_neutral_values_go_with_beams(complete: Post) -> None:
    neutral = {"temperature": 0, "top_p": 1, "presence_penalty": 0, "seed": 3, "response_format": None}
    assert complete(**ASKED, **neutral).json()["choices"] == complete(**ASKED).json()["choices"]
