"""Completions are answered as OpenAI's API says, to the bit and to the byte."""

import json
import math
import re
import unittest.mock
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.serving.answers import FLOOR
from palmetto.serving.state import Server
from palmetto.serving.worker import Worker
from palmetto.tokens.vocabulary import SURROGATE
from tests.serving.conftest import Post, until

CHAT = [{"role": "user", "content": "tree"}]

ASKED: list[dict[str, Any]] = [
    {"prompt": "def f(", "max_tokens": 20, "temperature": 0},
    {"prompt": "def f(", "max_tokens": 30, "seed": 7},
    {"prompt": ["import ", "class A"], "n": 2, "seed": 1, "max_tokens": 12},
    {"prompt": [5, 9, 300, 77], "echo": True, "max_tokens": 1, "temperature": 0},
    {"prompt": "x" * 60, "seed": 3, "temperature": 2.0, "top_k": 40, "max_tokens": 25},
    {"prompt": None, "seed": 4, "top_p": 0.9, "max_tokens": 40},
]


def chunks(text: str) -> list[dict[str, Any]]:
    """Returns the chunks of a stream."""
    events = [event for event in text.split("\n\n") if event and not event.startswith(":")]
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns whole choices from the chunks of a stream."""
    whole: dict[int, dict[str, Any]] = {}
    for choice in (choice for part in parts for choice in part["choices"]):
        into = whole.setdefault(choice["index"], {"index": choice["index"], "text": "", "logprobs": None})
        into["text"] += choice["text"]
        into["finish_reason"] = choice["finish_reason"]
        if choice["logprobs"]:
            into["logprobs"] = into["logprobs"] or {key: [] for key in choice["logprobs"]}
            for key, values in choice["logprobs"].items():
                into["logprobs"][key] += values
    return [whole[index] for index in sorted(whole)]


def test_a_completion_has_every_field(complete: Post) -> None:
    answer = complete(prompt="def f(", seed=1).json()
    assert answer["object"] == "text_completion"
    assert answer["model"] == "tiny"
    assert answer["id"].startswith("cmpl-")
    assert re.fullmatch("fp_[0-9a-f]{16}", answer["system_fingerprint"])
    assert answer["usage"]["completion_tokens"] == 16, "as by default in OpenAI's API"
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"] is None


@pytest.mark.slow
def test_any_company_leaves_every_bit(complete: Post) -> None:
    asked = [{**one, "logprobs": 3} for one in ASKED]
    alone = [complete(**one).json()["choices"] for one in asked]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda one: complete(**one).json()["choices"], asked * 4))
    assert together == alone * 4


@pytest.mark.parametrize("asked", ASKED)
def test_a_stream_joined_is_the_whole(complete: Post, asked: dict[str, Any]) -> None:
    asked = {**asked, "logprobs": 2, "stop": ["e", "):"]}
    whole = complete(**asked).json()
    parts = chunks(complete(**asked, stream=True, stream_options={"include_usage": True}).text)
    assert joined(parts) == whole["choices"]
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"] == whole["usage"]
    assert all(part["usage"] is None for part in parts[:-1])
    assert {part["object"] for part in parts} == {"text_completion"}


def test_a_cached_prefix_leaves_every_bit(complete: Post, worker: Worker) -> None:
    asked = {"prompt": [7, 8, 9, 10] * 20, "max_tokens": 12, "seed": 9, "logprobs": 3, "echo": True}
    first, hits = complete(**asked).json()["choices"], worker._engine.figures().hits
    assert complete(**asked).json()["choices"] == first, "an echo is scored anew"
    silent = complete(**{**asked, "echo": False}).json()["choices"]
    assert worker._engine.figures().hits > hits
    assert silent[0]["logprobs"]["token_logprobs"] == first[0]["logprobs"]["token_logprobs"][80:]


def test_log_probabilities_are_raw_unless_processed_ones_are_asked_for(complete: Post) -> None:
    asked = {"prompt": "def ", "max_tokens": 12, "seed": 4, "temperature": 0.7, "top_k": 4, "logprobs": 5, "echo": True}
    raw, said, processed = (
        complete(**asked, logprobs_mode=mode).json()["choices"][0]
        for mode in (None, "raw_logprobs", "processed_logprobs")
    )
    assert raw == said
    assert raw["text"] == processed["text"]
    prompt = len(raw["logprobs"]["tokens"]) - 12
    assert raw["logprobs"]["token_logprobs"][:prompt] == processed["logprobs"]["token_logprobs"][:prompt]
    for top in processed["logprobs"]["top_logprobs"][prompt:]:
        assert sum(math.exp(value) for value in top.values()) == pytest.approx(1), "all that top_k leaves"
        assert sum(value > FLOOR for value in top.values()) == 4
    for top in raw["logprobs"]["top_logprobs"][prompt:]:
        assert sum(math.exp(value) for value in top.values()) < 0.999
    assert complete(prompt="a", logprobs_mode="raw_logprobs").json()["error"]["param"] == "logprobs_mode"


def test_a_client_that_waits_is_told_that_it_is_not_forgotten(
    complete: Post, slow: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palmetto.serving.worker.KEEP_ALIVE", 0.01)
    text = complete(prompt="def ", max_tokens=3, seed=1, stream=True).text
    assert text.count(": still working\n\n") >= 3
    assert len(chunks(text)) == 3


def test_equal_prompts_without_a_seed_get_answers_of_their_own(complete: Post) -> None:
    asked = {"prompt": [[5, 9, 300]] * 4, "max_tokens": 12, "temperature": 1}
    texts = {choice["text"] for choice in complete(**asked).json()["choices"]}
    assert len(texts) > 1
    assert len({choice["text"] for choice in complete(**asked, seed=7).json()["choices"]}) == 1, "each as if alone"


def test_usage_counts_all_prompts_and_choices(complete: Post) -> None:
    answer = complete(prompt=[[5, 6, 7], [8]], n=3, max_tokens=4, logit_bias={"1": -100}).json()
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 24, "total_tokens": 28}
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))


def test_what_lm_eval_asks_is_answered(complete: Post) -> None:
    contexts = [[5, 9, 300, 77], [11, 12]]
    asked = {"max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0, "seed": 1234}
    choices = complete(prompt=contexts, **asked).json()["choices"]
    for ids, choice in zip(contexts, choices, strict=True):
        logprobs = choice["logprobs"]
        assert len(logprobs["tokens"]) == len(ids) + 1
        assert logprobs["token_logprobs"][0] is None
        assert logprobs["top_logprobs"][0] is None
        for value, top in zip(logprobs["token_logprobs"][1:], logprobs["top_logprobs"][1:], strict=True):
            assert value <= max(top.values())
        assert logprobs["token_logprobs"][-1] == max(logprobs["top_logprobs"][-1].values())


def test_a_generated_end_of_document_is_one_entry(complete: Post, server: Server) -> None:
    eod = server.models["tiny"].vocabulary.eod
    choice = complete(prompt=[5], max_tokens=1, logprobs=1, echo=True, logit_bias={str(eod): 100}).json()["choices"][0]
    assert choice["logprobs"]["tokens"][1:] == ["[eod]"]
    assert choice["finish_reason"] == "stop"


def test_every_end_of_answers_ends_an_answer(
    complete: Post, client: httpx.Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = server.models["tiny"].vocabulary
    turn = next(piece.id for piece in vocabulary.pieces() if piece.name == SURROGATE)
    monkeypatch.setattr(vocabulary, "ends", (vocabulary.eod, turn))
    asked: dict[str, Any] = {"max_tokens": 6, "forced_tokens": [300, turn, 300]}
    answer = complete(prompt=[5], **asked).json()
    chat = client.post("/v1/chat/completions", json={"model": "tiny", "messages": CHAT, **asked}).json()
    [completed], [said], text = answer["choices"], chat["choices"], vocabulary.decode([300])
    assert (completed["text"], completed["finish_reason"], answer["usage"]["completion_tokens"]) == (text, "stop", 2)
    assert (said["message"]["content"], said["finish_reason"], chat["usage"]["completion_tokens"]) == (text, "stop", 2)


def test_scores_equal_those_of_generation(complete: Post, server: Server) -> None:
    vocabulary = server.models["tiny"].vocabulary
    prompt = [vocabulary.eod, *vocabulary.encode("def ").tolist()]
    asked = {"temperature": 2.0, "presence_penalty": 1.5, "top_k": 90, "logit_bias": {"1": -100}}
    made = complete(prompt=prompt, max_tokens=30, seed=2, logprobs=0, **asked).json()["choices"][0]
    ids = [server.models["tiny"].pieces.names.index(name) for name in made["logprobs"]["tokens"]]
    scored = complete(prompt=[*prompt, *ids], max_tokens=0, echo=True, logprobs=0).json()["choices"][0]
    assert scored["logprobs"]["token_logprobs"][len(prompt) :] == made["logprobs"]["token_logprobs"]


def test_one_end_of_document_stands_before_a_text(complete: Post, server: Server) -> None:
    vocabulary = server.models["tiny"].vocabulary
    asked = {"max_tokens": 20, "seed": 2, "logprobs": 1}
    for text, prompt in (("def f(", "def f("), ("", None)):
        ids = [vocabulary.eod, *vocabulary.encode(text).tolist()]
        by_ids, by_text = complete(prompt=ids, **asked).json(), complete(prompt=prompt, **asked).json()
        assert by_text["choices"] == by_ids["choices"]
        assert by_text["usage"] == by_ids["usage"]


def test_text_offsets_count_from_the_echo(complete: Post) -> None:
    choice = complete(prompt="a 日本 b", echo=True, logprobs=0, max_tokens=8, seed=5).json()["choices"][0]
    assert choice["text"].startswith("a 日本 b")
    logprobs = choice["logprobs"]
    assert logprobs["text_offset"][0] == 0
    ends = [*logprobs["text_offset"][1:], len(choice["text"])]
    for name, start, end in zip(logprobs["tokens"], logprobs["text_offset"], ends, strict=True):
        if not name.startswith("<0x") and name != "[eod]":
            assert choice["text"][start:end].endswith(name)


def test_a_seed_gives_different_choices_again(complete: Post) -> None:
    first, second = (complete(prompt="def ", n=3, seed=11).json()["choices"] for _ in range(2))
    assert first == second
    assert len({choice["text"] for choice in first}) == 3
    assert first[0] == complete(prompt="def ", n=1, seed=11).json()["choices"][0]


def test_without_a_seed_every_answer_is_new(complete: Post) -> None:
    assert len({complete(prompt="def ", max_tokens=20).json()["choices"][0]["text"] for _ in range(3)}) == 3


def test_greedy_is_the_same_by_temperature_and_top_k(complete: Post) -> None:
    cold = complete(prompt="def ", temperature=0, logprobs=1).json()["choices"]
    assert complete(prompt="def ", top_k=1, seed=9, logprobs=1).json()["choices"] == cold


def test_the_best_of_several_is_the_most_probable(complete: Post) -> None:
    asked = {"prompt": "def ", "seed": 3, "logprobs": 0, "max_tokens": 10}

    def mean(choice: dict[str, Any]) -> float:
        values = choice["logprobs"]["token_logprobs"]
        return float(sum(values) / len(values))

    several = complete(**asked, n=5).json()
    best = complete(**asked, n=2, best_of=5).json()
    wanted = sorted(several["choices"], key=mean, reverse=True)[:2]
    assert [choice["text"] for choice in best["choices"]] == [choice["text"] for choice in wanted]
    assert best["usage"] == several["usage"]


@pytest.mark.parametrize("count", range(21))
def test_every_number_of_logprobs_works(complete: Post, count: int) -> None:
    logprobs = complete(prompt="def ", max_tokens=2, temperature=0, logprobs=count).json()["choices"][0]["logprobs"]
    assert [len(top) for top in logprobs["top_logprobs"]] == [max(1, count)] * 2


def test_a_stop_string_ends_before_it(complete: Post) -> None:
    free = complete(prompt="def ", max_tokens=40, seed=6).json()["choices"][0]["text"]
    stop = free[5:8]
    answer = complete(prompt="def ", max_tokens=40, seed=6, stop=stop).json()
    assert answer["choices"][0] == {
        "index": 0,
        "text": free[: free.index(stop)],
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert answer["usage"]["completion_tokens"] < 40


def test_a_choice_that_is_stopped_frees_its_row(complete: Post, slow: Worker) -> None:
    asked = {"prompt": "def ", "max_tokens": 24, "seed": 6, "n": 2, "logit_bias": {"1": -100}}
    first, second = (choice["text"] for choice in complete(**asked).json()["choices"])
    stop = next(first[i : i + 3] for i in range(3, len(first)) if first[i : i + 3] not in second)
    asked_of, step = slow._engine, slow._engine.step
    running = list[int]()

    def counting() -> Any:
        running.append(asked_of.figures().running)
        return step()

    with unittest.mock.patch.object(asked_of, "step", counting):
        choices = complete(**asked, stop=stop).json()["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "length"]
    assert [choice["text"] for choice in choices] == [first[: first.index(stop)], second]
    assert running.count(1) > 5, "the second alone"
    until(lambda: not slow.running and not slow._engine.busy)


def test_every_choice_has_the_scores_of_the_prompt(complete: Post) -> None:
    asked = {"prompt": ["def ", "a"], "echo": True, "logprobs": 2, "max_tokens": 0, "n": 2}
    whole = complete(**asked).json()["choices"]
    assert len(whole[0]["logprobs"]["tokens"]) > 1
    assert [choice["logprobs"] for choice in whole[::2]] == [choice["logprobs"] for choice in whole[1::2]]
    assert joined(chunks(complete(**asked, stream=True).text)) == whole


def test_a_forbidden_token_never_comes(complete: Post, server: Server) -> None:
    asked = {"prompt": "def ", "max_tokens": 1, "temperature": 0, "logprobs": 0}
    name = complete(**asked).json()["choices"][0]["logprobs"]["tokens"][0]
    id = server.models["tiny"].pieces.names.index(name)
    other = complete(**asked, logit_bias={str(id): -100}).json()["choices"][0]["logprobs"]["tokens"][0]
    assert other != name
    forced = complete(**asked, logit_bias={"77": 100}).json()["choices"][0]["logprobs"]["tokens"][0]
    assert forced == server.models["tiny"].pieces.names[77]


def test_no_character_breaks_a_line_of_a_stream(complete: Post) -> None:
    prompt = "a\u2028b\u2029c\x85d\x0be\u65e5"
    text = complete(prompt=prompt, echo=True, max_tokens=4, seed=1, stream=True).text
    assert all(line.startswith("data: ") for line in text.splitlines() if line)
    assert joined(chunks(text))[0]["text"].startswith(prompt)


def test_no_answer_holds_what_json_cannot(complete: Post) -> None:
    text = complete(prompt="def ", n=8, seed=1, temperature=5, max_tokens=60, logprobs=20).text
    assert "NaN" not in text
    assert "Infinity" not in text
    text.encode()
    json.dumps(json.loads(text), ensure_ascii=False).encode()


@settings(max_examples=25)
@given(
    asked=st.fixed_dictionaries(
        {"prompt": st.one_of(st.none(), st.text("ab é🙂\x00", max_size=20), st.lists(st.integers(0, 399), min_size=1))},
        optional={
            "temperature": st.floats(0, 3),
            "top_p": st.floats(0.01, 1),
            "top_k": st.integers(1, 500),
            "n": st.integers(1, 3),
            "max_tokens": st.integers(0, 12),
            "echo": st.booleans(),
            "logprobs": st.integers(0, 20),
            "presence_penalty": st.floats(-2, 2),
            "stop": st.lists(st.text("ab é", min_size=1, max_size=3), max_size=3),
        },
    )
)
def test_any_valid_parameters_stream_as_a_whole(complete: Post, asked: dict[str, Any]) -> None:
    whole = complete(**asked, seed=1)
    assert whole.status_code == 200, whole.text
    assert joined(chunks(complete(**asked, seed=1, stream=True).text)) == whole.json()["choices"]
