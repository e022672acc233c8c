"""Whole compiled training steps: the reference, halved batches, NaN and Inf, float16, and partly scored batches."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model import tuning
from palmetto.model.parameters import parameter_table
from palmetto.parallel.sharding import Spread
from palmetto.recipe import Recipe
from palmetto.training import optimization
from palmetto.training.learning_rate import learning_rate
from palmetto.training.step import loss_scale as loss_scales
from palmetto.training.step.loss import Batch
from palmetto.training.step.state import State, initial_state
from palmetto.training.step.update import Metrics, TrainStep, make_step
from tests.conftest import RecipeMaker
from tests.references import decoder as reference

DRAWN = reference.draw(0, layers=2, d_model=32, heads=2, head_size=16, d_ff=128, vocabulary=300)
STACKS = {name: int(name not in ("embedding", "final_norm")) for name in DRAWN}
SPREADS = {name: Spread(stack) for name, stack in STACKS.items()}
RARE = 299
"""A token that occurs only in batches made to contain it."""

RATE = jnp.float32(0.01)
PLAIN = ("model.layers=1", "training.clip=null", "training.optimizer={name: adamw, b1: 0, weight_decay: 0}")


def state_of(recipe: Recipe, drawn: dict[str, np.ndarray] = DRAWN) -> State:
    """Returns a state with these parameters, of as many layers as the recipe has."""
    layers = recipe.model.layers
    parameters = {name: jnp.array(array[:layers] if STACKS[name] else array) for name, array in drawn.items()}
    scaled = recipe.model.activations == "float16"
    loss_scale = loss_scales.initial(recipe.training.loss_scale) if scaled else None
    optimizer = optimization.make(recipe.training.optimizer, parameter_table(recipe), SPREADS)
    return State(parameters, optimizer.init(parameters), loss_scale)


def some_windows(seed: int, leaves: int) -> Batch:
    return Batch(jnp.asarray(np.random.default_rng(seed).integers(RARE, size=(leaves, 2, 17)), jnp.int32))


def batch_of(recipe: Recipe, seed: int) -> Batch:
    return some_windows(seed, recipe.training.batch_size[0] // recipe.training.micro_batch)


def bits(state: State) -> list[bytes]:
    """Returns the bytes of every array of a state."""
    return [np.asarray(array).tobytes() for array in jax.tree.leaves(state)]


def logical(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the logical matrices in float64."""
    return {
        f"{name} {i}": matrix.astype(np.float64)
        for name, array in arrays.items()
        for i, matrix in enumerate(array if STACKS[name] else array[None])
    }


@pytest.fixture(scope="module")
def palms(tiny_recipe: RecipeMaker) -> tuple[Recipe, TrainStep]:
    """Returns a recipe with the optimizer of PaLM and active clipping, and its step."""
    recipe = tiny_recipe("training.clip=0.25", "training.z_loss=0.01")
    return recipe, make_step(recipe, tuning.CPU)


@pytest.fixture(scope="module")
def plain(tiny_recipe: RecipeMaker) -> tuple[Recipe, TrainStep]:
    """Returns a recipe whose first moment is the gradient itself, and its step."""
    recipe = tiny_recipe(*PLAIN)
    return recipe, make_step(recipe, tuning.CPU)


@pytest.fixture(scope="module")
def halves(tiny_recipe: RecipeMaker) -> tuple[Recipe, TrainStep]:
    """Returns the plain recipe with float16 activations, and its step."""
    recipe = tiny_recipe(*PLAIN, "model.activations=float16", "training.loss_scale={initial: 1073741824}")
    return recipe, make_step(recipe, tuning.CPU)


def gradient(step: TrainStep, state: State, batch: Batch) -> dict[str, np.ndarray]:
    """Returns the gradient of a step of a `PLAIN` recipe, its first moment."""
    moved, metrics = step(state, batch, RATE)
    assert metrics.finite
    return {name: np.asarray(m) for name, m in moved.optimizer.moments["m"].items()}


Rule = Callable[
    [reference.Array, reference.Array, reference.Moments, int, float], tuple[reference.Array, reference.Moments]
]


def test_steps_with_adafactor_and_clipping_match_the_reference(palms: tuple[Recipe, TrainStep]) -> None:
    check_against_reference(*palms, clip=0.25, rule=reference.adafactor)


@pytest.mark.slow
def test_steps_with_adamw_without_clipping_match_the_reference(plain: tuple[Recipe, TrainStep]) -> None:
    check_against_reference(*plain, clip=np.inf, rule=functools.partial(reference.adamw, weight_decay=0, b1=0))


