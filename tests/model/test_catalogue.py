"""Compares every choice of the decoder with the float64 catalogue: logits, routing and the gradient of the whole loss.

It also tests the bitwise promises of masks and experts.
"""

import functools
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from palmetto.model import decoder, layout, tuning
from palmetto.model.decoder import Rematerialize
from palmetto.model.experts.router import Routing
from palmetto.model.sequences import Sequences
from palmetto.model.weights import Parameters
from palmetto.recipe.model import Model
from palmetto.training.step.loss import Batch, Losses, token_losses
from tests.conftest import slow_but
from tests.references import catalogue
from tests.references.quickly import QUICKLY

VOCABULARY, LENGTH = 23, 13
# H·Q differs from D, so that no axis can be mistaken for another.
SIZES = {"layers": 2, "d_model": 16, "heads": 4, "key_value_heads": 2, "head_size": 6, "d_ff": 20}

CPU = tuning.CPU._replace(query_rows=5, logit_rows=7)
LAYOUTS = {
    "cpu": CPU,
    "blocked": CPU._replace(kept_length=1, block_rows=4),
    "accelerator": tuning.ACCELERATOR,
    "accelerator blocked": tuning.ACCELERATOR._replace(kept_length=1, block_rows=5, query_rows=4),
    "native": tuning.for_platform("cpu"),
}

POSITIONS: dict[str, dict[str, Any]] = {
    "rotary": {"name": "rotary"},
    "base": {"name": "rotary", "base": 100.0},
    "interpolation": {"name": "rotary", "scaling": "interpolation", "factor": 3.0},
    "ntk": {"name": "rotary", "base": 50.0, "scaling": "ntk", "factor": 3.0},
    "truncated": {"name": "rotary", "base": 50.0, "scaling": "truncated", "trained": 8},
    "alibi": {"name": "alibi"},
    "t5": {"name": "t5", "buckets": 6, "max_distance": 9},
    "t5 both ways": {"name": "t5", "buckets": 8, "max_distance": 9, "bidirectional": True},
    "transformer-xl": {"name": "transformer_xl"},
    "learned": {"name": "learned", "length": 15},
    "sinusoidal": {"name": "sinusoidal"},
}
ATTENTIONS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "local": {"name": "local", "window": 5},
    "strided": {"name": "strided", "stride": 3},
    "sinks": {"name": "sinks", "sinks": 2, "window": 4},
    "parallel windows": {"name": "parallel_windows", "window": 4, "count": 2},
    "memory": {"name": "memory", "window": 4, "layer": 1, "neighbours": 2},
}
EXPERTS: dict[str, dict[str, Any]] = {
    "dropless": {"count": 4},
    "capacity": {"count": 4, "every": 1, "capacity_factor": 0.75},
    "all": {"count": 3, "top": 3, "d_ff": 11, "feedforward": "gelu"},
    "one": {"count": 5, "top": 1, "every": 1, "capacity_factor": 1.0, "feedforward": "geglu"},
}


def some(positions: str = "rotary", attention: str = "full", experts: str | None = None, /, **choices: Any) -> Model:
    chosen = EXPERTS[experts] | {"balance_loss": 0.3, "router_z_loss": 0.2} if experts else None
    parts = {"positions": POSITIONS[positions], "attention": ATTENTIONS[attention], "experts": chosen}
    return Model.model_validate(SIZES | parts | choices)


def every_second(attention: str) -> dict[str, Any]:
    """Returns the changes that put an attention in the second and fourth of four layers."""
    return {"layers": 4, "attention": ATTENTIONS[attention] | {"every": 2}}


def drawn_at_random(seed: int) -> Model:
    """The first combination of choices that is possible."""
    choose = random.Random(seed).choice
    while True:
        try:
            return some(
                choose(list(POSITIONS)),
                choose(list(ATTENTIONS)),
                choose([None, *EXPERTS]),
                key_value_heads=choose([1, 2, 4]),
                block=choose(["parallel", "serial"]),
                norm=choose(["layer", "rms"]),
                norm_position=choose(["pre", "post", "sandwich", "deep"]),
                norm_bias=choose([False, True]),
                qk_norm=choose([False, True]),
                embedding_norm=choose([False, True]),
                biases=choose([False, True]),
                tied_embedding=choose([False, True]),
                feedforward=choose(["relu", "gelu", "gelu_tanh", "swish", "glu", "geglu", "swiglu"]),
            )
        except ValidationError:
            continue


