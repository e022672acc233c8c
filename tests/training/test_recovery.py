"""Runs of the real loop over simulated steps: what is kept, gone back to, repeated and gone on from, over long
histories, kills, signals and changes of machine."""

import itertools
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import RunStopped, UserError
from palmetto.files import read_json_lines, write_json
from palmetto.recipe import Recipe
from palmetto.training import replay, verify
from palmetto.training.recovery import Recovery
from palmetto.training.retention import cell, retained
from palmetto.training.spikes import reach
from tests.conftest import RecipeMaker
from tests.references.report_runs import write_summary
from tests.references.simulated import Back, Curve, Killed, SimulatedRun
from tests.training.test_spikes import calm, curves, loss_spike

LITTLE = (
    "training.spikes={window: 8, patience: 2, nonfinite_patience: 3, rewind: 6, skip: 14, attempts: 3}",
    "training.batch_size={0: 8, 100: 16}",
)


@pytest.fixture(scope="session")
def little(tiny_recipe: RecipeMaker) -> RecipeMaker:
    return lambda *overrides: tiny_recipe(*LITTLE, "training.steps=1000000", "training.keep_last=1", *overrides)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def spikes_at(*onsets: int, length: int = 3) -> "Curve":
    """The n-th attempt has a spike at the n-th onset."""

    def curve(attempt: int, step: int, position: int) -> object:
        onset = onsets[attempt] if attempt < len(onsets) else math.inf
        return (loss_spike if onset <= step < onset + length else calm)(step, position)

    return curve  # type: ignore[return-value]


def fresh(folder: Path) -> Path:
    """A directory of its own for each example of a property."""
    return folder / f"{time.monotonic_ns()}"


def check_covered(recipe: Recipe, backs: list[Back]) -> None:
    """No rollback went on from further before the best checkpoint there ever was than the thinning promises."""
    near = reach(recipe.training.spikes)
    for back in backs:
        assert back.base <= back.best <= back.rollback.target
        assert back.best - back.base < cell(back.top - back.base, near), back


@pytest.mark.parametrize(
    ("every", "rewind", "onsets"),
    [(5, 20, (116, 269, 280, 300, 310, 320)), (50, 100, (1000, 1001, 1400, 1401, 1402, 3000))],
)
def test_rollbacks_of_a_long_run_begin_near_their_targets(
    tiny_recipe: RecipeMaker, folder: Path, every: int, rewind: int, onsets: tuple[int, ...]
) -> None:
    recipe = tiny_recipe(
        "training.steps=5000",
        f"training.checkpoint_every={every}",
        "training.keep_last=3",
        f"training.spikes={{window: 16, rewind: {rewind}, skip: {3 * rewind}}}",
    )
    run = SimulatedRun(folder / "run", recipe, spikes_at(*onsets))
    run.train(onsets[-1] + 200)
    assert len(run.backs) == len(onsets)
    check_covered(recipe, run.backs)
    for back in run.backs:
        assert back.rollback.target - back.base <= every + (back.rollback.detected - back.base) // 4, back


