"""Tests what those who run a server rely on: keys, logs, health, metrics, and that nobody's leaving leaks."""

import asyncio
import contextlib
import hmac
import json
import logging
import math
import socket
import threading
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from palmetto.serving import heads
from palmetto.serving.answers import FLOOR, number
from palmetto.serving.app import application
from palmetto.serving.metrics import Metrics
from palmetto.serving.server import hosts, listen
from palmetto.serving.state import Server
from palmetto.serving.worker import Worker
from tests.references.panic import Panic
from tests.serving.conftest import Post, until

LONG = {"model": "tiny", "prompt": "def ", "max_tokens": 120, "seed": 1, "logit_bias": {"1": -100}}


def leave(url: str, asked: dict[str, object], after: bytes) -> None:
    """Sends a request by hand and closes the connection once `after` has come, or at once if it is empty."""
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        received = b""
        while after not in received:
            received += connection.recv(4096)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_rows(url: str, slow: Worker, stream: bool) -> None:
    leave(url, {**LONG, "stream": stream, "n": 4}, b"data: " if stream else b"")
    until(lambda: not slow.running and not slow.waiting, seconds=3)  # the answer would take 6 seconds
    assert not slow._engine.busy or slow._engine.figures().running == 0


def test_vanishing_clients_change_nobodys_bits(url: str, complete: Post, worker: Worker) -> None:
    alone = complete(**LONG, logprobs=2).json()["choices"]
    threads = [threading.Thread(target=leave, args=(url, {**LONG, "stream": True}, b"data: ")) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert complete(**LONG, logprobs=2).json()["choices"] == alone
    for thread in threads:
        thread.join()
    until(lambda: not worker.running and not worker.waiting)
    blocks = worker._engine.figures()
    assert blocks.blocks_used == 0


def test_half_a_request_leaves_nothing_behind(url: str, complete: Post) -> None:
    host, port = url.removeprefix("http://").split(":")
    for part in (
        b"POST /v1/comp",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99\r\n\r\n{",
        b"\x16\x03\x01\x02",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(part)
    assert complete(prompt="a", max_tokens=1).status_code == 200


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


WHOLE = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"POST /v1/completions HTTP/1.1\r\nContent-Ty", WHOLE + b"GET /he"])
def test_a_head_that_never_ends_closes_the_connection(url: str, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(heads, "SECONDS", 0.2)
    with connected(url) as connection:
        for part in (sent[: len(WHOLE)], sent[len(WHOLE) :]) if sent.startswith(WHOLE) else (sent,):
            connection.sendall(part)
            if part == WHOLE:
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        while connection.recv(4096):
            pass  # nothing comes when the connection is closed


def test_a_head_without_end_is_not_kept(url: str) -> None:
    line, sent = b"x-filler: " + b"a" * 8000 + b"\r\n", 0
    with connected(url) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        while sent < 100 << 20:
            connection.sendall(line)
            sent += len(line)
    assert sent < 20 << 20


def test_answers_may_take_longer_than_heads(url: str, slow: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "SECONDS", 0.2)
    with httpx.Client(base_url=url, timeout=30) as client:
        for _ in range(2):
            assert client.post("/v1/completions", json={**LONG, "max_tokens": 8}).status_code == 200


def test_keys_are_needed_where_there_are_any(limited: Callable[..., TestClient]) -> None:
    client = limited(keys=("first", "second"))
    for header, status in (
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        ("Bearer firs", 401),
        ("Basic first", 401),
        ("Bearer first", 200),
        ("bearer second", 200),
    ):
        for path in ("/v1/models", "/metrics", "/tokenizer_info"):
            response = client.get(path, headers={"authorization": header} if header else {})
            assert response.status_code == status, (header, path)
            assert response.headers["x-request-id"].startswith("req_")
    assert client.post("/v1/completions", json={}).json()["error"]["code"] == "invalid_api_key"
    assert client.get("/health").status_code == client.get("/").status_code == 200


def test_every_key_is_compared_as_a_whole(monkeypatch: pytest.MonkeyPatch, limited: Callable[..., TestClient]) -> None:
    compared, original = list[tuple[bytes, bytes]](), hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return original(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    limited(keys=("first", "second")).get("/v1/models", headers={"authorization": "Bearer first"})
    assert len(compared) == 2, "the second too, although the first matches"
    assert {len(digest) for pair in compared for digest in pair} == {32}


def test_the_log_tells_no_prompts(limited: Callable[..., TestClient], caplog: pytest.LogCaptureFixture) -> None:
    client = limited()
    with caplog.at_level(logging.INFO, "palmetto.serving"):
        client.post("/v1/completions", json={"model": "tiny", "prompt": "a secret", "max_tokens": 2})
        client.get("/a secret?of=a secret")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "palmetto.serving"]
    assert [(line["path"], line["status"]) for line in lines] == [("/v1/completions", 200), ("other", 404)]
    assert lines[0]["model"] == "tiny"
    assert lines[0]["generated_tokens"] == 2
    assert "secret" not in json.dumps(lines)


def test_health_follows_the_steps_of_the_engine(
    limited: Callable[..., TestClient], worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = limited(stalled=0.3)
    assert client.get("/health").json()["status"] == "ok"
    step, goes_on = worker._engine.step, threading.Event()
    monkeypatch.setattr(worker._engine, "step", lambda: goes_on.wait() and step())
    asking = threading.Thread(target=client.post, args=("/v1/completions",), kwargs={"json": LONG})
    asking.start()
    until(lambda: client.get("/health").status_code == 503)
    assert "no step has ended" in client.get("/health").json()["models"]["tiny"]
    assert client.get("/metrics").status_code == 200
    goes_on.set()
    asking.join()
    assert client.get("/health").status_code == 200


def test_metrics_count_what_happens(complete: Post, client: httpx.Client) -> None:
    def values() -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return {(sample.name, sample.labels.get("figure", "")): sample.value for sample in samples}

    before = values()
    complete(prompt=[5] * 40, max_tokens=9, n=2, logit_bias={"1": -100})
    complete(prompt=[5] * 40, max_tokens=9, n=2, logit_bias={"1": -100})
    after = values()

    def grown(name: str, figure: str = "") -> float:
        return after[name, figure] - before[name, figure]

    assert grown("palmetto_prompt_tokens_total") == 80
    assert grown("palmetto_generated_tokens_total") == 36
    assert grown("palmetto_time_to_first_token_seconds_count") == 2
    assert grown("palmetto_time_between_tokens_seconds_count") == 32
    assert grown("palmetto_engine", "hits") >= 32
    assert after["palmetto_prompts_waiting", ""] == after["palmetto_prompts_running", ""] == 0


def test_a_model_may_have_the_name_of_an_organization(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    other = server._replace(models={"org/tiny": server.models["tiny"]}, metrics=Metrics())
    client = TestClient(application(other))
    with caplog.at_level(logging.INFO, "palmetto.serving"):
        assert client.get("/v1/models/org/tiny").json()["id"] == "org/tiny"
        assert client.get("/v1/models/a-secret").status_code == 404
    paths = [json.loads(record.getMessage())["path"] for record in caplog.records if record.name == "palmetto.serving"]
    assert paths == ["/v1/models/{model}"] * 2
    assert 'palmetto_http_responses_total{route="/v1/models/{model}",status="404"} 1.0' in other.metrics.text().decode()


def test_the_tokenizer_is_lossless_over_http(client: httpx.Client, server: Server) -> None:
    for text in ("def héllo\n\t 日本🙂", "", "[eod]", "\x00\u2581"):
        ids = client.post("/tokenize", json={"prompt": text}).json()["tokens"]
        assert ids == server.models["tiny"].vocabulary.encode(text).tolist()
        assert client.post("/detokenize", json={"tokens": ids}).json() == {"prompt": text}
    info = client.get("/tokenizer_info").json()
    assert info["eos_token_id"] == server.models["tiny"].vocabulary.eod
    assert client.post("/tokenize", json={"prompt": "", "add_special_tokens": True}).json()["tokens"] == [
        info["eos_token_id"]
    ]
    assert client.post("/detokenize", json={"tokens": [400]}).json()["error"]["param"] == "tokens"


@pytest.mark.parametrize("kind", [RuntimeError, Panic])
def test_a_failed_engine_is_an_error_and_unhealthy(
    server: Server, limited: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    served = server.models["tiny"]
    engine = served.current.worker._engine
    other = Worker(engine, served._meter)
    monkeypatch.setattr(served, "current", served.current._replace(worker=other))

    def fail() -> None:
        raise kind("broken")

    monkeypatch.setattr(engine, "step", fail)
    client = limited()
    for _ in range(2):
        response = client.post("/v1/completions", json={**LONG, "max_tokens": 2})
        assert response.status_code == 500
        assert "broken" in response.json()["error"]["message"]
    assert client.get("/health").status_code == 503
    other.close()


def test_no_error_ends_the_watch_for_checkpoints(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    served, looks = server.models["tiny"], list[int]()

    def broken(run: RunDirectory) -> None:
        looks.append(1)
        raise KeyError("damaged")

    monkeypatch.setattr(RunDirectory, "newest_manifest", property(broken))

    async def watch() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(served.follow(0.001), 0.2)

    asyncio.run(watch())
    assert len(looks) > 1


def test_json_can_hold_every_log_probability() -> None:
    given = (None, -0.5, -math.inf, math.nan)
    assert [number(logprob) for logprob in given] == [None, -0.5, FLOOR, FLOOR]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("LOCALHOST.:80", 200), ("mine", 200)),
        *(("evil.example", 421), ("127.0.0.1.evil.example:8000", 421), ("localhost.evil", 421), ("", 421)),
    ],
)
def test_a_server_on_loopback_answers_to_its_names_only(
    limited: Callable[..., TestClient], host: str, status: int
) -> None:
    opened = listen("127.0.0.1", 0)
    client = limited(hosts=hosts(opened, "127.0.0.1", ["Mine"]))
    opened.close()
    for path in ("/", "/v1/models", "/health"):
        assert client.get(path, headers={"host": host}).status_code == status


@pytest.mark.parametrize("name", ["", "http://mine", "mine:80", "10.0.0.1:80", "a b", "m\u00efne", "[::1"])
def test_a_name_that_no_client_sends_is_refused(name: str) -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as opened:
        assert "[::2]" in hosts(opened, "127.0.0.1", ["::2", "models_1.example"])
        with pytest.raises(UserError, match=r"--allowed-host .*: expected the name or address of a host alone"):
            hosts(opened, "127.0.0.1", [name])


def test_a_server_elsewhere_answers_to_any_name_unless_told() -> None:
    with contextlib.closing(listen("0.0.0.0", 0)) as opened:
        assert hosts(opened, "0.0.0.0", []) == ()
        assert "models.example" in hosts(opened, "0.0.0.0", ["models.example"])