serial: dict[str, Any] = {"block": "serial"}
biased: dict[str, Any] = {"norm_bias": True, "biases": True}
MODELS: dict[str, Model] = {
    "palm": some(key_value_heads=1),
    "serial": some(**serial, feedforward="relu"),
    "multi-head": some(key_value_heads=4, feedforward="gelu", tied_embedding=False),
    "rms": some(**serial, norm="rms", feedforward="glu"),
    "biases": some(**biased, feedforward="geglu"),
    "bloom": some("alibi", **serial, **biased, embedding_norm=True, feedforward="gelu_tanh"),
    "kernel biases alone": some("alibi", **serial, biases=True, feedforward="swish"),
    "undivided logits": some(tied_embedding="undivided"),
    "undivided logits post": some(tied_embedding="undivided", norm_position="post"),
    "post": some(norm_position="post", norm="rms"),
    "post serial": some("learned", **serial, **biased, norm_position="post", tied_embedding=False),
    "sandwich": some(norm_position="sandwich", feedforward="gelu"),
    "sandwich serial": some(**serial, **biased, norm_position="sandwich"),
    "deep": some("sinusoidal", **serial, **biased, norm_position="deep"),
    "qk norm": some(qk_norm=True),
    "qk norm transformer-xl": some("transformer-xl", **biased, qk_norm=True, norm="layer"),
    "qk norm rms serial": some("t5", **serial, qk_norm=True, norm="rms"),
    "embedding norm": some("sinusoidal", embedding_norm=True, norm_bias=True),
    "embedding norm rms": some("learned", embedding_norm=True, norm="rms"),
    **{name: some(name) for name in POSITIONS if name != "rotary"},
    "alibi of six heads": some("alibi", heads=6, key_value_heads=3),
    "t5 of one head": some("t5 both ways", heads=1, key_value_heads=1),
    **{name: some("rotary", name) for name in ATTENTIONS if name != "full"},
    "local every second": some("t5", **every_second("local")),
    "strided every second": some("transformer-xl", **every_second("strided")),
    "sinks every second": some("interpolation", **every_second("sinks")),
    "sinks alibi": some("alibi", "sinks"),
    "sinks t5": some("t5", "sinks"),
    "sinks transformer-xl": some("transformer-xl", "sinks"),
    "many sinks": some(attention={"name": "sinks", "sinks": 5, "window": 2}),
    "parallel windows alibi": some("alibi", "parallel windows"),
    "parallel windows learned": some("learned", "parallel windows"),
    "memory first": some("ntk", attention=ATTENTIONS["memory"] | {"layer": 0}),
    "memory learned": some("learned", "memory"),
    **{f"experts {name}": some("rotary", "full", name, key_value_heads=1) for name in EXPERTS},
    "experts serial": some("alibi", "local", "dropless", **serial, norm_bias=True, layers=4),
    "experts sandwich": some("t5", "full", "capacity", norm_position="sandwich", norm="rms", feedforward="relu"),
    "experts deep": some("learned", "full", "capacity", **serial, norm_position="deep", feedforward="gelu"),
    **{f"random {seed}": drawn_at_random(seed) for seed in range(6)},
}

PLAIN = [name for name, model in MODELS.items() if model.attention.name == "full" and "experts" not in name]
FORWARD = (
    *((name, "cpu" if MODELS[name].positions.name == "rotary" else "blocked") for name in PLAIN),
    *((name, "blocked") for name in MODELS if name not in PLAIN and not name.endswith("every second")),
    *((name, "blocked") for name in ("palm", "local every second")),
    *((name, "native") for name in ("palm", "local", "experts dropless")),
    *((name, "accelerator") for name in ("palm", "biases", "sandwich serial", "deep", "qk norm", "learned", "memory")),
    *((name, "accelerator") for name in MODELS if name.startswith("experts") or name.endswith("every second")),
    *((name, "accelerator blocked") for name in ("sinks", "memory first", "parallel windows", "random 0")),
)
EACH_ONCE = (
    *("palm", "serial", "multi-head", "rms", "biases", "post", "sandwich", "deep", "qk norm", "embedding norm"),
    *(name for name in (*POSITIONS, *ATTENTIONS) if name in MODELS),
    *(f"experts {name}" for name in EXPERTS),
)
"""Models in which every choice is made once; others combine them."""