@given(curve=curves(), every=st.integers(1, 13), keep_last=st.integers(1, 3))
@settings(max_examples=25)
def test_any_permitted_rollback_finds_a_checkpoint_near_its_target(
    little: RecipeMaker, tmp_path_factory: pytest.TempPathFactory, curve: Curve, every: int, keep_last: int
) -> None:
    recipe = little(f"training.checkpoint_every={every}", f"training.keep_last={keep_last}")
    run = SimulatedRun(fresh(tmp_path_factory.getbasetemp()), recipe, curve)
    run.outcome(160)
    check_covered(recipe, run.backs)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Stretches of a run: steps forward, then so many back."""
    return draw(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400)), min_size=1, max_size=40))


@given(history=histories(), every=st.sampled_from([1, 3, 10, 64]), odd=st.sets(st.integers(1, 4000), max_size=20))
def test_thinning_covers_every_step_of_any_history_with_few_checkpoints(
    little: RecipeMaker, history: list[tuple[int, int]], every: int, odd: set[int]
) -> None:
    """Stops by signals, the `odd` ones, write checkpoints at steps of no pattern."""
    training, near = little().training, reach(little().training.spikes)
    kept, ever, step, top = list[int](), list[int](), 0, 0
    for forward, back in history:
        new = [at for at in range(step + 1, step + forward + 1) if at % every == 0 or at in odd]
        for at in new:
            wanted = retained(training, kept)
            kept = [each for each in kept if each in wanted] + [at]
        ever += new
        step += forward
        top = max(top, step)
        for target in range(step + 1):
            best = max((each for each in ever if each <= target), default=0) if target % 7 == 0 else 0
            if best:
                base = max(each for each in kept if each <= target)
                assert best - base < cell(top - base, near)
        step = max(0, step - back)
        kept, ever = ([each for each in steps if each <= step] for steps in (kept, ever))
    most = 8 + 5 * near.bit_length() + 2 * top.bit_length()
    assert len(retained(training, kept)) <= most


def test_cells_of_greater_distance_are_whole_numbers_of_smaller_ones() -> None:
    widths = [cell(distance, 100) for distance in range(2000)]
    assert all(after % before == 0 for before, after in itertools.pairwise(widths))


def test_a_cell_is_a_quarter_of_the_way_within_reach_and_all_of_it_beyond() -> None:
    """What docs/robustness.md promises of where a rollback begins."""
    assert all(cell(distance, 100) <= max(1, distance / 4) for distance in range(101))
    assert all(cell(distance, 100) <= distance for distance in range(101, 2000))


def test_a_run_without_rollbacks_keeps_what_its_recipe_says(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe("training.spikes.attempts=0", "training.keep_last=2", "training.keep_every=20").training
    assert retained(training, range(5, 100, 5)) == {20, 40, 60, 80, 90, 95}
    assert retained(training, []) == set()


@given(curve=curves(), stops=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=8))
@settings(max_examples=25)
def test_kills_and_signals_anywhere_change_no_bit(
    little: RecipeMaker, tmp_path_factory: pytest.TempPathFactory, curve: Curve, stops: list[tuple[bool, int]]
) -> None:
    folder = fresh(tmp_path_factory.getbasetemp())
    uncut, run = (SimulatedRun(folder / name, little("training.checkpoint_every=9"), curve) for name in ("a", "b"))
    expected = uncut.outcome(120)
    for killed, after in stops:
        run.outcome(120, **{"steps" if killed else "stop_after": after})
    assert run.outcome(120) == expected
    assert run.directory.ledger.read_bytes() == uncut.directory.ledger.read_bytes()
    if expected == "done":
        assert run.bits == uncut.bits


def test_repeating_obeys_signals_and_loses_nothing(little: RecipeMaker, folder: Path) -> None:
    """A run that is preempted every four steps comes through fifty repeated ones."""
    recipe = little("training.checkpoint_every=1000")
    uncut, run = (SimulatedRun(folder / name, recipe, spikes_at(60)) for name in ("uncut", "run"))
    uncut.train(80)
    with pytest.raises(Killed):
        run.train(80, steps=61)  # right at the rollback
    while not run.train(80, stop_after=4):
        assert len(run.directory.ledger.read_bytes()) <= len(uncut.directory.ledger.read_bytes())
        assert run.machine.steps_left == 10**9 - 4, "not one step more is taken"
        assert run.loop.at.step in run.disk.steps(), "each time it saves how far it has come"
    assert run.bits == uncut.bits


def test_repeating_saves_checkpoints_on_its_way(little: RecipeMaker, folder: Path) -> None:
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=1000"), spikes_at(60))
    with pytest.raises(Killed):
        run.train(80, steps=61)
    run.directory.claim(little("training.checkpoint_every=10"))
    with pytest.raises(Killed):
        run.train(80, steps=25)
    assert run.disk.steps()[-1] == 20


def test_a_signal_right_after_a_rollback_leaves_a_run_that_goes_on(little: RecipeMaker, folder: Path) -> None:
    recipe = little("training.checkpoint_every=54")
    uncut, run = (SimulatedRun(folder / name, recipe, spikes_at(60)) for name in ("uncut", "run"))
    uncut.train(80)
    assert not run.train(80, stop_after=61)
    run.train(80)
    assert run.bits == uncut.bits


def test_what_a_rollback_leaves_behind_is_deleted_only_once_its_target_is_reached(
    little: RecipeMaker, folder: Path
) -> None:
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=19"), spikes_at(60))
    with pytest.raises(Killed):
        run.train(80, steps=61 + 10)
    assert [back.base for back in run.backs] == [38]
    assert 57 in run.disk.steps()
    run.train(80)
    assert 57 in run.disk.steps(), "of the new attempt"
    assert run.disk.sealed(57).attempt == 1


def test_one_machine_that_does_not_repeat_its_bits_stops_the_run(
    little: RecipeMaker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recovery, "elsewhere", lambda self: [])
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=50"), spikes_at(60))
    run.train(58)
    run.machine.kind = "broken"
    before = run.disk.steps()
    with pytest.raises(RunStopped, match=r"step 51 did not come out as the ledger says .parameter_norm differs"):
        run.train(80)
    assert set(before) <= set(run.disk.steps()), "nothing is deleted by a rollback that has not succeeded"


@pytest.mark.parametrize(("every", "base"), [(1000, 0), (50, 50), (7, 49)])
def test_elsewhere_a_rollback_goes_deeper_instead_of_stopping(
    little: RecipeMaker, folder: Path, monkeypatch: pytest.MonkeyPatch, every: int, base: int
) -> None:
    monkeypatch.setattr(Recovery, "elsewhere", lambda self: ["jaxlib 1 → 2"])
    run = SimulatedRun(folder / "run", little(f"training.checkpoint_every={every}"), spikes_at(60, 61))
    run.train(58)
    run.machine.kind = "other"
    assert run.train(80)
    deeper = [event for event in read_json_lines(run.directory.events) if event["event"] == "deeper rollback"]
    assert deeper[0]["checkpoint"] == base
    assert "jaxlib 1 → 2" in deeper[0]["text"]
    lines = run.loop.ledger.lines
    assert next(line.step for line in lines if line.attempt == 1) == base + 1
    check_no_data_twice(run)


def check_no_data_twice(run: SimulatedRun) -> None:
    """A rollback that went deeper goes on behind the data of the attempt that it left."""
    lines = run.loop.ledger.lines
    for before, line in itertools.pairwise(lines):
        assert int(line.batch) >= int(before.batch) + before.sequences


@pytest.mark.parametrize("every", [1000, 50])
def test_a_deeper_rollback_is_verified_and_resumed_as_any_other(
    little: RecipeMaker, folder: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """The difference that led to it is not a real one here, so that one machine can take every line again."""
    differences = iter(["loss"])
    monkeypatch.setattr(replay, "differing", lambda was, line: next(differences, None))
    monkeypatch.setattr(Recovery, "elsewhere", lambda self: ["jaxlib 1 → 2"])
    run = SimulatedRun(folder / "run", little(f"training.checkpoint_every={every}"), spikes_at(60, 75))
    run.train(70)
    run.train(100)
    first = {line.attempt: line.step for line in reversed(run.loop.ledger.lines)}
    assert first == {0: 1, 1: every % 1000 + 1, 2: 75 - 6 + 1}

    verification: Any = object.__new__(verify._Verification)
    verification.lines, verification.progress, verification.execution = run.loop.ledger.lines, print, run.machine
    verification.manifests, verification.replayed = {}, 0
    monkeypatch.setattr("jax.device_put", lambda state, places: str(state))
    assert verification.replay(None, None) == len(verification.lines)
    assert verification.replay(60, 90) == len(verification.lines) + 90


@given(curve=curves(), moves=st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ABC")), min_size=1, max_size=6))
@settings(max_examples=25)
def test_a_run_that_moves_between_machines_always_gets_on(
    little: RecipeMaker, tmp_path_factory: pytest.TempPathFactory, curve: Curve, moves: list[tuple[int, str]]
) -> None:
    folder = fresh(tmp_path_factory.getbasetemp())
    run = SimulatedRun(folder, little("training.checkpoint_every=9"), curve)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recovery, "elsewhere", lambda self: ["device"])
        for steps, kind in moves:
            run.machine.kind = kind
            run.outcome(120, steps=steps)
        assert run.outcome(120) not in ("stopped", "killed")
    check_no_data_twice(run)


def test_the_environment_is_another_if_it_is_now_or_was_at_any_time(
    little: RecipeMaker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"platform": "cpu", "jaxlib": "1", "threads": 8, "instruction_set": "AVX2", "layout": {}}
    monkeypatch.setattr("palmetto.host.environment.record", lambda layout, inelastic: here)
    run = SimulatedRun(folder / "run", little(), spikes_at())
    run.train(3)
    write_json(run.directory.environment, here)
    assert run.loop.recovery.elsewhere() == []
    write_json(run.directory.environment, here | {"jaxlib": "0"})
    assert run.loop.recovery.elsewhere() == ["jaxlib 0 → 1"]
    write_json(run.directory.environment, here)
    run.directory.record_event("environment", text="jaxlib 1 → 2")
    assert run.loop.recovery.elsewhere() == ["jaxlib 1 → 2"]


# Checkpoints that cannot be seen


@pytest.fixture
def trained(little: RecipeMaker, folder: Path) -> SimulatedRun:
    """Killed at step 25, with checkpoints up to 20."""
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10", "training.keep_last=3"), spikes_at())
    with pytest.raises(Killed):
        run.train(40, steps=25)
    assert run.disk.steps() == [10, 20]
    return run


@pytest.mark.parametrize("lost", [{20}, {10, 20}])
def test_a_checkpoint_that_cannot_be_seen_is_named_and_nothing_cut(trained: SimulatedRun, lost: set[int]) -> None:
    before = trained.directory.ledger.read_bytes()
    away = {step: trained.disk.saved.pop(step) for step in lost}
    for _ in range(2):
        with pytest.raises(UserError, match="00000020: missing") as caught:
            trained.train(40)
        assert not isinstance(caught.value, RunStopped)
        assert trained.directory.ledger.read_bytes() == before
    trained.disk.saved |= away
    assert trained.train(40)
    assert "going on from checkpoint 20" in trained.loop.recorder.progress.messages


def test_one_that_is_lost_for_good_can_be_given_up(trained: SimulatedRun) -> None:
    del trained.disk.saved[20]
    with pytest.raises(UserError, match=r"go on from checkpoint 10 by: mkdir -p .*/damaged-00000020$"):
        trained.train(40)
    trained.disk.aside.add(20)
    assert trained.train(40)
    assert "going on from checkpoint 10" in trained.loop.recorder.progress.messages


def test_an_older_one_that_is_gone_is_told_and_not_needed(trained: SimulatedRun) -> None:
    del trained.disk.saved[10]
    assert trained.train(40)
    (told,) = [e for e in read_json_lines(trained.directory.events) if e["event"] == "missing checkpoint"]
    assert told["checkpoint"] == 10


def test_a_ledger_that_cannot_be_seen_is_not_begun_anew(trained: SimulatedRun) -> None:
    trained.directory.ledger.unlink()
    for kept in (dict(trained.disk.saved), {}):
        trained.disk.saved = kept
        with pytest.raises(UserError, match=r"ledger\.jsonl: lacks the line of checkpoint"):
            trained.train(40)


def test_a_run_killed_before_its_first_checkpoint_begins_again(little: RecipeMaker, folder: Path) -> None:
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10"), spikes_at())
    with pytest.raises(Killed):
        run.train(40, steps=9)
    assert run.train(40)
    assert "no checkpoint yet: going on from step 0" in run.loop.recorder.progress.messages


# Runs from before checkpoints were on record


def test_a_run_without_a_record_goes_on_from_what_is_there(trained: SimulatedRun) -> None:
    trained.disk.recorded = None
    assert trained.train(40)
    assert "going on from checkpoint 20" in trained.loop.recorder.progress.messages
    assert trained.disk.recorded is not None


def test_without_a_record_the_events_tell_what_is_missing(trained: SimulatedRun) -> None:
    with pytest.raises(Killed):
        trained.train(40, steps=3)
    trained.disk.recorded = None
    away = trained.disk.saved.pop(20)
    with pytest.raises(UserError, match="00000020: missing"):
        trained.train(40)
    trained.disk.saved[20] = away
    trained.disk.damaged.add(20)
    with pytest.raises(Killed):
        trained.train(40, steps=5)
    trained.disk.recorded = None
    assert trained.train(40), "one that was set aside is not missed"


def test_without_a_record_the_ledger_tells_what_is_missing(little: RecipeMaker, folder: Path) -> None:
    """Of a run that was killed: it has no summary yet, and no event of going on."""
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10"), spikes_at())
    with pytest.raises(Killed):
        run.train(40, steps=21)
    run.disk.recorded, run.disk.saved = None, {}
    before = run.directory.ledger.read_bytes()
    with pytest.raises(UserError, match="00000010: missing"):
        run.train(40)
    assert run.directory.ledger.read_bytes() == before
    run.disk.aside.add(10)
    run.directory.checkpoints.joinpath("damaged-00000010").mkdir(parents=True)
    assert run.train(40), "it can be given up"


def test_without_a_record_a_run_killed_early_begins_again(little: RecipeMaker, folder: Path) -> None:
    """The second checkpoint is not begun, so the first may not be complete."""
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10"), spikes_at())
    with pytest.raises(Killed):
        run.train(40, steps=20)
    run.disk.recorded, run.disk.saved = None, {}
    assert run.train(40)


def test_without_a_record_what_was_pruned_is_not_missed(trained: SimulatedRun) -> None:
    with pytest.raises(Killed):
        trained.train(40, steps=15)
    assert trained.disk.steps()[-1] == 30
    del trained.disk.saved[20]
    trained.disk.recorded = None
    assert trained.train(40)
    assert not any("missing" in message for message in trained.loop.recorder.progress.messages)


def test_without_a_record_the_summary_tells_what_is_missing(little: RecipeMaker, folder: Path) -> None:
    run = SimulatedRun(folder / "run", little("training.checkpoint_every=10"), spikes_at())
    run.train(25)
    write_summary(run.directory, run.directory.recipe, 25)
    run.disk.recorded = None
    away = run.disk.saved
    run.disk.saved = {}
    with pytest.raises(UserError, match="00000025: missing"):
        run.train(40)
    run.directory.ledger.rename(folder / "ledger")
    with pytest.raises(UserError, match=r"ledger\.jsonl: lacks the line of checkpoint 25"):
        run.train(40)
    (folder / "ledger").rename(run.directory.ledger)
    run.disk.saved = away
    assert run.train(40)


# The text's end


def test_a_run_whose_rollbacks_used_up_the_text_goes_on_with_more_epochs(little: RecipeMaker, folder: Path) -> None:
    short = little("training.checkpoint_every=1000", "training.batch_size=8")
    run = SimulatedRun(folder / "run", short, spikes_at(60), windows=100 * 8)
    with pytest.raises(RunStopped, match="the data has run out") as caught:
        run.train(100)
    assert "give more text" not in str(caught.value), "a run that has begun takes no other text"
    reached = run.disk.steps()[-1]
    assert reached == run.loop.path.step, "nothing is lost"
    before = run.directory.ledger.read_bytes()
    longer = little("training.checkpoint_every=1000", "training.batch_size=8", "training.epochs=2")
    run.directory.claim(longer)
    more = SimulatedRun(folder / "more", longer, spikes_at(60), windows=100 * 8)
    more.directory, more.disk = run.directory, run.disk
    assert more.train(100)
    assert f"going on from checkpoint {reached}" in more.loop.recorder.progress.messages
    assert run.directory.ledger.read_bytes().startswith(before)
    with pytest.raises(UserError, match=r"training\.epochs 2 → 1"):
        run.directory.claim(short)
