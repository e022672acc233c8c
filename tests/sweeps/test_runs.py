"""Training the points of a sweep."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.files import read_json, write_json, write_text
from palmetto.json_lines import read_json_lines
from palmetto.recipe.loading import load
from palmetto.runs import stamps
from palmetto.runs.directory import RunDirectory
from palmetto.sweeps import children, outcomes
from palmetto.sweeps.children import Member
from palmetto.sweeps.plan import Plan, plan
from tests.sweeps.conftest import TINY, call, files, planned, start


def members(made: Plan) -> list[Member]:
    return [made.member(point) for point in made.points]


def test_a_finished_stage_is_adopted_but_not_shared(tmp_path: Path) -> None:
    ours, other = RunDirectory(tmp_path / "ours"), RunDirectory(tmp_path / "other")
    write_text(other.train_store, "tokens")
    write_json(other.stamps / "tokens.json", {"inputs": "x", "outputs": {"tokens/train.bin": "y"}})
    stamps.adopt(ours, other, "tokens")
    assert ours.train_store.samefile(other.train_store)
    assert read_json(ours.stamps / "tokens.json") == read_json(other.stamps / "tokens.json")
    write_text(ours.train_store, "others")
    assert other.train_store.read_text() == "tokens"
    stamps.adopt(ours, other, "tokens")
    assert ours.train_store.read_text() == "others", "what a run has is kept"


def test_tokens_are_taken_from_points_with_the_same(tiny: Path) -> None:
    made = members(planned(tiny, "tokens.sequence_length=16,32"))
    for point in made[:-1]:
        write_text(point.run.vocabulary, "vocabulary")
        write_json(point.run.stamps / "vocabulary.json", {"inputs": "", "outputs": {"vocabulary.model": ""}})
    for point in made[1:3]:
        write_text(point.run.train_store, str(point.run.path))
        write_json(point.run.stamps / "tokens.json", {"inputs": "", "outputs": {"tokens/train.bin": ""}})
    last = made[-1]
    children.borrow(last, made)
    assert last.run.vocabulary.samefile(made[0].run.vocabulary)
    assert not last.run.train_store.exists(), "one has another seed, the other another length"
    same = members(planned(tiny, "model.layers=1,2", "tokens.sequence_length=32", seeds=1))
    write_text(same[0].run.train_store, "tokens")
    write_json(same[0].run.stamps / "tokens.json", {"inputs": "", "outputs": {"tokens/train.bin": ""}})
    children.borrow(same[1], same)
    assert same[1].run.train_store.samefile(same[0].run.train_store)


def test_a_text_that_has_changed_is_refused(tiny: Path) -> None:
    made = planned(tiny)
    children.check_text(members(made), made.out)
    children.check_text(members(made), made.out)
    write_text(tiny / "text.txt", "Other text.\n")
    with pytest.raises(UserError, match="runs on other text"):
        children.check_text(members(made), made.out)


def test_a_refused_point_keeps_its_recipe(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process claims the run, once it has checked."""
    (point,) = members(planned(tiny, seeds=1))
    point.run.claim(point.recipe)
    before = point.run.recipe_file.read_bytes()
    given: list[bytes] = []

    def refused(member: Member, recipe: Path, child: dict[str, str]) -> str:
        given.append(recipe.read_bytes())
        return "training.steps=5: the run is at step 12 already"

    monkeypatch.setattr(children, "_trained", refused)
    (shorter,) = members(planned(tiny, "training.steps=5", seeds=1))
    assert "at step 12" in children.train(shorter, [shorter], {})
    assert b"steps: 5\n" in given[0]
    assert point.run.recipe_file.read_bytes() == before


def test_a_damaged_point_counts_as_failed(tiny: Path) -> None:
    (point,) = members(planned(tiny, seeds=1))
    point.run.claim(point.recipe)
    write_text(point.run.events, "[]\n")
    found = outcomes.of(point, {})
    assert (found.status, found.steps) == ("failed", 0)
    assert "events.jsonl: line 1" in found.reason


