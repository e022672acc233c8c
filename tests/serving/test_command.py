"""`palmetto serve` and `palmetto generate` in processes of their own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from palmetto.cli.app import app
from palmetto.cli.generate import _named
from palmetto.decoding.continuing import Continued
from palmetto.decoding.request import Request
from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from palmetto.workflow import entering
from tests.decoding.engines import engine
from tests.serving.conftest import until

SMALL = ("--rows", "8", "--longest", "160")


def command(*arguments: object) -> "subprocess.Popen[str]":
    environment = {key: value for key, value in os.environ.items() if key not in ("NPROC", "XLA_FLAGS")}
    return subprocess.Popen(
        [sys.executable, "-m", "palmetto", *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def serving(*arguments: object) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Starts a server on a free port; yields its process and the first line of its output."""
    process = command("serve", *arguments, *SMALL, "--port", 0)
    assert process.stdout is not None
    assert process.stderr is not None
    threading.Thread(target=process.stderr.read).start()  # the log, which must not fill its pipe
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait()


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


@pytest.mark.slow
def test_a_second_signal_ends_at_once(run: RunDirectory) -> None:
    with serving(run.path, "--drain", 600) as (process, line):
        name, _, url = line.removeprefix("serving ").strip().partition(" at ")
        assert name == "tiny"
        body = {"model": "tiny", "prompt": ["def "] * 200, "max_tokens": 150, "stream": True}
        with (
            httpx.Client(base_url=url, timeout=30) as client,
            client.stream("POST", "/v1/completions", json=body) as on,
        ):
            next(on.iter_lines())
            process.send_signal(signal.SIGTERM)
            until(lambda: _refused(url))
            assert process.poll() is None, "200 prompts are not finished"
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


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


def test_generate_answers_a_file_in_order(run: RunDirectory, tmp_path: Path) -> None:
    prompts = ["def f(", "", "import os\n", "é🙂"]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    asked = ("generate", run.path, "--tokens", 6, "--seed", 3)
    out, err = command(*asked, "--prompts", tmp_path / "prompts.jsonl", "--json").communicate()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["prompt"] for answer in answers] == prompts, err
    for answer in answers:
        assert set(answer) == {"prompt", "text", "tokens", "logprobs"}
        assert len(answer["tokens"]) == len(answer["logprobs"]) <= 6
        assert all(number <= 0 for number in answer["logprobs"])
    out, err = command(*asked, "--prompt", prompts[0], "--json").communicate()
    assert json.loads(out) == answers[0], err


@pytest.mark.slow
def test_generate_talks_with_a_person(run: RunDirectory) -> None:
    asked = ("generate", run.path, "--tokens", 8, "--temperature", 0)
    alone = [command(*asked, "--prompt", prompt).communicate()[0] for prompt in ("def f(", "import ")]
    out, _ = command(*asked, "--interactive").communicate("def f(\nimport \n")
    assert out == "".join(alone)
    several, _ = command(*asked, "--prompt", "def f(", "--n", 2, "--json").communicate()
    assert [json.loads(line)["prompt"] for line in several.splitlines()] == ["def f("] * 2


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a command run in this process, whose environment is that of the tests."""
    monkeypatch.setattr(entering, "enter_to_read", lambda run, say, overrides: None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beams", "4", "--temperature", "0.5"], "--beams 4: expected without --temperature"),
        (["--beams", "9"], "--beams 9: expected 1, which --n asks for, to 8"),
        (["--beams", "2", "--regex", "a"], "--beams 2: expected without --json-schema and --regex"),
        (["--json-schema", "{binary}"], "not JSON"),
        (["--json-schema", ""], "--json-schema '': expected a JSON schema"),
        (["--regex", "[a&&b]"], "--regex: no text can match it"),
        (["--regex", "a\udcff"], "--regex"),
        (["--tokens", str(10**12)], f"--tokens {10**12}"),
    ],
)
def test_what_cannot_be_generated_is_refused_by_name(
    run: RunDirectory, tmp_path: Path, capfd: pytest.CaptureFixture[str], here: None, arguments: list[str], message: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    given = [argument.replace("{binary}", str(tmp_path / "binary")) for argument in arguments]
    with pytest.raises(UserError, match=message):
        app(["generate", str(run.path), "--prompt", "def ", *given], standalone_mode=False)
    assert capfd.readouterr().out == ""


def test_what_the_engine_refuses_has_the_options_name() -> None:
    def refused() -> Iterator[list[Continued]]:
        engine("grouped queries").submit(Request((1, 2), 200, beams=4, choices=2))
        yield []

    with pytest.raises(UserError, match=r"^--beams: 4 beams, each of 40 positions, take 40 blocks of cache"):
        list(_named(refused()))


def test_beams_are_greedy_by_default(run: RunDirectory, capfd: pytest.CaptureFixture[str], here: None) -> None:
    app(["generate", str(run.path), "--prompt", "def ", "--beams", "2", "--tokens", "3"], standalone_mode=False)
    assert capfd.readouterr().out.startswith("def ")
