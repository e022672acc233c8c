import math

import numpy as np
import pytest

from palmetto.training.ledger import LedgerAltered, read
from palmetto.training.report import record
from tests.references.report_runs import RunMaker, falling, spiking


def test_every_step_of_a_simple_run_is_live(make_run: RunMaker) -> None:
    found = record.read(make_run())
    assert found.live.all()
    assert found.last_step == 120
    assert found.tokens == (60 * 8 + 60 * 16) * 16
    assert found.rollbacks == []
    assert list(found.validations.step) == [0, 20, 40, 60, 80, 100, 120]
    assert found.validations.loss[0] == 8.1
    assert found.speed == (250.0, 0.2), "the summary's"
    assert found.unigram_entropy == 4.5


def test_rolled_back_steps_are_not_live(make_run: RunMaker) -> None:
    run = make_run(spiking)
    found = record.read(run)
    (rollback,) = found.rollbacks
    assert rollback == record.Rollback(attempt=1, target=50, detected=72, onset=70, batches=40)
    assert list(found.step[~found.live]) == list(range(51, 73))
    assert list(found.step[found.live]) == list(range(1, 121))
    assert found.tokens == (60 * 8 + 60 * 16) * 16, "rolled-back steps do not count"
    assert list(found.dead_validations.step) == [60]
    by_attempt = {line.attempt: line.loss + 0.05 for line in read(run.ledger)[0] if line.step == 60}
    assert found.dead_validations.loss[0] == by_attempt[0]
    assert found.validations.loss[list(found.validations.step).index(60)] == by_attempt[1]


def test_the_ledger_shows_a_rollback_without_an_event(make_run: RunMaker) -> None:
    run = make_run(spiking)
    told = run.events.read_text().splitlines(keepends=True)
    run.events.write_text("".join(line for line in told if '"event": "rollback"' not in line))
    found = record.read(run)
    assert found.rollbacks == [record.Rollback(attempt=1, target=50, detected=72, onset=None, batches=None)]


def test_a_rollback_without_a_following_step_counts(make_run: RunMaker) -> None:
    run = make_run(spiking, finished=False)
    lines, _ = read(run.ledger)
    written = run.ledger.read_bytes().splitlines(keepends=True)
    run.ledger.write_bytes(b"".join(written[: sum(line.attempt == 0 for line in lines)]))
    found = record.read(run)
    assert found.last_step == 50
    assert found.rollbacks == [record.Rollback(attempt=1, target=50, detected=72, onset=70, batches=40)]


def test_missing_files_of_an_unfinished_run_are_none(make_run: RunMaker) -> None:
    found = record.read(make_run(steps=25, finished=False))
    assert (found.summary, found.samples, found.machine, found.unigram_entropy) == (None, None, None, None)
    assert found.parameters > 10_000, "counted from the recipe"
    assert found.speed == (256.0, 0.25), "these are the medians of the metrics"
    assert found.last_digest == (20, f"{20:064x}")


def test_a_summary_of_an_earlier_step_does_not_count(make_run: RunMaker) -> None:
    run = make_run()
    lines = run.ledger.read_bytes().splitlines(keepends=True)
    run.ledger.write_bytes(b"".join(lines[:90]))
    found = record.read(run)
    assert found.closing is None
    assert found.unigram_entropy == 4.5
    assert found.speed == (256.0, 0.25)
    assert max(found.validations.step) == 80, "no step of the ledger, no validation"


def test_the_later_measurement_of_a_step_counts(make_run: RunMaker) -> None:
    run = make_run()
    with run.metrics.open("a") as file:
        file.write('{"step": 7, "attempt": 0, "seconds": 9.0, "tokens_per_second": 1.0, "mfu": 0.1}\n')
    found = record.read(run)
    assert found.seconds[6] == 9.0
    assert len(found.seconds) == 120


def test_missing_metrics_are_nan(make_run: RunMaker) -> None:
    run = make_run(lambda step, attempt: math.nan if step in (30, 31) else falling(step, attempt), finished=False)
    run.metrics.unlink()
    found = record.read(run)
    assert np.isnan(found.mfu).all()
    assert found.speed is None
    assert found.skipped_steps == 2


def test_an_altered_ledger_is_refused_by_its_step(make_run: RunMaker) -> None:
    run = make_run()
    run.ledger.write_bytes(run.ledger.read_bytes().replace(b'"step": 33, ', b'"step": 34, '))
    with pytest.raises(LedgerAltered, match="line 33"):
        record.read(run)
