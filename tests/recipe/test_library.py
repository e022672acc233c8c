"""The shipped recipes load, match their papers, and make a training step at full size."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from palmetto.model.tuning import ACCELERATOR
from palmetto.recipe import loading
from palmetto.recipe.training import InverseSqrt
from palmetto.tokens.order import Ramp
from palmetto.training.learning_rate import learning_rate
from palmetto.training.optimizers.adafactor import Adafactor
from palmetto.training.step.loss import Batch
from palmetto.training.step.state import State, shapes
from palmetto.training.step.update import make_step
from tests.conftest import slow_but


def test_shipped_recipes_load_and_are_dumped_unchanged(tmp_path: Path) -> None:
    shipped = loading.names()
    assert {"quickstart", "palm-8b", "palm-62b", "palm-540b"} <= set(shipped)
    assert shipped == sorted(shipped)
    for name in shipped:
        recipe = loading.load(name)
        assert recipe.name == name
        assert len(loading.describe(name)) > 20
        (tmp_path / "recipe.yaml").write_text(loading.dump(recipe))
        assert loading.load(str(tmp_path / "recipe.yaml")) == recipe


BEGUN = {"base": "run", "step": 6, "parameters": "some"}


def test_recipes_of_finetuning_take_vocabulary_and_model_from_the_base(tmp_path: Path) -> None:
    base = loading.load("palm-1m", ["training.threads=4"])
    assert {"adamw", "continued", "palm", "preferences"} == set(loading.names("finetuning"))
    for name in loading.names("finetuning"):
        recipe = loading.finetune(name, base, BEGUN)
        assert (recipe.name, recipe.model, recipe.training.threads) == (f"palm-1m-{name}", base.model, 4)
        assert recipe.tokens.vocabulary_size == base.tokens.vocabulary_size
        assert len(loading.describe(name, "finetuning")) > 20
        (tmp_path / "recipe.yaml").write_text(loading.dump(recipe))
        assert loading.load(str(tmp_path / "recipe.yaml")) == recipe


def test_finetuning_as_palm_matches_the_paper() -> None:
    """Section 6.1.2 of arXiv 2204.02311; its accumulators begin anew, as every fine-tuning's do."""
    recipe = loading.finetune("palm", loading.load("palm-8b"), BEGUN)
    training, objective = recipe.training, recipe.training.objective.model_dump()
    assert (training.optimizer.name, training.schedule.name, training.schedule.peak) == ("adafactor", "constant", 5e-5)
    assert (training.batch_size, training.dropout, training.steps) == ({0: 32}, 0.1, 15_000)
    assert (objective["longest_prompt"], objective["longest_target"]) == (2048, 512)
    assert recipe.tokens.sequence_length == 2048 + 512


@pytest.mark.parametrize(
    ("name", "shape", "ramp"),
    [
        ("palm-8b", (32, 4096, 16), {0: 256, 100_000: 512}),
        ("palm-62b", (64, 8192, 32), {0: 512, 50_000: 1024}),
        ("palm-540b", (118, 18432, 48), {0: 512, 50_000: 1024, 115_000: 2048}),
    ],
)
def test_the_palm_recipes_match_the_paper(name: str, shape: tuple[int, int, int], ramp: dict[int, int]) -> None:
    recipe = loading.load(name)
    model, training = recipe.model, recipe.training
    assert (model.layers, model.d_model, model.heads) == shape
    assert (model.query_size, model.feedforward_size) == (256, 4 * model.d_model)
    assert (recipe.tokens.vocabulary_size, recipe.tokens.sequence_length) == (256_000, 2048)
    assert training.batch_size == ramp
    assert (training.optimizer.name, training.schedule.name) == ("adafactor", "inverse_sqrt")
    assert (training.clip, training.z_loss, training.epochs) == (1.0, 1e-4, 1)
    assert (training.schedule.peak, training.schedule.model_dump()["hold"]) == (1e-2, 10_000)


GLAM = {
    "glam-0.1b": (12, 768, 3072, 12, 64, None),
    "glam-0.1b-64e": (12, 768, 3072, 12, 64, 64),
    "glam-1.7b": (24, 2048, 8192, 16, 128, None),
    "glam-1.7b-32e": (24, 2048, 8192, 16, 128, 32),
    "glam-1.7b-64e": (24, 2048, 8192, 16, 128, 64),
    "glam-1.7b-128e": (24, 2048, 8192, 16, 128, 128),
    "glam-1.7b-256e": (24, 2048, 8192, 16, 128, 256),
    "glam-8b": (32, 4096, 16384, 32, 128, None),
    "glam-8b-64e": (32, 4096, 16384, 32, 128, 64),
    "glam-137b": (64, 8192, 65536, 128, 128, None),
    "glam-64b-64e": (64, 8192, 32768, 128, 128, 64),
}
"""Table 4 of GLaM (arXiv 2112.06905): L, D, F, H, Q and E."""


