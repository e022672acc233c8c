"""Tests that the advice for too little text can be followed."""

from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.order import Order
from palmetto.workflow.tokens import build_tokens
from tests.conftest import RecipeMaker


def test_less_than_one_step_is_not_answered_with_zero_steps(tmp_path: Path, tiny_recipe: RecipeMaker) -> None:
    text = "A few words, and no more than these, are here.\n\nAnd then some others, of which there are few.\n"
    (tmp_path / "short.txt").write_text(text)
    recipe = tiny_recipe(f"corpus.source={tmp_path}/short.txt", "corpus.section_bytes=64", "tokens.vocabulary_size=900")
    with pytest.raises(
        UserError, match=r"tokens\.vocabulary_size=900: .*too short for one step: give more text"
    ) as found:
        build_tokens(RunDirectory(tmp_path / "run"), recipe, print)
    assert "training.steps=0" not in str(found.value)


def test_windows_for_no_step_do_not_advise_fewer_steps() -> None:
    with pytest.raises(
        UserError, match=r"^training\.batch_size: the first step takes 8 sequences, but .*: raise "
    ) as found:
        Order(7, ((0, 8),), 0, 1).check(5)
    assert "training.steps" not in str(found.value)
    Order(8, ((0, 8),), 0, 1).check(1)
