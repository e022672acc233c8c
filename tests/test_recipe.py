"""A recipe as a value: what follows from what is given, and which of its keys are the run's identity."""

from typing import Any

import pytest
from pydantic import ValidationError

from palmetto.recipe import AdamW, InverseSqrt, Model, Recipe, flatten
from tests.conftest import RecipeMaker

# For every key another value than the tiny recipe's: one that makes another run, or one that does not.
OTHER_RUN = {
    "corpus.validation_share": "0.1",
    "corpus.section_bytes": "1000",
    "tokens.vocabulary": "unigram",
    "tokens.vocabulary_size": "301",
    "tokens.sequence_length": "17",
    "model.layers": "3",
    "model.d_model": "64",
    "model.heads": "4",
    "model.head_size": "8",
    "model.d_ff": "100",
    "model.activations": "bfloat16",
    "training.batch_size": "16",
    "training.micro_batch": "4",
    "training.epochs": "2",
    "training.seed": "1",
    "training.threads": "4",
    "training.optimizer.name": "adamw",
    "training.optimizer.momentum": "0.8",
    "training.optimizer.decay_exponent": "0.7",
    "training.optimizer.update_clip": "1",
    "training.schedule.name": "cosine",
    "training.schedule.peak": "0.02",
    "training.schedule.hold": "100",
    "training.clip": "2",
    "training.z_loss": "0",
    "training.rematerialize": "block",
    "training.spikes.threshold": "9",
    "training.spikes.window": "64",
    "training.spikes.patience": "4",
    "training.spikes.nonfinite_patience": "9",
    "training.spikes.rewind": "50",
    "training.spikes.skip": "400",
    "training.spikes.attempts": "6",
}
SAME_RUN = {
    "name": "other",
    "corpus.source": "elsewhere",
    "training.steps": "9",
    "training.checkpoint_every": "7",
    "training.keep_last": "9",
    "training.keep_every": "100",
    "training.evaluate_every": "7",
    "training.validation_windows": "7",
    "training.digest_every": "7",
    "training.peak_flops": "1e12",
}


def test_every_key_is_decided_upon(tiny_recipe: RecipeMaker) -> None:
    assert OTHER_RUN.keys() | SAME_RUN.keys() == flatten(tiny_recipe().model_dump()).keys()


@pytest.mark.parametrize("key", OTHER_RUN)
def test_what_changes_bits_is_identity_and_named_where_it_differs(tiny_recipe: RecipeMaker, key: str) -> None:
    here, there = tiny_recipe(), tiny_recipe(f"{key}={OTHER_RUN[key]}")
    assert here.digest != there.digest
    was, now = (flatten(recipe.model_dump())[key] for recipe in (here, there))
    assert f"{key} {was!r} → {now!r}" in there.differences(here)
    assert f"{key} {now!r} → {was!r}" in here.differences(there)


@pytest.mark.parametrize("key", SAME_RUN)
def test_what_changes_no_bits_is_not_identity(tiny_recipe: RecipeMaker, key: str) -> None:
    here, there = tiny_recipe(), tiny_recipe(f"{key}={SAME_RUN[key]}")
    assert here != there
    assert here.digest == there.digest
    assert here.differences(there) == []


def test_the_number_of_steps_is_identity_only_where_the_schedule_ends_with_them(tiny_recipe: RecipeMaker) -> None:
    for schedule, is_identity in (
        ("{name: cosine}", True),
        ("{name: cosine, decay_steps: 100}", False),
        ("{name: inverse_sqrt}", False),
    ):
        short, long = (tiny_recipe(f"training.schedule={schedule}", f"training.steps={n}") for n in (8, 16))
        assert (short.digest != long.digest) == is_identity, schedule
        assert (long.differences(short) == ["training.steps 8 → 16"]) == is_identity


def test_a_dumped_recipe_has_the_same_digest_in_whatever_order_a_ramp_is_written(tiny_recipe: RecipeMaker) -> None:
    one, other = (tiny_recipe(f"training.batch_size={ramp}") for ramp in ("{0: 8, 9: 16}", "{9: 16, 0: 8}"))
    assert one.digest == other.digest
    assert one.training.batch_stages == other.training.batch_stages == ((0, 8), (9, 16))
    assert Recipe.model_validate(one.model_dump()).digest == one.digest


def test_sizes_not_given_follow_from_those_that_are() -> None:
    model = Model(layers=1, d_model=96, heads=6)
    assert (model.query_size, model.feedforward_size) == (16, 384)
    free = Model(layers=1, d_model=96, heads=7, head_size=10, d_ff=5)
    assert (free.query_size, free.feedforward_size) == (10, 5)


def test_a_batch_size_is_a_ramp_of_one_stage(tiny_recipe: RecipeMaker) -> None:
    assert tiny_recipe("training.batch_size=4").training.batch_size == {0: 4}


def test_an_optimizer_or_schedule_without_a_name_is_palms(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe("training.schedule={hold: 5}", "training.optimizer={momentum: 0.5}").training
    assert training.schedule == InverseSqrt(hold=5)
    assert training.optimizer.name == "adafactor"
    assert tiny_recipe("training.optimizer={name: adamw}").training.optimizer == AdamW()


def test_the_papers_settings_are_the_defaults(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe().training
    expected: dict[str, Any] = {
        "optimizer": {"name": "adafactor", "momentum": 0.9, "decay_exponent": 0.8, "update_clip": None},
        "schedule": {"name": "inverse_sqrt", "peak": 1e-2, "hold": 10_000},
        "clip": 1.0,
        "z_loss": 1e-4,
        "epochs": 1,
    }
    assert {key: training.model_dump()[key] for key in expected} == expected
    assert AdamW() == AdamW(b1=0.9, b2=0.95, epsilon=1e-8, weight_decay=0.1)


def test_a_recipe_cannot_be_changed_and_can_be_hashed_where_jit_needs_it(tiny_recipe: RecipeMaker) -> None:
    recipe = tiny_recipe()
    with pytest.raises(ValidationError):
        recipe.training.steps = 9
    assert hash(recipe.model) == hash(tiny_recipe("training.steps=9").model)
