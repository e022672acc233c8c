"""Bad input gets a 4xx that names it; nothing that was asked for is ignored."""

import difflib
import json
import threading
import unittest.mock
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from palmetto.serving.parameters import Chat, Completion
from palmetto.serving.state import Server
from palmetto.serving.worker import Worker
from tests.serving.conftest import Post, until


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("temperature", -1),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_k", 0),
        ("n", 0),
        ("n", 129),
        ("n", 1.5),
        ("best_of", 0),
        ("max_tokens", -1),
        ("max_tokens", 10**9),
        ("logprobs", 21),
        ("logprobs", -1),
        ("logit_bias", {"400": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"05": 1}),
        ("logit_bias", {"0000000005": 1}),
        ("banned_tokens", [400]),
        ("banned_tokens", [-1]),
        ("banned_tokens", []),
        ("banned_tokens", list(range(400))),
        ("banned_tokens", ["a"]),
        ("forced_tokens", [5, 10**30]),
        ("forced_tokens", 5),
        ("priority", -1),
        ("priority", 2**31),
        ("priority", 0.5),
        ("priority", "high"),
        ("seed", 2**64),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", ["a"] * 65),
        ("stream", "yes"),
        ("stream_options", {"include_usage": True}),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "regex", "regex": "[a-"}),
        ("response_format", {"type": "regex", "regex": "[a&&b]"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}),
        ("prompt", []),
        ("prompt", [[]]),
        ("prompt", [400]),
        ("prompt", [-1]),
        ("prompt", ["a", 5]),
        ("prompt", ["a"] * 257),
        ("prompt", 5),
        ("prompt", "a" * 400),
        ("suffix", "end"),
        ("presence_penalty", 3),
        ("temprature", 1),
        ("tools", []),
        ("user", "me"),
    ],
)
def test_a_wrong_parameter_is_named(complete: Post, parameter: str, value: object) -> None:
    response = complete(**{"prompt": "a", parameter: value})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == parameter
    assert error["message"].startswith(f"{parameter}: ")
    assert error["type"] == "invalid_request_error"
    assert error["code"]


@pytest.mark.parametrize(
    ("path", "parameter", "changes"),
    [
        ("/v1/completions", "prompt", {"prompt": "a\ud800b"}),
        ("/v1/completions", "prompt", {"prompt": ["a", "\udc00"]}),
        ("/v1/completions", "stop", {"prompt": "a", "stop": "\udfff"}),
        ("/v1/chat/completions", "messages", {"messages": [{"role": "user", "content": "\ud83d"}]}),
        ("/tokenize", "prompt", {"prompt": "\ud800"}),
    ],
)
def test_half_a_surrogate_pair_is_no_text(client: httpx.Client, path: str, parameter: str, changes: Any) -> None:
    headers = {"content-type": "application/json"}
    response = client.post(path, content=json.dumps({"model": "tiny", **changes}), headers=headers)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == parameter
    assert "half a surrogate pair" in response.json()["error"]["message"]
    whole = json.loads(json.dumps({"model": "tiny", **changes}).replace("\\ud800", "\\ud83d\\ude42"))
    if parameter == "prompt" and whole["prompt"] in ("a🙂b", "🙂"):
        assert client.post(path, content=json.dumps(whole), headers=headers).status_code == 200


def test_what_the_engine_refuses_has_the_clients_name(
    complete: Post, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker._engine.scheduler.blocks, "count", 3)
    error = complete(prompt=[5] * 20, max_tokens=100).json()["error"]
    assert (error["param"], error["message"]) == (
        "max_tokens",
        "max_tokens: 119 positions, take 8 blocks of cache; there are 3",
    )
    assert complete(prompt="a", banned_tokens=[5], forced_tokens=[5]).json()["error"]["param"] == "forced_tokens"
    searching = {"prompt": [5] * 20, "max_tokens": 20, "use_beam_search": True}
    for parameter in ("n", "best_of"):
        assert complete(**searching, **{parameter: 2}).json()["error"]["param"] == parameter


@pytest.mark.parametrize(
    ("parameter", "changes"),
    [
        ("messages", {"messages": [{"role": "user", "content": "a" * 400}]}),
        ("messages", {"messages": [{"role": "user", "content": "\U00100000"}]}),
        ("max_tokens", {"max_tokens": 10**9}),
        ("max_completion_tokens", {"max_completion_tokens": 10**9}),
        ("n", {"n": 9, "use_beam_search": True}),
    ],
)
def test_a_chat_is_told_of_what_it_sent(client: httpx.Client, parameter: str, changes: dict[str, Any]) -> None:
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], **changes}
    error = client.post("/v1/chat/completions", json=asked).json()["error"]
    assert error["param"] == parameter
    assert error["message"].startswith(f"{parameter}: ")


def test_a_misspelt_parameter_gets_a_proposal(complete: Post) -> None:
    message = complete(prompt="a", max_token=5).json()["error"]["message"]
    assert message == "max_token: no such parameter here (did you mean 'max_tokens'?)"


def test_an_unknown_model_is_not_found(complete: Post) -> None:
    response = complete(prompt="a", model="tinny")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert "'tiny'" in response.json()["error"]["message"]


