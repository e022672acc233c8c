"""The report of a drill, and its verdict."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from palmetto.cli.drill import drill
from palmetto.drills import running
from palmetto.drills.catalogue import DRILLS, Drill
from palmetto.drills.report import PromiseBroken, Report, Undecided
from palmetto.drills.workplace import Workplace
from palmetto.errors import RunStopped

ROWS = {
    "undisturbed": {"parameters": "a" * 64, "ledger": "b" * 64},
    "disturbed": {"parameters": "a" * 64, "ledger": "c"},
}


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def report(told: list[str]) -> Report:
    return Report("nan", "all is well", told.append)


def test_a_story_is_told_and_kept(report: Report, told: list[str]) -> None:
    report.do("pull the plug")
    report.quote(["ouch"])
    report.quote_events([{"text": "going on", "event": "resume"}])
    report.found("it went on")
    report.compare(ROWS)
    report.check("it went on", True, "it did not")
    report.conclude(None)
    assert (
        "\n".join(told)
        == """drill nan
the promise: all is well

· pull the plug
    | ouch
    | going on
    it went on

               parameters        ledger
  undisturbed  aaaaaaaaaaaaaaaa  bbbbbbbbbbbbbbbb
  disturbed    aaaaaaaaaaaaaaaa  c

✓ it went on

the promise held"""
    )
    assert report.values() == {
        "drill": "nan",
        "promise": "all is well",
        "held": True,
        "broken": None,
        "undecided": None,
        "story": [{"do": "pull the plug", "said": ["ouch", "going on"], "found": ["it went on"]}],
        "digests": ROWS,
        "checks": ["it went on"],
    }


def test_different_digests_break_the_promise(report: Report) -> None:
    report.compare(ROWS)
    report.check_same("undisturbed", "undisturbed")
    message = r"disturbed as undisturbed: the same parameters and ledger\? No: not the same ledger"
    with pytest.raises(PromiseBroken, match=message):
        report.check_same("disturbed", "undisturbed")
    assert report.checks == ["undisturbed as undisturbed: the same parameters and ledger"]


@pytest.mark.parametrize("lacks", ["undisturbed", "disturbed"])
def test_a_missing_digest_breaks_the_promise(report: Report, lacks: str) -> None:
    rows = {"undisturbed": {"ledger": "a"}, "disturbed": {"ledger": "a"}}
    rows["disturbed" if lacks == "undisturbed" else "undisturbed"]["parameters"] = "b"
    report.compare(rows)
    with pytest.raises(PromiseBroken, match="not the same parameters"):
        report.check_same("disturbed", "undisturbed")


def break_promise(place: Workplace, report: Report) -> None:
    report.do("nothing")
    report.check("it rains", False, "the sun shines")


def stumble(place: Workplace, report: Report) -> None:
    report.do("nothing")
    raise KeyError("a field\nthat a run did not write")


def interrupt(place: Workplace, report: Report) -> None:
    raise KeyboardInterrupt


def terminate(place: Workplace, report: Report) -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_broken_promise_keeps_its_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], as_json: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(DRILLS, "nan", Drill("it rains", break_promise))
    with pytest.raises(RunStopped, match=r"drill nan: it rains\? No: the sun shines \(kept for a look: ") as stopped:
        drill("nan", as_json)
    (folder,) = tmp_path.iterdir()
    assert str(folder.resolve()) in str(stopped.value)
    assert (folder / "text").is_dir()
    out, err = capfdbinary.readouterr()
    assert b"the promise held" not in out + err
    assert ("✗ it rains? No: the sun shines" in out.decode()) == (not as_json)
    assert (b'"held": false' in out) == as_json


def test_a_busy_machine_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def be_late(place: Workplace, report: Report) -> None:
        raise Undecided("an end? No: others were\nat work")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(DRILLS, "nan", Drill("", be_late))
    with pytest.raises(typer.Exit) as stopped:
        drill("nan", True)
    assert stopped.value.exit_code == 3
    assert not list(tmp_path.iterdir())
    out, err = capfdbinary.readouterr()
    assert b'"held": null' in out
    assert b"drill nan: no verdict: an end? No: others were at work" in err


def test_an_unforeseen_error_breaks_the_promise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: list[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(DRILLS, "nan", Drill("", stumble))
    report = running.run("nan", told.append)
    (folder,) = tmp_path.iterdir()
    assert report.broken is not None
    assert report.broken.startswith("KeyError: 'a field\\nthat a run did not write'; more is in traceback.txt (kept")
    assert str(folder.resolve()) in report.broken
    assert "in stumble" in (folder / "traceback.txt").read_text()
    assert told[-1] == f"\n✗ {report.broken}"


@pytest.mark.parametrize("end", [interrupt, terminate])
def test_an_interrupted_drill_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: list[str], end: Callable[[Workplace, Report], None]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(DRILLS, "nan", Drill("", end))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        running.run("nan", told.append)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) == before