def check_against_reference(recipe: Recipe, step: TrainStep, clip: float, rule: Rule) -> None:
    state = state_of(recipe)
    thetas = {name: np.asarray(array, np.float64) for name, array in state.parameters.items()}
    moments = {name: reference.Moments(np.zeros_like(t), np.zeros_like(t)) for name, t in logical(thetas).items()}
    for k in range(1, 4):
        windows = batch_of(recipe, k)
        state, metrics = step(state, windows, RATE)
        exact = reference.losses(
            thetas, np.asarray(windows.tokens).reshape(-1, 17), recipe.model.heads, recipe.training.z_loss
        )
        grad_norm = reference.norm(exact.gradients)
        before = logical(thetas)
        gradients = {name: g * min(1, clip / grad_norm) for name, g in logical(exact.gradients).items()}
        after = {name: rule(before[name], gradients[name], moments[name], k, 0.01) for name in before}
        moments = {name: moved for name, (_, moved) in after.items()}
        thetas = {
            name: np.stack([after[f"{name} {i}"][0] for i in range(len(array))])
            if STACKS[name]
            else after[f"{name} 0"][0]
            for name, array in thetas.items()
        }

        assert bool(metrics.finite)
        assert state.optimizer.k == k
        for ours, theirs in (
            (metrics.loss, exact.cross_entropy),
            (metrics.z, exact.z),
            (metrics.grad_norm, grad_norm),
            (metrics.parameter_norm, reference.norm(thetas)),
        ):
            assert float(ours) == pytest.approx(theirs, rel=1e-5)
        v = logical(jax.device_get(state.optimizer.moments["v"]))
        for name, moved in logical(jax.device_get(state.parameters)).items():
            assert np.linalg.norm(v[name] - moments[name].v) < 1e-4 * np.linalg.norm(moments[name].v), (name, k)
            # g/√v is ill-conditioned where the gradient is nearly zero: one element in a hundred may differ.
            error = np.abs(moved - after[name][0]) / np.abs(after[name][0] - before[name]).max()
            assert np.quantile(error, 0.99) < 1e-3, (name, k)


@pytest.mark.slow
@pytest.mark.skipif(
    jax.default_backend() != "cpu",
    reason="a GPU's programs with one leaf and with two differ in more (docs/determinism.md)",
)
def test_a_batch_gradient_is_the_mean_of_its_halves(plain: tuple[Recipe, TrainStep]) -> None:
    """The halves agree to the bit, except for norm scales, whose gradients follow from those of kernels."""
    recipe, step = plain
    drawn = {name: np.ones_like(array) if "norm" in name else array for name, array in DRAWN.items()}

    windows = some_windows(9, leaves=2)
    parts = (windows, *map(Batch, jnp.split(windows.tokens, 2)))
    whole, left, right = (gradient(step, state_of(recipe, drawn), part) for part in parts)
    for name in filter(lambda name: "norm" not in name, whole):
        assert np.any(left[name] != right[name]), name
        assert np.array_equal(whole[name], (left[name] + right[name]) / np.float32(2)), name


def overflowing(where: str) -> dict[str, np.ndarray]:
    """Returns finite parameters whose `where`, loss or gradient, is infinite only in batches that contain RARE.

    Component 0 of the embedding of every other token is low, so that the Swish gate of unit 0 in the first
    feed-forward is zero. RARE opens the gate to a value of 1e28, which W2 multiplies by zero or not.
    """
    drawn = {name: array.copy() for name, array in DRAWN.items()}
    drawn["embedding"][:, 0] = -5
    drawn["embedding"][RARE, 0] = 5
    drawn["norm"][0] = 1
    for name, size in (("gate", 1e10), ("up", 1e18)):
        drawn[name][0, :, 0] = 0
        drawn[name][0, 0, 0] = size
    drawn["down"][0, 0] = 1e15 if where == "loss" else 0
    return drawn


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("optimizer", ["palms", "plain"])
def test_an_overflow_leaves_no_trace_in_the_state(request: pytest.FixtureRequest, optimizer: str, where: str) -> None:
    recipe, step = request.getfixturevalue(optimizer)
    good, drawn = batch_of(recipe, 1), overflowing(where)
    bad = Batch(good.tokens.at[-1, 0, 5].set(RARE))

    def run(*batches: Batch) -> tuple[State, list[Metrics]]:
        state, metrics = state_of(recipe, drawn), []
        for batch in batches:
            state, of_step = step(state, batch, RATE)
            metrics.append(of_step)
        return state, metrics

    untouched = state_of(recipe, drawn)
    skipped, (metrics,) = run(bad)
    assert not metrics.finite
    assert np.isfinite(metrics.loss) == (where == "gradient")
    assert not np.isfinite(metrics.grad_norm)
    assert bits(skipped) == bits(untouched)
    assert float(metrics.parameter_norm) == pytest.approx(reference.norm(untouched.parameters), rel=1e-5)

    undisturbed, _ = run(good)
    assert undisturbed.optimizer.k == 1
    assert bits(undisturbed) != bits(untouched)
    disturbed, of_each = run(bad, bad, good)
    assert [bool(m.finite) for m in of_each] == [False, False, True]
    assert bits(disturbed) == bits(undisturbed)


