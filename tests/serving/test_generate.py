"""`palmetto generate`, in processes of its own and in this one."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palmetto.cli.app import app
from palmetto.cli.generate import _named
from palmetto.decoding.continuing import Continued
from palmetto.decoding.grammar import Grammars
from palmetto.decoding.request import Request
from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from palmetto.workflow import entering
from tests.decoding.engines import engine
from tests.references.constraints import Ends, Free
from tests.serving.test_command import command


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
        (["--beams", "4", "--temperature", "0.5"], "--ban and --force, which beams do not take"),
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


def test_options_of_generate_hold_for_every_continuation(
    run: RunDirectory, capfd: pytest.CaptureFixture[str], here: None
) -> None:
    def generated(*options: str) -> str:
        app(["generate", str(run.path), "--prompt", "def ", "--tokens", "40", *options], standalone_mode=False)
        return capfd.readouterr().out

    free = json.loads(generated("--seed", "6", "--json"))
    stop = free["text"][5:8]
    stopped = json.loads(generated("--seed", "6", "--json", "--stop", stop, "--logprobs", "2"))
    assert stopped["text"] == free["text"][: free["text"].index(stop)]
    assert [len(top) for top in stopped["top"]] == [2] * len(stopped["tokens"])
    assert stopped["logprobs"] == free["logprobs"][: len(stopped["tokens"])]
    fields = {"properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
    schema = {"type": "object", **fields}
    texts = generated("--n", "2", "--json-schema", json.dumps(schema))
    first, *parts = re.split(r"───── text 1, continuation (?:1|2)\n", texts)
    assert first == ""
    assert len(parts) == 2
    for part in parts:
        assert type(json.loads(part.removeprefix("def "))["a"]) is bool


def test_generate_forces_a_text_and_bans_tokens(
    run: RunDirectory, capfd: pytest.CaptureFixture[str], here: None
) -> None:
    def generated(*options: str) -> Any:
        given = ["generate", str(run.path), "--prompt", "def ", "--tokens", "9", "--json", *options]
        app(given, standalone_mode=False)
        return json.loads(capfd.readouterr().out)

    forced = generated("--force", "self.x")
    assert forced["text"].startswith("self.x")
    assert len(forced["logprobs"]) == len(forced["tokens"]) == 9
    last = forced["tokens"][-1]
    assert last not in generated("--force", "self.x", "--ban", str(last))["tokens"]
    with pytest.raises(UserError, match=r"^--ban: token 400; expected tokens from 0 to 399"):
        generated("--ban", "400")
    with pytest.raises(UserError, match=r"^--force: token [0-9]+ is banned too"):
        generated("--force", "self.x", "--ban", str(forced["tokens"][0]))


def test_generate_tells_what_does_not_match(
    run: RunDirectory, capfd: pytest.CaptureFixture[str], here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter([Ends, Free])
    monkeypatch.setattr(Grammars, "regex", lambda self, pattern: lambda: next(made)())
    arguments = ["generate", str(run.path), "--prompt", "def ", "--n", "2", "--regex", "a", "--tokens", "4", "--json"]
    assert app(arguments, standalone_mode=False) == 1
    answer = capfd.readouterr()
    assert [json.loads(line).get("finish") for line in answer.out.splitlines()] == ["dead_end", None]
    assert "text 1, continuation 1: no token can follow" in answer.err
