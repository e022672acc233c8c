"""Recipes as values: their defaults and their derived values."""

from typing import Any

import pytest
from pydantic import ValidationError

from palmetto.errors import UserError
from palmetto.model.attentions.local import LocalAttention
from palmetto.model.attentions.memory import MemoryAttention
from palmetto.model.positions.t5 import T5Positions
from palmetto.recipe.model import Experts, Model
from palmetto.recipe.training import InverseSqrt
from palmetto.training.optimizers.adamw import AdamW
from tests.conftest import RecipeMaker


def test_omitted_sizes_follow_from_the_others() -> None:
    model = Model(layers=1, d_model=96, heads=6)
    assert (model.query_size, model.feedforward_size) == (16, 384)
    free = Model(layers=1, d_model=96, heads=7, head_size=10, d_ff=5)
    assert (free.query_size, free.feedforward_size) == (10, 5)


def test_the_default_decoder_is_that_of_palm() -> None:
    model = Model(layers=2, d_model=96, heads=6)
    assert (model.key_value_heads, model.block, model.norm, model.norm_position) == (1, "parallel", "layer", "pre")
    assert (model.feedforward, model.positions.name, model.attention.name) == ("swiglu", "rotary", "full")
    assert not any([model.norm_bias, model.qk_norm, model.embedding_norm, model.biases, model.experts])
    assert model.tied_embedding


def test_every_sets_the_layers_with_experts_and_attention() -> None:
    attention, experts = LocalAttention(window=4, every=3), Experts(count=4)
    model = Model(layers=12, d_model=32, heads=2, d_ff=100, attention=attention, experts=experts)
    assert [layer for layer in range(12) if model.has_experts(layer)] == [1, 3, 5, 7, 9, 11]
    assert [layer for layer in range(12) if model.attention_of(layer) == model.attention] == [2, 5, 8, 11]
    assert {model.attention_of(layer).name for layer in (0, 1, 3, 4)} == {"full"}
    assert (model.expert_period, model.attention.period(12), model.period) == (2, 3, 6)
    assert (model.expert_size, model.expert_feedforward) == (100, "swiglu")
    other = model.model_copy(update={"experts": Experts(count=4, every=1, d_ff=8, feedforward="gelu")})
    assert all(other.has_experts(layer) for layer in range(12))
    assert (other.period, other.expert_size, other.expert_feedforward) == (3, 8, "gelu")


def test_one_layer_has_the_memory_and_the_others_its_window() -> None:
    model = Model(layers=3, d_model=32, heads=2, attention=MemoryAttention(window=4, layer=1))
    local = LocalAttention(window=4)
    assert [model.attention_of(layer) for layer in range(3)] == [local, model.attention, local]
    assert model.period == 3
    assert not Model(layers=3, d_model=32, heads=2).has_experts(1)


@pytest.mark.parametrize(
    ("objective", "positions", "tokens"),
    [
        ("{name: causal}", 100, 0),
        ("{name: prefix}", 100, 0),
        # 15 of 101 tokens are noise, in 5 spans. Each span adds two sentinels.
        ("{name: spans}", 101 + 2 * 5, 5),
        ("{name: spans, noise: 0.5, mean_span: 5}", 101 + 2 * 10, 10),
        # Mode X has 50 noise tokens in 17 spans, and every example has a mode token.
        ("{name: mixture}", 101 + 2 * 17 + 1, 17 + 3),
        ("{name: mixture, denoisers: [{mode: S, noise: 0.25}]}", 101, 3),
    ],
)
def test_the_model_has_room_for_the_objective(
    tiny_recipe: RecipeMaker, objective: str, positions: int, tokens: int
) -> None:
    recipe = tiny_recipe("tokens.sequence_length=100", f"training.objective={objective}")
    assert recipe.model_length == positions
    assert recipe.model_vocabulary == 300 + tokens


def test_sections_without_a_name_are_of_the_default_kind(tiny_recipe: RecipeMaker) -> None:
    recipe = tiny_recipe("model.positions={base: 500.0}", "model.attention={}", "training.objective={}")
    assert (recipe.model.positions.name, recipe.model.attention.name) == ("rotary", "full")
    assert recipe.training.objective.name == "causal"
    assert tiny_recipe("model.positions.name=t5").model.positions == T5Positions()


def test_a_batch_size_is_a_ramp_of_one_stage(tiny_recipe: RecipeMaker) -> None:
    assert tiny_recipe("training.batch_size=4").training.batch_size == {0: 4}


def test_the_default_optimizer_and_schedule_are_those_of_palm(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe("training.schedule={hold: 5}", "training.optimizer={momentum: 0.5}").training
    assert training.schedule == InverseSqrt(hold=5)
    assert training.optimizer.name == "adafactor"
    assert tiny_recipe("training.optimizer={name: adamw}").training.optimizer == AdamW()


def test_the_defaults_are_the_settings_of_the_paper(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe().training
    expected: dict[str, Any] = {
        "optimizer": {
            "name": "adafactor",
            "momentum": 0.9,
            "decay": None,
            "decay_exponent": 0.8,
            "factored": False,
            "parameter_scale": True,
            "weight_decay": True,
            "update_clip": None,
        },
        "objective": {"name": "causal"},
        "embedding_gradient": 1.0,
        "schedule": {"name": "inverse_sqrt", "peak": 1e-2, "hold": 10_000, "cooldown": None},
        "clip": 1.0,
        "z_loss": 1e-4,
        "epochs": 1,
    }
    assert {key: training.model_dump()[key] for key in expected} == expected
    assert AdamW() == AdamW(b1=0.9, b2=0.95, epsilon=1e-8, weight_decay=0.1)


def test_a_recipe_is_frozen_and_its_model_hashable(tiny_recipe: RecipeMaker) -> None:
    recipe = tiny_recipe()
    with pytest.raises(ValidationError):
        recipe.training.steps = 9
    assert hash(recipe.model) == hash(tiny_recipe("training.steps=9").model)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("training.objective.name=preferences", "mesh.stage=2"), "mesh.stage=2: a device computes whole rows"),
        (("training.objective.name=preferences", "mesh.sequence=2"), "mesh.sequence=2: a device computes whole rows"),
        (
            ("training.objective.name=examples", "model.experts={count: 2, capacity_factor: 1.0}"),
            "null .dropless. would",
        ),
        (("model.lora={weights: [q], rank: 2}", "mesh.data=2"), "mesh.zero=3: adapters are on every device"),
    ],
)
def test_finetuning_refuses_what_it_cannot_have(
    tiny_recipe: RecipeMaker, overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        tiny_recipe(*overrides)
