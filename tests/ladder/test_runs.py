"""A whole ladder, from its sizes to the prediction of a recipe."""

import json
import signal
import time
from pathlib import Path

import pytest

from palmetto.files import read_json, write_text
from palmetto.runs.directory import RunDirectory
from tests.sweeps.conftest import RECIPE, TINY, call, files, start

SIZES = ("training.epochs=4", "--sizes", "10k,20k,40k", "--tokens-per-parameter", "0.25,0.5,1")
TARGET = RECIPE.replace("layers: 1, d_model: 16, heads: 1", "layers: 3, d_model: 64, heads: 4")


@pytest.mark.slow
def test_a_stopped_ladder_resumes_and_predicts_its_target(tiny: Path) -> None:
    write_text(tiny / "target.yaml", TARGET)
    process = start(tiny, "ladder", *TINY, *SIZES, "--predict", "target.yaml")
    deadline = time.monotonic() + 300
    while process.poll() is None and len([*tiny.glob("out/*/ledger.jsonl")]) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)  # until the second one trains
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "the same command resumes" in err
    assert err.index("9 runs will take about") < err.index("1 of 9")
    out, err = call(tiny, "ladder", *TINY, *SIZES, "--predict", "target.yaml")
    assert "1 of 9" not in err
    assert "L(N, D) = " in out
    before, values = files(tiny), read_json(tiny / "out" / "ladder.json")
    losses = [rung["validation_loss"] for rung in values["rungs"]]
    assert all(rung["status"] == "done" and rung["energy"]["kwh"] > 0 for rung in values["rungs"])
    assert values["fit"]["parameters_and_tokens"]["runs"] == 9
    low, high = values["interval"]
    assert low < values["predicted"] < high
    for rung, loss in zip(values["rungs"], losses, strict=True):
        run = RunDirectory(tiny / "out" / rung["directory"])
        assert read_json(run.summary)["validation_loss"]["last"] == loss
        assert run.recipe.training.steps == rung["steps"]

    # The same command trains nothing again, and compares the target with its prediction once it is trained.
    call(tiny, "train", "target.yaml", "--run", "out/target", "corpus.source=text.txt")
    out, err = call(tiny, "ladder", *TINY, *SIZES, "--predict", "target.yaml", "--json")
    assert "will take" not in err
    assert {file: when for file, when in files(tiny).items() if file in before} == before
    again = json.loads(out)
    assert (again["predicted"], again["rungs"]) == (values["predicted"], values["rungs"])
    reached = read_json(tiny / "out" / "target" / "summary.json")["validation_loss"]["last"]
    assert again["target"]["validation_loss"] == reached
    assert again["target"]["miss"] == pytest.approx(reached / again["predicted"] - 1)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--sizes", "10k,10100"), "the same model as 10k"),
        (("--sizes", "10k", "--tokens-per-parameter", "500"), "steps fit"),
        (("--sizes", "ten"), "'ten' is no number"),
        (("--sizes", "10k", "--tokens-per-parameter", "1,1.0000001"), "two runs would be called 10k-1;"),
        (("--sizes", "1T"), "parameters; expected at most 1000 times as many"),
    ],
)
def test_a_refusal_is_one_line_and_trains_nothing(tiny: Path, arguments: tuple[str, ...], line: str) -> None:
    _, err = call(tiny, "ladder", *TINY, *arguments, expect=2)
    said = err.splitlines()[-1]
    assert said.startswith("palmetto: ")
    assert line in said
    assert not list(tiny.glob("out/*/ledger.jsonl"))


def test_the_recipe_of_the_family_is_read_like_any_other(tiny: Path) -> None:
    write_text(tiny / "tiny.yaml", RECIPE.replace("layers", "layer"))
    assert "model.layer" in call(tiny, "ladder", *TINY, "--sizes", "20k", expect=2)[1]
