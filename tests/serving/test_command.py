"""`palmetto serve` in a process of its own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from palmetto.runs.directory import RunDirectory
from tests.serving.conftest import until

SMALL = ("--rows", "8", "--longest", "160")


HELD = """
import threading, time
from palmetto.cli.app import main
from palmetto.workflow import entering

enter, given = entering.enter_to_read, []

def entered(*arguments):
    enter(*arguments)
    from palmetto.decoding.engine import Engine

    step = Engine.step

    def held(engine):
        if len(engine._open) == 2:
            threading.Event().wait()
        if given:
            time.sleep(0.01)
            return []
        events = step(engine)
        given.extend(event for event in events if event.tokens)
        return events

    Engine.step = held

entering.enter_to_read = entered
main()
"""
"""The command line, but an engine makes no token after the first, and never ends a step for two requests."""


def command(*arguments: object, program: tuple[str, str] = ("-m", "palmetto")) -> "subprocess.Popen[str]":
    environment = {key: value for key, value in os.environ.items() if key not in ("NPROC", "XLA_FLAGS")}
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def serving(
    *arguments: object, program: tuple[str, str] = ("-m", "palmetto"), log: list[str] | None = None
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Starts a server on a free port; yields its process and the first line of its output.

    log: gets the lines of standard error.
    """
    process = command("serve", *arguments, *SMALL, "--port", 0, program=program)
    assert process.stdout is not None
    assert process.stderr is not None
    reading = threading.Thread(target=([] if log is None else log).extend, args=(process.stderr,))
    reading.start()  # since the log must not fill its pipe
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        reading.join()


def test_a_server_ends_with_what_it_has_begun(run: RunDirectory) -> None:
    with serving(run.path, "--json", "--drain", 20) as (process, line):
        ready = json.loads(line)
        assert ready["model"] == "tiny"
        assert ready["url"].startswith("http://127.0.0.1:")
        with httpx.Client(base_url=ready["url"], timeout=30) as client:
            asked = {"model": "tiny", "prompt": "def ", "max_tokens": 150, "seed": 1, "stream": True}
            asked["logit_bias"] = {"1": -100}
            with client.stream("POST", "/v1/completions", json=asked) as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith("data: ")
                process.send_signal(signal.SIGTERM)
                until(lambda: _refused(ready["url"]))
                rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        assert process.wait(20) == 0


def test_clients_are_told_when_the_drain_is_over(run: RunDirectory) -> None:
    log = list[str]()
    with serving(run.path, "--json", "--drain", 1, program=("-c", HELD), log=log) as (process, line):
        url = json.loads(line)["url"]
        path, asked = f"{url}/v1/completions", {"model": "tiny", "prompt": "def ", "max_tokens": 100, "seed": 1}
        asked["logit_bias"] = {"1": -100}
        streamed = httpx.stream("POST", path, json={**asked, "stream": True}, timeout=60)
        with ThreadPoolExecutor() as pool, streamed as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: ")
            whole = pool.submit(httpx.post, path, json=asked, timeout=60)
            until(lambda: _prompts(url) == 2)
            process.send_signal(signal.SIGTERM)
            *_, last = [line for line in lines if line]
            refused = whole.result()
        assert process.wait(20) == 0, "although a step does not end"
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "shutting_down"
    assert "Traceback" not in "".join(log)
    answered = [json.loads(line) for line in log if '"/v1/completions"' in line]
    assert sorted(line["status"] for line in answered) == [200, 503]


def _prompts(url: str) -> float:
    """Returns how many prompts wait or run."""
    text = httpx.get(f"{url}/metrics", timeout=20).text
    return sum(map(float, re.findall(r'palmetto_prompts_(?:waiting|running){model="tiny"} (\S+)', text)))


@pytest.mark.slow
def test_a_second_signal_ends_at_once(run: RunDirectory) -> None:
    log = list[str]()
    with serving(run.path, "--drain", 600, log=log) as (process, line):
        name, _, url = line.removeprefix("serving ").strip().partition(" at ")
        assert name == "tiny"
        body = {"model": "tiny", "prompt": ["def "] * 200, "max_tokens": 150, "stream": True}
        with (
            httpx.Client(base_url=url, timeout=30) as client,
            client.stream("POST", "/v1/completions", json=body) as on,
        ):
            lines = on.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            until(lambda: _refused(url))
            assert process.poll() is None, "200 prompts are not finished"
            process.send_signal(signal.SIGTERM)
            *_, last = [line for line in lines if line]
            assert process.wait(20) == 0
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert "Traceback" not in "".join(log)


def _refused(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", timeout=5)
    except httpx.TransportError:
        return True
    return False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{here}"], "not a run directory"),
        (["{run}", "--host", "256.1.1.1"], "--host 256.1.1.1"),
        (["{run}", "--api-key-file", "{here}/empty"], "no key in it"),
        (["{run}", "{run}/../tiny"], "expected directories of different names"),
        (["{run}", "mesh.stage=2"], "mesh.stage=2"),
        (["{run}", "--host", "a" * 70], "no name of a host"),
        (
            ["{run}", "--longest", "1000000", "--cache", "1"],
            "--longest 1000000 --cache 1: a sequence of 1000000 positions",
        ),
        (["{run}", "--longest", "1" + "0" * 12, "--cache", "1" + "0" * 11], "more memory than there is"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    run: RunDirectory, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").touch()
    given = [argument.format(here=tmp_path, run=run.path) for argument in arguments]
    process = command("serve", *given)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    last = err.splitlines()[-1]
    assert last.startswith("palmetto: ")
    assert message in last
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "guesses", [("--lookup",), ("--draft", "{run}"), ("mesh.data=2",), ("mesh.data=2", "mesh.model=2")]
)
def test_guesses_and_meshes_leave_the_text_as_it_is(run: RunDirectory, guesses: tuple[str, ...]) -> None:
    asked = ("generate", run.path, "--prompt", "def f(def f(", "--tokens", 12, "--temperature", 0, "--json")
    alone, err = command(*asked).communicate()
    guessed, error = command(*asked, *(word.format(run=run.path) for word in guesses)).communicate()
    assert json.loads(guessed)["tokens"] == json.loads(alone)["tokens"], err + error
    if guesses[0].startswith("--"):
        assert guessed == alone, "to the bit"


@pytest.mark.slow
def test_a_server_with_a_draft_has_the_same_fingerprint(run: RunDirectory) -> None:
    asked = {"model": "tiny", "prompt": "def ", "max_tokens": 12, "seed": 1, "logprobs": 2}
    answers = []
    for guesses in ((), ("--draft", run.path), ("--lookup",)):
        with serving(run.path, "--json", *guesses) as (_, line):
            url = json.loads(line)["url"]
            answer = httpx.post(f"{url}/v1/completions", json=asked, timeout=60).json()
            answers.append((answer["system_fingerprint"], answer["choices"]))
            figures = httpx.get(f"{url}/metrics").text
        drafted = re.search(r'figure="drafted",model="tiny"} (\S+)', figures)
        assert drafted is not None
        assert (float(drafted[1]) > 0) == ("--draft" in guesses)
    assert answers == [answers[0]] * 3