def test_a_sweep_inside_its_text_does_not_change_it(tiny: Path) -> None:
    (tiny / "books").mkdir()
    shutil.copy(tiny / "text.txt", tiny / "books")
    made = plan(str(tiny / "tiny.yaml"), [], 2, str(tiny / "books"), tiny / "books" / "out")
    children.check_text(members(made), made.out)
    for name in (".compiled", "sweep.md"):
        write_text(made.out / name, "not of the text")
    for point in made.points:
        point.run.claim(point.recipe)
        write_text(point.run.ledger, "{}\n")
        write_text(point.run.samples, "samples")
    children.check_text(members(made), made.out)
    (made.out / ".compiled").unlink()
    write_text(made.out / "sweep.json", "{}")
    children.check_text(members(made), made.out)


# The good choices share a compiled program, and the bad one fails before compilation, since the text is too short.
BAD = "bad:{training.batch_size: 1024}"
KINDS = "kind=high:{},low:{training.schedule.peak: 1e-3}"


@pytest.mark.slow
def test_a_stopped_sweep_resumes_without_repeating_work(tiny: Path) -> None:
    process = start(tiny, "sweep", *TINY, f"{KINDS},{BAD}", "--seeds", 1)
    second = tiny / "out" / "kind=low" / "seed-0"
    deadline = time.monotonic() + 300
    while process.poll() is None and not (second / "events.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.005)  # until it is about to take its first step
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert err.splitlines()[-1] == "palmetto: interrupted at 2 of 3: kind=low seed 0; the same command resumes"
    with RunDirectory(second).locked():  # the child has ended
        pass
    first = files(tiny)
    assert [p["status"] for p in read_json(tiny / "out" / "sweep.json")["points"]] == ["done", "waiting", "waiting"]

    out, err = call(tiny, "sweep", *TINY, f"{KINDS},{BAD}", "--seeds", 1, expect=1)
    assert "1 of 3" not in err
    assert "3 of 3: kind=bad seed 0 (about " in err
    after = files(tiny)
    finished = {file for file in first if "kind=high" in str(file)}
    assert finished
    assert all(after[file] == first[file] for file in finished), "the finished point is left alone"
    assert out == (tiny / "out" / "sweep.md").read_text() + "\n"

    # The failed point is reported, and the results of the others are those of their runs.
    *good, bad = read_json(tiny / "out" / "sweep.json")["points"]
    assert [(p["status"], p["steps"]) for p in good] == [("done", 400)] * 2
    runs = [RunDirectory(tiny / "out" / point["directory"]) for point in good]
    for point, run in zip(good, runs, strict=True):
        validations = [event for event in read_json_lines(run.events) if event["event"] == "validation"]
        assert point["validation_loss"] == validations[-1]["loss"]
        assert point["digest"] == read_json(run.summary)["digest"]["parameters"]
        assert load(str(tiny / "tiny.yaml"), point["overrides"]).differences(run.recipe) == []
    assert (bad["status"], bad["validation_loss"]) == ("failed", None)
    assert "training.steps=400: takes 409600 sequences" in bad["reason"]
    assert f"failed: {bad['reason']}" in err
    assert "| 0, 1 failed |" in out
    assert runs[0].vocabulary.samefile(runs[1].vocabulary)
    assert runs[0].train_store.samefile(runs[1].train_store)

    # Without the bad one all is done.
    out, err = call(tiny, "sweep", *TINY, KINDS, "--seeds", 1, "--json")
    assert err == "report: out/sweep.html\n"
    assert json.loads(out)["points"] == good
    assert files(tiny) == after


@pytest.mark.parametrize("arguments", [["model.layers=1,2", "--seeds", "0"], ["model.d_modle=16,32"]])
def test_a_refusal_is_one_line(tiny: Path, arguments: list[str]) -> None:
    _, err = call(tiny, "sweep", *TINY, *arguments, expect=2)
    assert err.startswith("palmetto: ")
    assert err.count("\n") == 1
