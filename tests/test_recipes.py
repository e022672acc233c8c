"""Reading recipes: shipped and in files, overrides, and a refusal that helps for everything that cannot be."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from palmetto import recipes
from palmetto.errors import UserError
from palmetto.recipe import Recipe

TINY = """
tokens: {vocabulary_size: 300, sequence_length: 16}
model: {layers: 2, d_model: 32, heads: 2}
training: {steps: 8, batch_size: 8, micro_batch: 2}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    file.write_text(TINY)
    return str(file)


def refusal(recipe: str, *overrides: str) -> str:
    """The message, which is one line."""
    with pytest.raises(UserError) as caught:
        recipes.load(recipe, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_shipped_recipes_load_describe_themselves_and_come_back_from_their_dump(tmp_path: Path) -> None:
    shipped = recipes.names()
    assert {"quickstart", "palm-8b", "palm-62b", "palm-540b"} <= set(shipped)
    assert shipped == sorted(shipped)
    for name in shipped:
        recipe = recipes.load(name)
        assert recipe.name == name
        assert len(recipes.describe(name)) > 20
        (tmp_path / "recipe.yaml").write_text(recipes.dump(recipe))
        assert recipes.load(str(tmp_path / "recipe.yaml")) == recipe


@pytest.mark.parametrize(
    ("name", "shape", "ramp"),
    [
        ("palm-8b", (32, 4096, 16), {0: 256, 100_000: 512}),
        ("palm-62b", (64, 8192, 32), {0: 512, 50_000: 1024}),
        ("palm-540b", (118, 18432, 48), {0: 512, 50_000: 1024, 115_000: 2048}),
    ],
)
def test_the_papers_models_are_the_papers(name: str, shape: tuple[int, int, int], ramp: dict[int, int]) -> None:
    recipe = recipes.load(name)
    model, training = recipe.model, recipe.training
    assert (model.layers, model.d_model, model.heads) == shape
    assert (model.query_size, model.feedforward_size) == (256, 4 * model.d_model)
    assert (recipe.tokens.vocabulary_size, recipe.tokens.sequence_length) == (256_000, 2048)
    assert training.batch_size == ramp
    assert (training.optimizer.name, training.schedule.name) == ("adafactor", "inverse_sqrt")
    assert (training.clip, training.z_loss, training.epochs) == (1.0, 1e-4, 1)
    assert (training.schedule.peak, training.schedule.model_dump()["hold"]) == (1e-2, 10_000)


def test_a_file_is_named_after_itself_unless_it_says_otherwise(tiny: str) -> None:
    assert recipes.load(tiny).name == "tiny"
    assert recipes.load(tiny, ["name=other"]).name == "other"


def test_overrides_reach_every_depth_in_order_and_leave_the_rest(tiny: str) -> None:
    recipe = recipes.load(
        tiny,
        ["model.layers=3", "training.spikes.patience=4", "training.clip=null", "model.layers=4",
         "training.batch_size={0: 8, 100: 16}", "corpus.source=some where=else", "training.schedule.peak=1e-3"],
    )  # fmt: skip
    assert recipe.model.layers == 4
    assert recipe.training.spikes.patience == 4
    assert recipe.training.clip is None
    assert recipe.training.batch_size == {0: 8, 100: 16}
    assert recipe.corpus.source == "some where=else"
    assert recipe.training.schedule.peak == 1e-3
    assert recipe.model.model_copy(update={"layers": 2}) == recipes.load(tiny).model


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-2", 1e-2), ("1E+1", 10.0), ("1.5e2", 150.0), ("+.5", 0.5), ("3", 3.0), ("1_0.5", 10.5), ("2.", 2.0)],
)
def test_numbers_are_read_as_people_write_them(tiny: str, text: str, value: float) -> None:
    assert recipes.load(tiny, [f"training.clip={text}"]).training.clip == value