def test_clipping_shrinks_only_large_gradients(palms: tuple[Recipe, TrainStep]) -> None:
    recipe, step = palms
    for share, clipped in ((1, True), (0.01, False)):
        drawn = DRAWN | {"final_norm": np.float32(share) * DRAWN["final_norm"]}
        state, metrics = step(state_of(recipe, drawn), batch_of(recipe, 4), RATE)
        assert (float(metrics.grad_norm) > 0.25) == clipped
        # After the first step v is g².
        taken = np.sqrt(sum(np.sum(np.asarray(v, np.float64)) for v in state.optimizer.moments["v"].values()))
        assert taken == pytest.approx(0.25 if clipped else float(metrics.grad_norm), rel=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_nan_or_infinity_in_any_parameter_changes_nothing(
    palms: tuple[Recipe, TrainStep], name: str, value: float
) -> None:
    recipe, step = palms
    drawn = {other: array.copy() for other, array in DRAWN.items()}
    drawn[name].reshape(-1)[7] = value
    state, metrics = step(state_of(recipe, drawn), batch_of(recipe, 1), RATE)
    assert not metrics.finite
    assert bits(state) == bits(state_of(recipe, drawn))


def test_the_same_step_twice_has_the_same_bits(palms: tuple[Recipe, TrainStep]) -> None:
    recipe, step = palms
    one, other = (step(state_of(recipe), batch_of(recipe, 2), RATE) for _ in range(2))
    assert bits(one[0]) == bits(other[0])
    assert [np.asarray(m).tobytes() for m in one[1][:5]] == [np.asarray(m).tobytes() for m in other[1][:5]]


def test_training_on_one_batch_learns_it(palms: tuple[Recipe, TrainStep]) -> None:
    recipe, step = palms
    state, losses = state_of(recipe), []
    for number in range(1, 31):
        state, metrics = step(state, batch_of(recipe, 3), jnp.float32(learning_rate(recipe.training, number)))
        losses.append(float(metrics.loss))
    assert losses[-1] < 0.5 * losses[0]


def test_the_initial_state_is_drawn_with_zero_moments(tiny_recipe: RecipeMaker) -> None:
    recipe = tiny_recipe()
    state = initial_state(recipe)
    assert {name: of.stack for name, of in parameter_table(recipe).items()} == STACKS
    assert {name: array.shape for name, array in state.parameters.items()} == {n: a.shape for n, a in DRAWN.items()}
    assert all(np.any(array) for array in state.parameters.values())
    assert state.optimizer.k == 0
    assert not any(np.any(array) for array in jax.tree.leaves(state.optimizer.moments))
    assert state.loss_scale is None


@pytest.mark.slow
def test_an_overflowing_scale_is_halved_until_a_step_succeeds(
    halves: tuple[Recipe, TrainStep],
) -> None:
    recipe, step = halves
    batch, state, scales = batch_of(recipe, 1), state_of(recipe), []
    untouched = bits(state._replace(loss_scale=None))
    for _ in range(31):
        state, metrics = step(state, batch, RATE)
        assert state.loss_scale is not None
        assert metrics.loss_scale is not None
        assert np.isfinite(metrics.loss)
        scales.append(float(metrics.loss_scale))
        if metrics.finite:
            break
        assert not np.isfinite(metrics.grad_norm)
        assert bits(state._replace(loss_scale=None)) == untouched
        assert float(state.loss_scale.scale) == scales[-1] / 2
    assert scales == [2.0 ** (30 - n) for n in range(len(scales))]
    assert 2 < len(scales) < 20
    found = loss_scales.LossScaleState(jnp.float32(scales[-1]), jnp.int32(0))
    assert state.loss_scale == found._replace(good_steps=jnp.int32(1))
    assert state.optimizer.k == 1
    before = state_of(recipe).parameters
    assert all(np.any(array != before[name]) for name, array in state.parameters.items())

    # Except for the scale, the skipped steps leave no trace.
    undisturbed, _ = step(state_of(recipe)._replace(loss_scale=found), batch, RATE)
    assert bits(undisturbed) == bits(state)


def scaled(recipe: Recipe, exponent: int, drawn: dict[str, np.ndarray] = DRAWN) -> State:
    loss_scale = loss_scales.LossScaleState(jnp.float32(2**exponent), jnp.int32(0))
    return state_of(recipe, drawn)._replace(loss_scale=loss_scale)


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the relative distance of two arrays."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.mark.slow
def test_loss_scaling_preserves_gradients_up_to_float16_rounding(
    halves: tuple[Recipe, TrainStep], plain: tuple[Recipe, TrainStep]
) -> None:
    recipe, step = halves
    batch = batch_of(recipe, 5)
    exact = gradient(plain[1], state_of(plain[0]), batch)
    unscaled = gradient(step, scaled(recipe, 0), batch)
    for exponent in (3, 8, 12):
        for name, ours in gradient(step, scaled(recipe, exponent), batch).items():
            assert distance(ours, unscaled[name]) < 2**-9, (name, exponent)
            assert 2**-14 < distance(ours, exact[name]) < 2**-8, (name, exponent)


@pytest.mark.slow
def test_scaling_keeps_gradients_that_float16_would_lose(
    halves: tuple[Recipe, TrainStep], plain: tuple[Recipe, TrainStep]
) -> None:
    recipe, step = halves
    batch, drawn = batch_of(recipe, 5), DRAWN | {"final_norm": np.float32(2e-4) * DRAWN["final_norm"]}
    exact = gradient(plain[1], state_of(plain[0], drawn), batch)
    unscaled, kept = (gradient(step, scaled(recipe, exponent, drawn), batch) for exponent in (0, 14))
    for name in ("q", "gate", "down"):
        assert distance(kept[name], exact[name]) < 2**-8, name
        assert distance(unscaled[name], exact[name]) > 8 * distance(kept[name], exact[name]), name


@pytest.mark.slow
def test_only_the_input_gradient_of_the_embedding_is_shrunk(
    plain: tuple[Recipe, TrainStep], tiny_recipe: RecipeMaker
) -> None:
    whole_recipe, whole_step = plain
    batch = some_windows(6, leaves=1)
    recipe = tiny_recipe(*PLAIN, "training.embedding_gradient=0.25")
    whole = gradient(whole_step, state_of(whole_recipe), batch)
    shrunk = gradient(make_step(recipe, tuning.CPU), state_of(recipe), batch)
    inputs = np.unique(batch.tokens[..., :-1])
    elsewhere = np.setdiff1d(np.arange(300), inputs)
    assert np.allclose(shrunk["embedding"][elsewhere], whole["embedding"][elsewhere], rtol=1e-5, atol=1e-9)
    for name in shrunk.keys() - {"embedding"}:
        assert distance(shrunk[name], whole[name]) < 1e-6, name

    # The gradient from the output alone is that of the same parameters with an untied output.
    apart = tiny_recipe(*PLAIN, "model.tied_embedding=false")
    drawn = DRAWN | {"output": DRAWN["embedding"].T / np.float32(np.sqrt(32))}
    parameters = {name: jnp.array(array[:1] if STACKS.get(name) else array) for name, array in drawn.items()}
    spreads = SPREADS | {"output": Spread(0)}
    optimizer = optimization.make(apart.training.optimizer, parameter_table(apart), spreads)
    state = State(parameters, optimizer.init(parameters), None)
    parts = gradient(make_step(apart, tuning.CPU), state, batch)
    output = parts["output"].T / np.sqrt(32)
    assert distance(whole["embedding"], parts["embedding"] + output) < 1e-6
    assert distance(shrunk["embedding"], 0.25 * parts["embedding"] + output) < 1e-6
    assert distance(whole["embedding"], output) > 0.1


@pytest.mark.slow
def test_losses_average_all_scored_tokens_however_leaves_are_split(
    plain: tuple[Recipe, TrainStep],
) -> None:
    """Half of the sequences have a single scored token, so the mean of the means of leaves would differ."""
    recipe, step = plain
    random = np.random.default_rng(8)
    tokens = random.integers(RARE, size=(8, 17)).astype(np.int32)
    scored = random.random((8, 17)) < 0.8
    scored[:4], scored[:4, 9], scored[:, 0] = False, True, False

    logits = reference.logits({n: a[:1] if STACKS[n] else a for n, a in DRAWN.items()}, tokens[:, :-1], 2)
    log_z = np.log(np.sum(np.exp(logits), axis=2))
    losses = log_z - np.take_along_axis(logits, tokens[:, 1:, None], axis=2)[..., 0]
    assert abs(np.mean(losses[:4, 8]) - np.mean(losses[4:][scored[4:, 1:]])) > 0.1
    gradients = []
    for leaves in (1, 2, 4):
        batch = Batch(*(jnp.asarray(array.reshape(leaves, 8 // leaves, 17)) for array in (tokens, scored)))
        state, metrics = step(state_of(recipe), batch, RATE)
        assert float(metrics.loss) == pytest.approx(np.mean(losses[scored[:, 1:]]), rel=1e-6)
        assert float(metrics.z) == pytest.approx(np.mean(log_z[scored[:, 1:]] ** 2), rel=1e-6)
        gradients.append({name: np.asarray(m) for name, m in state.optimizer.moments["m"].items()})
    for other in gradients[1:]:
        for name, array in gradients[0].items():
            assert distance(other[name], array) < 1e-6, name