class Result(NamedTuple):
    states: jax.Array
    logits: jax.Array
    routing: Routing | None


Forward = Callable[[Parameters, jax.Array, jax.Array | None], Result]


@functools.cache
def compiled(model: Model, arrangement: str, quickly: bool) -> Forward:
    chosen = LAYOUTS[arrangement]

    def forward(parameters: Parameters, tokens: jax.Array, prefix: jax.Array | None) -> Result:
        arranged = layout.arrange(parameters, model, chosen)
        states, routing = decoder.Forward(model, chosen).states(arranged, tokens, sequences=Sequences(prefix))
        return Result(states, decoder.logits(arranged.unembedding, states), routing)

    return jax.jit(forward, compiler_options=QUICKLY if quickly else None)


def run(
    model: Model,
    arrangement: str,
    parameters: dict[str, Any],
    tokens: np.ndarray,
    prefix: np.ndarray | None = None,
    *,
    quickly: bool = False,
) -> Result:
    return compiled(model, arrangement, quickly)(*jax.tree.map(jnp.asarray, (parameters, tokens, prefix)))


def some_tokens(seed: int, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(VOCABULARY, size=(2, length)).astype(np.int32)


def agree(given: Any, expected: Any, tolerance: float) -> bool:
    """Returns whether the arrays differ by at most `tolerance` times the largest expected value."""
    expected = np.asarray(expected)
    assert given.shape == expected.shape
    return bool(np.abs(given - expected).max() <= tolerance * np.abs(expected).max())


QUICK_FORWARD = [(name, arrangement) for name in EACH_ONCE for arrangement in ("cpu", "blocked")]


@pytest.mark.parametrize(("name", "arrangement"), slow_but([*QUICK_FORWARD, ("palm", "accelerator")], FORWARD))
def test_logits_and_routing_agree_with_the_reference(name: str, arrangement: str) -> None:
    model, tokens = MODELS[name], some_tokens(0)
    parameters = catalogue.draw(model, VOCABULARY, 0)
    expected = catalogue.forward(model, parameters, tokens)
    given = run(model, arrangement, parameters, tokens, quickly=True)
    assert agree(given.logits, expected.logits, 1e-5)
    assert (given.routing is None) == (not expected.routing)
    for number, routing in enumerate(expected.routing):
        for field, value in routing._asdict().items():
            assert getattr(given.routing, field)[number] == pytest.approx(value, rel=1e-5, abs=1e-6), field


PREFIXED = ("palm", "biases", "alibi", "t5 both ways", "transformer-xl", "learned", "local", "experts dropless")


@pytest.mark.parametrize("name", slow_but(["palm", "t5 both ways"], PREFIXED))
def test_prefixes_agree_with_the_reference(name: str) -> None:
    model, tokens, prefix = MODELS[name], some_tokens(1), np.array([9, 0], np.int32)
    parameters = catalogue.draw(model, VOCABULARY, 1)
    expected = catalogue.forward(model, parameters, tokens, prefix)
    given = run(model, "blocked", parameters, tokens, prefix)
    assert agree(given.logits, expected.logits, 1e-5)


def test_some_cases_exceed_the_capacity() -> None:
    for name in ("experts capacity", "experts one", "experts sandwich"):
        parameters = catalogue.draw(MODELS[name], VOCABULARY, 0)
        assert all(
            0 < layer.dropped < 1 for layer in catalogue.forward(MODELS[name], parameters, some_tokens(0)).routing
        )


class Gradient(NamedTuple):
    """Describes a case of the gradient test: the model's name and the options of its loss."""

    name: str
    arrangement: str = "cpu"
    z_loss: float = 0.1
    scored: bool = False
    prefix: bool = False
    embedding_gradient: float = 1.0
    rematerialize: Rematerialize = "nothing"


GRADIENTS = (
    Gradient("palm", scored=True),
    Gradient("palm", "accelerator", embedding_gradient=0.25),
    Gradient("multi-head", embedding_gradient=0.25, z_loss=0.0),
    Gradient("sandwich serial", "accelerator", rematerialize="projections"),
    Gradient("post serial", "blocked", scored=True, prefix=True),
    Gradient("deep"),
    Gradient("qk norm transformer-xl", "blocked"),
    Gradient("embedding norm rms"),
    Gradient("alibi", "blocked", prefix=True, rematerialize="block"),
    Gradient("t5 both ways", "blocked", scored=True, prefix=True),
    Gradient("strided every second", "accelerator blocked"),
    Gradient("sinks", "blocked"),
    Gradient("parallel windows", "blocked"),
    Gradient("memory"),
    Gradient("experts dropless", scored=True, prefix=True),
    Gradient("experts dropless", "accelerator", rematerialize="block"),
    Gradient("experts capacity", rematerialize="projections"),
    Gradient("experts capacity", "accelerator"),
    Gradient("experts all", embedding_gradient=0.5),
)


@pytest.mark.parametrize(
    "case",
    slow_but([Gradient("palm", scored=True), Gradient("experts capacity", "accelerator")], GRADIENTS),
    ids=lambda case: f"{case.name}-{case.arrangement}",
)
def test_gradients_agree_with_finite_differences_of_the_reference(case: Gradient) -> None:
    """The random directions are scaled so that every parameter contributes about equally to the derivative."""
    model, chosen = MODELS[case.name], LAYOUTS[case.arrangement]
    parameters, tokens = catalogue.draw(model, VOCABULARY, 2), some_tokens(2, LENGTH + 1)
    random = np.random.default_rng(3)
    prefix = np.array([7, 2], np.int32) if case.prefix else None
    scored = random.random(tokens.shape) < 0.6 if case.scored else None

    def losses(parameters: Parameters, batch: Batch) -> tuple[jax.Array, Losses]:
        result = token_losses(
            layout.arrange(parameters, model, chosen),
            batch,
            model,
            chosen,
            z_loss=case.z_loss,
            rematerialize=case.rematerialize,
            embedding_gradient=case.embedding_gradient,
        )
        return result.objective, result

    arrays, *leaves = jax.tree.map(jnp.asarray, (parameters, tokens, scored, prefix))
    gradients, given = jax.jit(jax.grad(losses, has_aux=True), compiler_options=QUICKLY)(arrays, Batch(*leaves))
    at = functools.partial(catalogue.objective, model, windows=tokens, z_loss=case.z_loss, scored=scored, prefix=prefix)
    expected = at(parameters)
    for field, value in expected._asdict().items():
        assert float(getattr(given, field)) == pytest.approx(value, rel=1e-5), field

    norms = {name: float(np.linalg.norm(gradient)) for name, gradient in gradients.items()}
    floor = 1e-3 * max(norms.values())
    for _ in range(3):
        direction = {
            name: random.normal(size=array.shape) / max(norms[name], floor) for name, array in parameters.items()
        }
        step = 1e-6

        def along(sign: float, direction: dict[str, np.ndarray] = direction, step: float = step) -> float:
            moved = {name: array + sign * step * direction[name] for name, array in parameters.items()}
            seen = parameters["embedding"] + sign * step * case.embedding_gradient * direction["embedding"]
            return at(moved, looked_up=seen).objective

        derivative = (along(1) - along(-1)) / (2 * step)
        by_hand = sum(float(np.sum(np.asarray(gradients[name], np.float64) * direction[name])) for name in parameters)
        assert by_hand == pytest.approx(derivative, abs=2e-4)


CAUSAL = (
    *((name, "blocked") for name in ("palm", "alibi", "t5", "transformer-xl", "learned", "sinks t5")),
    *((name, "blocked") for name in ATTENTIONS if name != "full"),
    *((name, "accelerator") for name in ("palm", "memory")),
    *((f"experts {name}", "cpu") for name in EXPERTS),
    *((f"experts {name}", "accelerator") for name in ("dropless", "capacity")),
)


@pytest.mark.parametrize(
    ("name", "arrangement"), slow_but([("palm", "blocked"), ("local", "blocked"), ("experts capacity", "cpu")], CAUSAL)
)
def test_states_do_not_depend_on_later_tokens(name: str, arrangement: str) -> None:
    model, tokens = MODELS[name], some_tokens(4)
    parameters = catalogue.draw(model, VOCABULARY, 4)
    before = run(model, arrangement, parameters, tokens).states
    for first in range(1, LENGTH):
        after = run(model, arrangement, parameters, _changed_from(tokens, first)).states
        assert np.array_equal(before[:, :first], after[:, :first])
        assert np.all(np.any(before[:, first:] != after[:, first:], axis=2)), "every later one does"


def _changed_from(tokens: np.ndarray, first: int) -> np.ndarray:
    """Returns tokens that all differ from the given ones from place `first` on."""
    changed = tokens.copy()
    changed[:, first:] = (tokens[:, first:] + 1 + first) % VOCABULARY
    return changed


@pytest.mark.parametrize("name", slow_but(["palm"], PREFIXED))
def test_a_prefix_sees_all_of_itself_and_nothing_later(name: str) -> None:
    model, tokens, prefix = MODELS[name], some_tokens(5), np.array([7, 7], np.int32)
    parameters = catalogue.draw(model, VOCABULARY, 5)
    before = run(model, "blocked", parameters, tokens, prefix).states
    for first in range(7, LENGTH):
        after = run(model, "blocked", parameters, _changed_from(tokens, first), prefix).states
        assert np.array_equal(before[:, :first], after[:, :first])
    for place in range(7):
        inside = tokens.copy()
        inside[:, place] = (tokens[:, place] + 1) % VOCABULARY
        after = run(model, "blocked", parameters, inside, prefix).states
        assert np.all(np.any(before[:, :7] != after[:, :7], axis=2))


@pytest.mark.parametrize(
    "name", slow_but(["parallel windows"], ["parallel windows", "parallel windows alibi", "parallel windows learned"])
)
def test_parallel_windows_are_equivalent_and_do_not_see_each_other(name: str) -> None:
    model, tokens = MODELS[name], some_tokens(6)
    tokens[:, 4:8] = tokens[:, :4]
    parameters = catalogue.draw(model, VOCABULARY, 6)
    before = run(model, "blocked", parameters, tokens).states
    assert agree(before[:, 4:8], before[:, :4], 1e-5), "their positions are the same"
    changed = tokens.copy()
    changed[:, :4] = (tokens[:, :4] + 1) % VOCABULARY
    after = run(model, "blocked", parameters, changed).states
    assert np.array_equal(before[:, 4:8], after[:, 4:8])
    assert np.all(np.any(before[:, 8:] != after[:, 8:], axis=2)), "what is behind sees them all"


@pytest.mark.parametrize("arrangement", slow_but(["cpu"], ["cpu", "accelerator"]))
@pytest.mark.parametrize("name", ["experts dropless", "experts capacity"])
def test_the_order_of_experts_does_not_matter(name: str, arrangement: str) -> None:
    model, tokens = MODELS[name], some_tokens(7)
    parameters = catalogue.draw(model, VOCABULARY, 7)
    order = np.array([2, 0, 3, 1])
    permuted = {
        array: values[:, order] if array.startswith("expert_") else values for array, values in parameters.items()
    }
    permuted["router"] = parameters["router"][:, :, order]
    before, after = (run(model, arrangement, arrays, tokens) for arrays in (parameters, permuted))
    assert agree(after.logits, before.logits, 1e-5)
    assert before.routing is not None
    assert after.routing is not None
    assert np.array_equal(after.routing.load, before.routing.load[:, order])
    assert np.array_equal(after.routing.dropped, before.routing.dropped)


@pytest.mark.parametrize(
    ("block", "arrangement"), slow_but([("parallel", "cpu")], [("parallel", "cpu"), ("serial", "accelerator")])
)
def test_a_single_expert_has_the_bits_of_the_dense_model(block: str, arrangement: str) -> None:
    dense = some(block=block, feedforward="gelu")
    lonely = some(block=block, experts={"count": 1, "top": 1, "every": 1, "feedforward": "gelu"})
    parameters, tokens = catalogue.draw(dense, VOCABULARY, 8), some_tokens(8)
    kernels = {f"expert_{name}": parameters[name][:, None] for name in ("up", "down")}
    mixed = {name: array for name, array in parameters.items() if name not in ("up", "down")} | kernels
    mixed["router"] = catalogue.draw(lonely, VOCABULARY, 8)["router"]
    expected, given = run(dense, arrangement, parameters, tokens), run(lonely, arrangement, mixed, tokens)
    assert np.array_equal(given.logits, expected.logits)
