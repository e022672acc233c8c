"""Progress is written as lines if the output is not a terminal."""

import re

import pytest

from palmetto.corpus.engine import LocalEngine
from palmetto.training.ledger import Line
from palmetto.workflow.progress import Reporter, Watch


def line(step: int) -> Line:
    return Line(step, 0, 3.25, 0.5, 1.0, 1.0, 1e-2, 8, "ab", True)


def test_a_pipe_gets_lines_with_speed_and_loss(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter("training", 12) as reporter:
        reporter.step(line(10), 1234.5, 0.25)
        reporter.step(line(11), 1234.5, 0.25)  # too soon after the last line for another
        reporter.step(line(12), 1234.5, 0.25)
        reporter.message("checkpoint set aside")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("training: step 10/12  loss 3.250  1,234 tokens/s  MFU 25.0%")
    assert "ETA" not in lines[0], "nothing is known of the pace yet, whatever lies behind a resumed run"
    assert re.search(r"step 12/12 .* ETA 0 s$", lines[1])
    assert lines[2:] == ["checkpoint set aside"]


def test_a_watched_engine_gives_the_engines_results(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch() as watch:
        assert list(watch.engine(LocalEngine(1), "language").map(abs, [-3, 2, -1])) == [3, 2, 1]
        watch.say("language: 3 documents")
    assert capsys.readouterr().err == "language: 3 documents\n", "a stage of seconds is not worth a line of its own"
