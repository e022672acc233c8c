"""A kind of attention and one of positions that nothing but their own files knows of, in a whole run."""

import json

import pytest

from tests.references.whole_runs import Runs

pytestmark = pytest.mark.slow

TOYS = ("model.attention.name=toy", "model.positions={name: toy, period: 4}", "model.key_value_heads=2")
SHORT = ("training.steps=6", "training.checkpoint_every=3", "training.evaluate_every=6", "training.digest_every=2")


def test_parts_in_files_of_their_own_train_verify_and_decode(prepared: Runs) -> None:
    toys = prepared.importing("tests.references.toy_attention", "tests.references.toy_positions")
    toys.train("toys", *SHORT, *TOYS)
    assert json.loads(toys("verify", "toys", "--json")[0]) == {"verified": True, "steps": 6}
    continued, _ = toys("generate", "toys", "--prompt", "def f(", "--tokens", 8)
    assert continued
    recipe = (toys.folder / "toys" / "recipe.yaml").read_text()
    assert "name: toy\n    period: 4" in recipe