@pytest.mark.parametrize("name", GLAM)
def test_the_glam_recipes_match_the_paper(name: str) -> None:
    recipe = loading.load(name)
    model, training, experts = recipe.model, recipe.training, recipe.model.experts
    shape = (model.layers, model.d_model, model.feedforward_size, model.heads, model.query_size)
    assert (*shape, experts and experts.count) == GLAM[name]
    assert (model.key_value_heads, model.positions.name, model.feedforward) == (model.heads, "t5", "geglu")
    assert (recipe.tokens.vocabulary_size, recipe.tokens.sequence_length) == (256_000, 1024)
    if experts:
        assert (experts.top, experts.every, model.expert_feedforward, experts.balance_loss) == (2, 2, "gelu", 0.01)
    assert training.optimizer == Adafactor(
        momentum=0, decay=0.99, decay_exponent=0.8, factored=True, weight_decay=False, update_clip=1
    )
    assert training.schedule == InverseSqrt(peak=1e-2, hold=10_000)
    assert training.batch_ramp == ((0, 1024),)


@pytest.mark.parametrize("experts", ["", "-8e"])
def test_the_small_glam_recipes_differ_only_in_size(experts: str) -> None:
    small, large = (loading.load(f"{name}{experts.replace('8e', of)}") for name, of in SMALL_AND_LARGE)
    sizes = {"layers", "d_model", "d_ff", "heads", "key_value_heads", "head_size", "activations", "experts"}
    assert small.model.model_dump(exclude=sizes) == large.model.model_dump(exclude=sizes)
    assert small.training.optimizer == large.training.optimizer
    palm = loading.load("palm-15m")
    assert (small.tokens, small.training.batch_size) == (palm.tokens, palm.training.batch_size)
    assert small.model.layers == palm.model.layers
    if small.model.experts and large.model.experts:
        assert small.model.experts == large.model.experts.model_copy(update={"count": 8})


SMALL_AND_LARGE = (("glam-15m", "8e"), ("glam-8b", "64e"))


@pytest.mark.parametrize(
    ("name", "tokens", "last", "peak", "final"),
    [
        ("gpt3-175b", 300e9, 1536 * 2048, 6e-5, 6e-6),
        ("gopher-280b", 300e9, 6.29e6, 4e-5, 4e-6),
        ("chinchilla-70b", 1.4e12, 3.15e6, 1e-4, 1e-5),
        ("bloom-176b", 341e9, 2048 * 2048, 6e-5, None),
        ("glm-130b", 400e9, 4224 * 2048, 8e-5, 8e-6),
        ("llama2-7b", 2e12, 2**22, 3e-4, 3e-5),
        ("llama3-8b", 15.6e12, 2**24, 3e-4, None),
        ("glam-64b-64e", 600e9, 2**20, 1e-2, None),
        ("glam-8b-64e", 280e9, 2**20, 1e-2, None),
    ],
)
def test_tokens_batches_and_learning_rates_match_the_papers(
    name: str, tokens: float, last: float, peak: float, final: float | None
) -> None:
    recipe = loading.load(name)
    training, length = recipe.training, recipe.tokens.sequence_length
    seen = Ramp(training.batch_ramp).sequences_before(training.steps + 1) * length
    assert seen == pytest.approx(tokens, rel=2e-3)
    assert training.batch_ramp[-1][1] * length == pytest.approx(last, rel=2e-3)
    assert training.schedule.peak == peak
    if final is not None:
        assert learning_rate(training, training.steps) == pytest.approx(final, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "first", "last", "before"),
    [
        ("gpt3-175b", 32_768, 3.2e6, 12e9),
        ("bloom-176b", 192 * 2048, 2048 * 2048, 9_765_625 * 2048),
        ("glm-130b", 192 * 2048, 4224 * 2048, 0.025 * 400e9),
    ],
)
def test_a_ramp_follows_the_linear_ramp_of_the_paper(name: str, first: float, last: float, before: float) -> None:
    recipe = loading.load(name)
    ramp, length = Ramp(recipe.training.batch_ramp), recipe.tokens.sequence_length
    for step, size in recipe.training.batch_ramp[1:]:
        seen = ramp.sequences_before(step + 1) * length
        line = first + (last - first) * min(1, seen / before)
        assert size * length == pytest.approx(line, rel=0.03), step


@pytest.mark.parametrize(
    "name",
    slow_but(
        ["llama3-8b", "glm-130b"],
        ["glam-15m-8e", "gpt3-175b", "gopher-280b", "bloom-176b", "glm-130b", "llama3-8b", "mixtral-8x7b"],
    ),
)
def test_a_shipped_recipe_makes_a_step_at_full_size(name: str) -> None:
    """The step is only traced; no array is made."""
    recipe = loading.load(name)
    leaves = (2, recipe.training.micro_batch)
    places = (*leaves, recipe.model_length + 1)

    def trace(state: State) -> State:
        batch = Batch(jnp.zeros(places, jnp.int32))
        if recipe.training.objective.name != "causal":
            batch = Batch(batch.tokens, jnp.ones(places, bool), jnp.ones(leaves, jnp.int32))
        return make_step(recipe, ACCELERATOR)(state, batch, jnp.float32(1e-3))[0]

    before = shapes(recipe)
    after = jax.eval_shape(trace, before)
    assert jax.tree.map(lambda array: (array.shape, array.dtype), before) == jax.tree.map(
        lambda array: (array.shape, array.dtype), after
    )