# Overrides of the tiny recipe that cannot be, and what a refusal must say: the key, the value and what would do.
REFUSED = {
    "model.layer=3": ["model.layer:", "no such key", "'model.layers'"],
    "modle.layers=3": ["modle:", "no such key", "'model'"],
    "training.batchsize=8": ["training.batchsize:", "'training.batch_size'"],
    "training.spikes.rewnd=8": ["training.spikes.rewnd:", "'training.spikes.rewind'"],
    "layers=3": ["layers:", "'model.layers'"],
    "xyzzy=3": ["xyzzy:", "known keys:", "model.layers"],
    "training.optimizer={name: adam}": ["training.optimizer.name='adam'", "'adafactor'", "'adamw'"],
    "training.schedule={name: 3}": ["training.schedule.name='3'", "'inverse_sqrt'", "'cosine'"],
    "training.optimizer={name: adamw, bb1: 1}": ["training.optimizer.bb1:", "'training.optimizer.b1'"],
    "training.steps=0": ["training.steps=0", "greater than or equal to 1"],
    "training.steps=1.0": ["training.steps=1.0", "integer"],
    "training.steps=many": ["training.steps='many'", "integer"],
    "training.steps=true": ["training.steps=True", "integer"],
    "training.steps=": ["training.steps=None", "integer"],
    "training.steps.x=3": ["training.steps.x", "steps is a value, not a section"],
    "training.steps=1: 2": ["training.steps", "integer"],
    "training.steps={a: 1, a: 2}": ["training.steps", "not YAML", "'a' appears twice"],
    "training.steps=[": ["training.steps", "not YAML"],
    "training.steps=!!python/object/apply:os.getcwd []": ["training.steps", "not YAML"],
    "training=3": ["training=3", "dictionary"],
    "training.steps": ["'training.steps'", "key.path=value", "training.steps=100"],
    "=3": ["'=3'", "key.path=value"],
    "training.batch_size=12": ["training.batch_size=12", "training.micro_batch 2", "power of two", "8 or 16 would do"],
    "training.batch_size=7": ["training.batch_size=7", "4 or 8 would do"],
    "training.batch_size=1": ["training.batch_size=1", "2 or 4 would do"],
    "training.micro_batch=3": ["training.batch_size=8", "training.micro_batch 3", "6 or 12 would do"],
    "training.batch_size={0: 8, 10: 12}": ["training.batch_size=12", "8 or 16 would do"],
    "training.batch_size={100: 8}": ["training.batch_size={100: 8}", "begin at step 0"],
    "training.batch_size={}": ["training.batch_size={}", "at least 1"],
    "training.batch_size=0": ["training.batch_size", "=0", "greater than or equal to 1"],
    "training.batch_size={0: 8, -9: 16}": ["training.batch_size", "-9", "greater than or equal to 0"],
    "training.batch_size=eight": ["training.batch_size='eight'"],
    "model.heads=5": ["model.heads=5", "model.d_model 32", "1, 2, 4, 8, 16", "model.head_size"],
    "model.heads=0": ["model.heads=0", "greater than or equal to 1"],
    "model.head_size=3": ["model.head_size=3", "even", "2 or 4 would do"],
    "model.head_size=2.0": ["model.head_size=2.0", "integer"],
    "model.d_ff=0": ["model.d_ff=0", "at least 1"],
    "model.activations=float16": ["model.activations='float16'", "'float32' or 'bfloat16'"],
    "tokens.vocabulary=wordpiece": ["tokens.vocabulary='wordpiece'", "'unigram' or 'bpe'"],
    "tokens.vocabulary_size=10": ["tokens.vocabulary_size=10", "greater than or equal to 260"],
    "tokens.sequence_length=1": ["tokens.sequence_length=1", "greater than or equal to 2"],
    "corpus.validation_share=1": ["corpus.validation_share=1", "less than 1"],
    "corpus.validation_share=0": ["corpus.validation_share=0", "greater than 0"],
    "corpus.source=3": ["corpus.source=3", "string"],
    "training.clip=0": ["training.clip=0", "greater than 0"],
    "training.clip=.inf": ["training.clip=inf", "finite"],
    "training.schedule.peak=.nan": ["training.schedule.peak=nan", "finite"],
    "training.z_loss=-1": ["training.z_loss=-1", "greater than or equal to 0"],
    "training.optimizer.momentum=1": ["training.optimizer.momentum=1", "less than 1"],
    "training.rematerialize=all": ["training.rematerialize='all'", "'nothing', 'projections' or 'block'"],
    "training.spikes.skip=150": ["training.spikes.skip=150", "training.spikes.rewind, 200"],
    "training.spikes.window=4": ["training.spikes.window=4", "greater than or equal to 8"],
    "training.seed=-1": ["training.seed=-1", "greater than or equal to 0"],
    "training.epochs=0": ["training.epochs=0", "greater than or equal to 1"],
    "training.threads=0": ["training.threads=0", "greater than or equal to 1"],
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_refusal_names_the_key_the_value_and_what_would_do(tiny: str, override: str) -> None:
    message = refusal(tiny, override)
    for words in REFUSED[override]:
        assert words in message


@pytest.mark.parametrize(
    "key",
    [
        *("tokens.vocabulary_size", "tokens.sequence_length", "model.layers", "model.d_model", "model.heads"),
        *("training.steps", "training.batch_size"),
    ],
)
def test_what_a_recipe_must_give_is_asked_for(key: str) -> None:
    values = {"name": "tiny", **yaml.safe_load(TINY)}
    section, _, last = key.partition(".")
    del values[section][last]
    with pytest.raises(UserError, match=f"^{key}: missing; a recipe must give it$"):
        recipes.validate(values)


def test_a_recipe_that_is_not_there_is_refused_with_the_nearest_and_the_shipped(tmp_path: Path) -> None:
    assert "did you mean 'quickstart'?" in refusal("quickstar")
    assert all(name in refusal("xyzzy") for name in recipes.names())
    assert str(tmp_path) in refusal(str(tmp_path))


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just words", "a: [", "\0", "a: 1\na: 2\n", "tokens: &x {y: *x}\n"])
def test_a_file_that_is_no_recipe_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    assert str(file) in refusal(str(file))


# U+0085 has a finding of its own below.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x85"), min_size=1)


@given(source=texts, peak=st.floats(1e-300, 1e300), seed=st.integers(0, 2**32 - 1))
def test_any_recipe_comes_back_from_its_dump(tiny: str, source: str, peak: float, seed: int) -> None:
    values = recipes.load(tiny).model_dump()
    values["corpus"]["source"] = source
    values["training"]["schedule"]["peak"] = peak
    values["training"]["seed"] = seed
    recipe = Recipe.model_validate(values)
    file = Path(tiny).with_name("again.yaml")
    file.write_text(recipes.dump(recipe))
    assert recipes.load(str(file)) == recipe


@pytest.mark.parametrize("name", ["1e5", "1E-2", "\x85"])
def test_odd_names_come_back_from_their_dump(tiny: str, name: str) -> None:
    recipe = recipes.load(tiny).model_copy(update={"name": name})
    file = Path(tiny).with_name("odd.yaml")
    file.write_text(recipes.dump(recipe))
    assert recipes.load(str(file)) == recipe


@pytest.mark.parametrize(
    "overrides", [("training.schedule={hold: 5}", "training.schedule.name=cosine"), ("training.optimizer.b2=0.9",)]
)
def test_a_key_of_another_kind_is_not_suggested(tiny: str, overrides: tuple[str, ...]) -> None:
    message = refusal(tiny, *overrides)
    key = overrides[-1].partition("=")[0] if "b2" in overrides[-1] else "training.schedule.hold"
    assert f"did you mean '{key}'" not in message


@pytest.mark.parametrize("override", ["model.d_model=31", "model.head_size=0", "model.head_size=1"])
def test_what_would_do_is_something(tiny: str, override: str) -> None:
    message = refusal(tiny, override)
    assert "(one of )" not in message
    assert "2 or 2" not in message


def test_a_stage_of_a_ramp_can_be_overridden(tiny: str) -> None:
    recipe = recipes.load(tiny, ["training.batch_size={0: 8}", "training.batch_size.100=16"])
    assert recipe.training.batch_size == {0: 8, 100: 16}


@pytest.mark.parametrize("contents", [b"tokens: {[1]: 2}\n", b"\xff\xfe\x00"])
def test_odd_bytes_and_keys_are_refused_by_name(tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(contents)
    assert str(file) in refusal(str(file))


@pytest.mark.parametrize("seed", [2**32, 2**63])
def test_seeds_that_jax_cannot_tell_apart_are_refused(tiny: str, seed: int) -> None:
    assert f"training.seed={seed}" in refusal(tiny, f"training.seed={seed}")
