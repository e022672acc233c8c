"""Several runs of adapters are served beside their base, whose answers keep their bits."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from starlette.testclient import TestClient

from palmetto.cli.serve import find_adapters, serve
from palmetto.decoding.trained import TrainedModel
from palmetto.errors import UserError
from palmetto.files import write_text
from palmetto.model.layout import Arranged
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.serving.app import application
from palmetto.serving.server import load
from palmetto.serving.settings import Settings
from palmetto.tokens.vocabulary import Vocabulary
from palmetto.training.beginning import initial_state
from palmetto.training.checkpoint import Checkpoints
from tests.conftest import RecipeMaker
from tests.decoding.test_trained import VOCABULARY, save
from tests.references.drawn_runs import make_run
from tests.serving.conftest import LIMITS

ASKED: dict[str, Any] = {"prompt": "def ", "temperature": 0, "logprobs": 1, "max_tokens": 6}


def make_adapters(
    path: Path, base: RunDirectory, tiny_recipe: RecipeMaker, seed: int | None, *overrides: str
) -> RunDirectory:
    """Returns a run of adapters at step 1; without a seed they are as they begin."""
    manifest = base.newest_manifest
    assert manifest is not None
    recipe = tiny_recipe(
        f"tokens.vocabulary_size={VOCABULARY}",
        "model.lora={weights: [q, up], rank: 2}",
        f"finetuning={{base: {base.path}, step: {manifest.step}, parameters: '{manifest.parameters}'}}",
        *overrides,
    )
    path.mkdir()
    run, sharding = RunDirectory(path), Sharding(recipe)
    write_text(run.recipe_file, loading.dump(recipe))
    Vocabulary.load(base.vocabulary).save(run.vocabulary)
    state = initial_state(recipe, sharding)
    if seed is not None:
        random = np.random.default_rng(seed)
        drawn = {name: random.normal(size=state.parameters[name].shape) for name in ("q_lora_b", "up_lora_b")}
        changed = {name: jnp.asarray(array, jnp.float32) for name, array in drawn.items()}
        state = state._replace(parameters=state.parameters | changed)
    checkpoints = Checkpoints(run.checkpoints, sharding.table)
    checkpoints.save(state, step=1, attempt=0, recipe=recipe.digest, tokens="", chain="")
    checkpoints.wait()
    return run


@pytest.mark.slow
def test_adapters_are_models_of_their_own_and_leave_the_base(
    run: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path
) -> None:
    alone = TestClient(application(load({"tiny": run}, LIMITS, Settings())))
    expected = alone.post("/v1/completions", json={"model": "tiny", **ASKED}).json()
    made = {
        name: (make_adapters(tmp_path / name, run, tiny_recipe, seed), "tiny")
        for name, seed in (("new", None), ("one", 1), ("two", 2))
    }
    server = load({"tiny": run}, LIMITS, Settings(), adapters=made)
    client = TestClient(application(server))
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["tiny", "new", "one", "two"]
    found = {name: client.post("/v1/completions", json={"model": name, **ASKED}).json() for name in server.models}
    assert found["tiny"]["choices"] == expected["choices"]
    assert found["tiny"]["system_fingerprint"] == expected["system_fingerprint"]
    assert found["new"]["choices"] == expected["choices"], "adapters that have not been trained change no bit"
    assert found["one"]["choices"] != expected["choices"] != found["two"]["choices"] != found["one"]["choices"]


def bits(arranged: Arranged) -> list[tuple[str, bytes]]:
    return [(str(array.dtype), np.asarray(array).tobytes()) for array in jax.tree.leaves(arranged)]


@pytest.mark.parametrize("changed", ["model.activations=bfloat16", "model.positions.name=alibi", "step 20"])
def test_adapters_keep_their_weights_whatever_the_base_has(
    run: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path, changed: str
) -> None:
    base = make_run(tmp_path / "base", tiny_recipe)
    moved_on = changed == "step 20"
    adapters = make_adapters(tmp_path / "new", base, tiny_recipe, 1, *([] if moved_on else [changed]))
    if moved_on:
        save(base, 20)
    served = TrainedModel(base).arranged
    assert bits(TrainedModel(adapters, base=served).arranged) == bits(TrainedModel(adapters).arranged)


def test_adapters_share_the_memory_of_equal_weights(
    run: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path
) -> None:
    base = TrainedModel(run).arranged
    arranged = TrainedModel(make_adapters(tmp_path / "one", run, tiny_recipe, 1), base=base).arranged
    pairs = zip(jax.tree.leaves(arranged), jax.tree.leaves(base), strict=True)
    adapted = [own for own, theirs in pairs if own is not theirs]
    assert len(adapted) == 4, "of both layers the kernels that hold q and up, and no other array"


def test_adapters_of_what_is_not_served_are_refused(
    run: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path
) -> None:
    adapters = make_adapters(tmp_path / "adapters", run, tiny_recipe, None)
    runs = {"tiny": run}
    assert find_adapters([f"new={adapters.path}"], runs)["new"][1] == "tiny"
    for given, served, words in (
        (f"new={run.path}", runs, "has no adapters; expected a run of `palmetto finetune --lora`"),
        (f"new={adapters.path}", {}, "adapts step 10 of .*, which is not served"),
        (f"tiny={adapters.path}", runs, "expected NAME=DIR, with a name that no other model has"),
        (str(adapters.path), runs, "expected NAME=DIR"),
        (f"\ud800={adapters.path}", runs, "expected NAME=DIR"),
    ):
        with pytest.raises(UserError, match=words):
            find_adapters([given], served)


def test_adapters_keep_the_step_of_their_base(
    tiny_recipe: RecipeMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_run(tmp_path / "base", tiny_recipe)
    adapters = make_adapters(tmp_path / "new", base, tiny_recipe, None)
    save(base, 20)
    assert find_adapters([f"new={adapters.path}"], {"base": base})["new"][1] == "base"
    assert f"adapts step 10 of {base.path}, and keeps the weights of that step" in capsys.readouterr().err


def test_adapters_with_other_threads_are_refused(run: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
    threads = run.recipe.training.threads
    adapters = make_adapters(tmp_path / "new", run, tiny_recipe, None, f"training.threads={threads + 1}")
    with pytest.raises(UserError, match=f"training.threads is {threads}, {threads + 1}: runs served together"):
        serve([str(run.path)], adapter=[f"new={adapters.path}"])