def test_a_long_name_is_neither_compared_nor_repeated(complete: Post) -> None:
    compared, compare = list[int](), difflib.get_close_matches

    def noted(word: str, *others: Any, **options: Any) -> list[str]:
        compared.append(len(word))
        return compare(word, *others, **options)

    with unittest.mock.patch.object(difflib, "get_close_matches", noted):
        for parameter, answer in (
            ("model", complete(prompt="a", model="m" * 10**6)),
            ("n" * 100 + "…", complete(prompt="a", **{"n" * 10**6: 1})),
        ):
            assert answer.json()["error"]["param"] == parameter
            assert len(answer.text) < 1000
    assert compared == [100, 100]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"5", b"null", b'{"prompt": NaN}', b"\xff", b"[" * 10**5, b'{"n": ' + b"9" * 5000 + b"}"),
        *(b'{"\\ud800": 1}', b'{"stream_options": {"\\ud800": 1}}', b'{"prompt": "\xed\xa0\x80"}'),
        '{"model": "tiny"}'.encode("utf-16"),
    ],
)
def test_a_body_that_is_no_object_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b'{"n": 1, "n": 2}', b'{"stream_options": {"n": 1, "n": 2}}'])
def test_a_parameter_given_twice_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "n: given twice"


def test_many_names_are_read_quickly(client: httpx.Client) -> None:
    names = ", ".join(f'"{i}": 1' for i in range(10**5))
    body = f'{{{names}, "99999": 2}}'
    response = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert response.json()["error"]["param"] == "99999"
    assert response.elapsed.total_seconds() < 5


def test_too_many_prompts_are_not_encoded(complete: Post, server: Server) -> None:
    with unittest.mock.patch.object(type(server.models["tiny"].vocabulary), "encode_all") as encode:
        assert complete(prompt=["a"] * 10**4).json()["error"]["param"] == "prompt"
    encode.assert_not_called()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/tokenize"])
def test_long_texts_are_encoded_beside_the_event_loop(
    client: httpx.Client, server: Server, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    vocabulary, threads = server.models["tiny"].vocabulary, list[str]()
    encode_all = vocabulary.encode_all

    def noted(texts: list[str]) -> Any:
        threads.append(threading.current_thread().name)
        return encode_all(texts)

    monkeypatch.setattr(vocabulary, "encode_all", noted)
    for text in ("a", "b", "a" * 5000):
        chat = {"messages": [{"role": "user", "content": text}]} if "chat" in path else {"prompt": text}
        client.post(path, json={"model": "tiny", **chat})
    short, other, long = threads
    assert short == other != long


def test_a_form_of_another_site_is_refused(client: httpx.Client) -> None:
    body = json.dumps({"model": "tiny", "prompt": "a"})
    response = client.post("/v1/completions", content=body, headers={"content-type": "text/plain"})
    assert response.status_code == 400
    assert "application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/../../etc/passwd", "/page.css/../../app.py", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"]
)
def test_no_path_reaches_a_file(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert set(response.json()) == {"error"}


def test_a_wrong_method_is_refused(client: httpx.Client) -> None:
    assert client.get("/v1/completions").status_code == 405
    assert client.post("/health").status_code == 405


def test_a_large_body_is_refused(limited: Callable[..., TestClient]) -> None:
    client = limited(body=1000)
    for prompt, status in (("a", 200), ("a" * 1000, 413)):
        response = client.post("/v1/completions", json={"model": "tiny", "prompt": prompt, "max_tokens": 1})
        assert response.status_code == status


def test_a_long_prompt_is_refused_by_its_tokens(limited: Callable[..., TestClient]) -> None:
    client = limited(prompt=4, tokens=6)

    def ask(**asked: object) -> Any:
        return client.post("/v1/completions", json={"model": "tiny", **asked})

    assert ask(prompt=[5] * 4, max_tokens=6).status_code == 200
    assert ask(prompt=[5] * 5, max_tokens=6).json()["error"]["code"] == "context_length_exceeded"
    assert ask(prompt=[5] * 4, max_tokens=7).json()["error"]["param"] == "max_tokens"


def test_a_full_queue_answers_when_to_come_again(limited: Callable[..., TestClient], slow: Worker) -> None:
    client = limited(queue=2)
    asked = {"model": "tiny", "max_tokens": 1}
    for prompts, status in (([[5]] * 2, 200), ([[5]] * 3, 400)):
        assert client.post("/v1/completions", json={**asked, "prompt": prompts}).status_code == status
    slow._waiting |= {(object(), 0, 0), (object(), 1, 0)}  # type: ignore[arg-type]  # as if two others waited
    try:
        refused = client.post("/v1/completions", json={**asked, "prompt": [5]})
    finally:
        slow._waiting.clear()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"


def test_an_answer_ends_when_its_time_is_up(limited: Callable[..., TestClient], slow: Worker) -> None:
    asked = {"model": "tiny", "prompt": "def ", "max_tokens": 100, "logit_bias": {"1": -100}}
    limited().post("/v1/completions", json={**asked, "max_tokens": 1})  # compiles what the bias needs
    answer = limited(seconds=0.6).post("/v1/completions", json=asked).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert 0 < answer["usage"]["completion_tokens"] < 100
    until(lambda: not slow.running)


@pytest.mark.parametrize("kind", [Completion, Chat])
def test_every_parameter_says_what_is_expected(kind: type[Completion] | type[Chat]) -> None:
    assert all(field.description for field in kind.model_fields.values())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(name=st.sampled_from(sorted({*Completion.model_fields, *Chat.model_fields})), value=JSON, chat=st.booleans())
def test_no_value_makes_the_server_fail(client: httpx.Client, name: str, value: object, chat: bool) -> None:
    base = {"messages": [{"role": "user", "content": "a"}]} if chat else {"prompt": "a"}
    asked = {"model": "tiny", "max_tokens": 2, **base, name: value}
    path = "/v1/chat/completions" if chat else "/v1/completions"
    response = client.post(path, content=json.dumps(asked), headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 404)
    if response.status_code >= 400:
        assert response.json()["error"]["param"]
