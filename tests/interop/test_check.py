"""Tests how an export is compared with its runtime, and that the command's exit code says what came out."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.errors import RunStopped, UserError
from palmetto.interop import check, peer
from palmetto.interop.export import export
from palmetto.tokens.wrapped import WrappedVocabulary
from tests.interop.conftest import Peers
from tests.references import exported, foreign
from tests.references.command_runs import command

ENDS = (0, 1)
ASKED = peer.Question(windows=[[1, 2, 3, 4]], prompts=[[1, 2]], tokens=3, texts=["a"], prefix=0, vocabulary=5)
LOGITS = np.linspace(-2, 4, 20, dtype=np.float32).reshape(1, 4, 5)
OURS = peer.Answer(LOGITS, [[3, 2]], [[1]], "palmetto")


def compared(**theirs: Any) -> check.Checked:
    return check.compare(ASKED, OURS, OURS._replace(**theirs), ENDS, bound=1e-3)


@pytest.mark.parametrize(
    ("theirs", "holds"),
    [
        ({}, True),
        ({"logits": LOGITS + 0.003}, True),  # the largest logit is 4
        ({"logits": LOGITS + 0.005}, False),
        ({"logits": LOGITS * np.nan}, False),
        ({"logits": jax.nn.log_softmax(LOGITS[:, 1])}, True),  # what follows the prompt
        ({"logits": jax.nn.log_softmax(LOGITS[:, 2]) + 0.1}, False),
        ({"greedy": [[3, 2, 0, 4]]}, True),  # what follows the end of an answer does not count
        ({"greedy": [[3, 2, 1, 4]]}, True),
        ({"greedy": [[3, 2, 4]]}, False),
        ({"ids": None}, True),
        ({"ids": [[2]]}, False),
    ],
)
def test_any_difference_beyond_the_bound_fails(theirs: dict[str, Any], holds: bool) -> None:
    assert compared(**theirs).holds == holds


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e30], ids=["holds", "overflows"])
def test_exit_code_says_whether_the_check_holds(
    scale: float, peers: Peers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = exported.made(
        tmp_path / "run",
        exported.recipe({}),
        place=lambda drawn: {name: matrix * jnp.float32(scale) for name, matrix in drawn.items()},
    )
    environment = peers("ctranslate2").parents[1]
    asked = ["export", run.path, "--to", "ctranslate2", "--out", tmp_path / "out", "--check", "--json"]
    assert command(*asked, "--peer-environment", environment) == (scale > 1)
    checked = json.loads(capsys.readouterr().out)["checked"]
    assert checked["logits"] is None if scale > 1 else checked["logits"] < 1e-4
    assert checked["ids"] is None


def test_texts_that_a_wrapped_tokenizer_reads_otherwise_are_left_out() -> None:
    """Llama 2's stands a character for spaces, which Palmetto tells apart."""
    fallback, levels = (WrappedVocabulary(foreign.wrapped(of())) for of in (foreign.byte_fallback, foreign.byte_level))
    assert (fallback.misread, levels.misread, exported.vocabulary().misread) == ("\u2581", "", "")
    for vocabulary in (fallback, levels):
        theirs = foreign.library(vocabulary.contents)
        for text in check._HARD:
            if not set(text) & set(vocabulary.misread):
                assert theirs.encode(text).ids == [*vocabulary.around[0], *vocabulary.encode(text).tolist()], text


@pytest.mark.slow
def test_a_tokenizer_that_ends_texts_itself_passes(peers: Peers, tmp_path: Path) -> None:
    contents = foreign.ending(foreign.byte_fallback())
    words = WrappedVocabulary(foreign.wrapped(contents))
    llama = exported.of_kind("Llama")
    tokens = llama.tokens.model_copy(update={"vocabulary": "wrapped", "vocabulary_size": words.size})
    run = exported.made(tmp_path / "run", llama.model_copy(update={"tokens": tokens}), words=words)
    checked = export(run, "huggingface", tmp_path / "out", None, "float32", peers("huggingface")).checked
    assert checked is not None
    assert checked.holds, checked


@pytest.mark.slow
def test_a_damaged_export_fails_the_check(peers: Peers, tmp_path: Path) -> None:
    python, out = peers("ctranslate2"), tmp_path / "out"
    export(exported.made(tmp_path / "run", exported.recipe({})), "ctranslate2", out, None, "float32")
    os.truncate(out / "model.bin", 1000)
    with pytest.raises(RunStopped, match=r"out: ctranslate2 cannot open it \("):
        peer.ask(peer.RUNTIMES["ctranslate2"], python, out, ASKED)


@pytest.mark.parametrize("answer", ["true", "echo garbage > $5", ": > $5", "printf 'PK\\3\\4' > $5"])
def test_a_runtime_without_an_answer_is_named(answer: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{answer}\n")
    python.chmod(0o755)
    with pytest.raises(RunStopped, match=r"--peer-environment: .*python gave no answer about .*out"):
        peer.ask(peer.RUNTIMES["ctranslate2"], python, tmp_path / "out", ASKED)


def test_an_environment_without_the_runtime_fails_the_check(tmp_path: Path) -> None:
    with pytest.raises(RunStopped, match=r"out: ctranslate2 cannot open it .*No module named"):
        peer.ask(peer.RUNTIMES["ctranslate2"], Path(sys.executable), tmp_path / "out", ASKED)


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    runtime = peer.RUNTIMES["ctranslate2"]._replace(packages=("./no-such-package",))
    with pytest.raises(UserError, match="environment: cannot be made"):
        peer.environment(runtime, tmp_path / "environment", print)
    assert not (tmp_path / "environment").exists()
