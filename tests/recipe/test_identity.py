"""The keys that belong to the identity of a run, and the part of the mesh on which bits depend."""

from pathlib import Path
from typing import get_args

import pytest

from palmetto.recipe import Recipe, loading
from palmetto.recipe.kinds import Kind
from palmetto.recipe.objectives import Objective
from palmetto.recipe.optimizers import Optimizer
from palmetto.recipe.parts import Attention, Positions
from palmetto.recipe.recipe import flatten
from palmetto.recipe.section import Section
from palmetto.recipe.training import Schedule
from tests.conftest import RecipeMaker

# For every key whose value belongs to the identity, a value other than the tiny recipe's.
OTHER_RUN = {
    "corpus.validation_share": "0.1",
    "corpus.section_bytes": "1000",
    "tokens.vocabulary": "unigram",
    "tokens.vocabulary_size": "301",
    "tokens.sequence_length": "17",
    "tokens.chat_template": "'{{ messages }}'",
    "model.layers": "3",
    "model.d_model": "64",
    "model.heads": "4",
    "model.head_size": "8",
    "model.key_value_heads": "2",
    "model.d_ff": "100",
    "model.block": "serial",
    "model.norm": "rms",
    "model.norm_position": "post",
    "model.norm_bias": "true",
    "model.qk_norm": "true",
    "model.embedding_norm": "true",
    "model.biases": "true",
    "model.tied_embedding": "false",
    "model.feedforward": "gelu",
    "model.positions.name": "alibi",
    "model.positions.base": "1e6",
    "model.positions.scaling": "ntk",
    "model.positions.trained": "16",
    "model.activations": "bfloat16",
    "training.batch_size": "16",
    "training.micro_batch": "4",
    "training.reproducible": "fixed",
    "training.epochs": "2",
    "training.seed": "1",
    "training.threads": "4",
    "training.objective.name": "prefix",
    "training.optimizer.name": "adamw",
    "training.optimizer.momentum": "0.8",
    "training.optimizer.decay": "0.99",
    "training.optimizer.decay_exponent": "0.7",
    "training.optimizer.factored": "true",
    "training.optimizer.parameter_scale": "false",
    "training.optimizer.weight_decay": "false",
    "training.optimizer.update_clip": "1",
    "training.schedule.name": "cosine",
    "training.schedule.peak": "0.02",
    "training.schedule.hold": "100",
    "training.clip": "2",
    "training.z_loss": "0",
    "training.dropout": "0.1",
    "training.frozen": "[embedding]",
    "training.embedding_gradient": "0.1",
    "training.loss_scale.initial": "1024",
    "training.loss_scale.growth_interval": "100",
    "training.rematerialize": "block",
    "training.spikes.threshold": "9",
    "training.spikes.window": "64",
    "training.spikes.patience": "4",
    "training.spikes.nonfinite_patience": "9",
    "training.spikes.rewind": "50",
    "training.spikes.skip": "400",
    "training.spikes.attempts": "6",
}


# The same for the keys of every other kind of a section, and of sections that are off by default. The override that
# chooses the kind also changes the identity.
OTHER_KINDS = {
    "corpus.build={sources: {web: {paths: [web]}}, quality: {classifier: a}, contamination: {evaluation: [a]}}": {
        "corpus.build.sources.web.paths": "[other]",
        "corpus.build.sources.web.weight": "2.0",
        "corpus.build.sources.web.kind": "code",
        "corpus.build.sources.web.text": "[body]",
        "corpus.build.sources.web.url": "address",
        "corpus.build.sources.web.markup": "html",
        "corpus.build.sources.web.language": "de",
        "corpus.build.sources.web.licence": "MIT",
        "corpus.build.sources.web.quality": "true",
        "corpus.build.sources.web.filters": "c4",
        "corpus.build.failures": "0.5",
        "corpus.build.languages": "[de]",
        "corpus.build.personal_data": "keep",
        "corpus.build.copyleft": "keep",
        "corpus.build.filters.minimum_words": "5",
        "corpus.build.filters.maximum_words": "500",
        "corpus.build.filters.rules": "c4",
        "corpus.build.filters.bad_words": "words.txt",
        "corpus.build.quality.classifier": "b",
        "corpus.build.quality.alpha": "3.0",
        "corpus.build.duplicates.exact": "false",
        "corpus.build.duplicates.near": "0.7",
        "corpus.build.duplicates.permutations": "64",
        "corpus.build.duplicates.code": "0.8",
        "corpus.build.duplicates.span": "50",
        "corpus.build.contamination.evaluation": "[b]",
        "corpus.build.contamination.action": "flag",
        "corpus.build.mixture.preset": "palm",
        "corpus.build.mixture.tokens": "1000",
        "corpus.build.mixture.short": "redistribute",
    },
    "model.positions={scaling: interpolation, factor: 2}": {"model.positions.factor": "4"},
    "model.positions={name: alibi}": {},
    "model.positions={name: t5}": {
        "model.positions.buckets": "16",
        "model.positions.max_distance": "64",
        "model.positions.bidirectional": "true",
    },
    "model.positions={name: transformer_xl}": {},
    "model.positions={name: learned, length: 16}": {"model.positions.length": "32"},
    "model.positions={name: sinusoidal}": {},
    "model.attention={name: local, window: 4}": {"model.attention.window": "8", "model.attention.every": "2"},
    "model.attention={name: strided, stride: 4}": {"model.attention.stride": "8", "model.attention.every": "2"},
    "model.attention={name: sinks, window: 4}": {
        "model.attention.window": "8",
        "model.attention.sinks": "2",
        "model.attention.every": "2",
    },
    "model.attention={name: parallel_windows, window: 4, count: 2}": {
        "model.attention.window": "8",
        "model.attention.count": "3",
    },
    "model.attention={name: memory, window: 4, layer: 0}": {
        "model.attention.window": "8",
        "model.attention.layer": "1",
        "model.attention.neighbours": "8",
    },
    "model.experts={count: 4}": {
        "model.experts.count": "8",
        "model.experts.top": "1",
        "model.experts.every": "1",
        "model.experts.feedforward": "gelu",
        "model.experts.d_ff": "100",
        "model.experts.capacity_factor": "1.25",
        "model.experts.balance_loss": "0",
        "model.experts.router_z_loss": "1e-3",
    },
    "training.objective={name: prefix}": {},
    "training.objective={name: spans}": {
        "training.objective.noise": "0.3",
        "training.objective.mean_span": "2",
    },
    "training.objective={name: examples}": {
        "training.objective.packing": "stream",
        "training.objective.longest_prompt": "8",
        "training.objective.longest_target": "8",
    },
    "training.objective={name: preferences}": {"training.objective.beta": "0.5"},
    "finetuning={base: run, step: 6, parameters: some}": {
        "finetuning.step": "7",
        "finetuning.parameters": "other",
        "finetuning.pieces": "['<a>']",
    },
    "model.lora={weights: [q], rank: 2}": {
        "model.lora.weights": "[v]",
        "model.lora.rank": "4",
        "model.lora.alpha": "8",
    },
    "training.objective={name: mixture}": {"training.objective.denoisers": "[{mode: S, noise: 0.25}]"},
    "training.optimizer={name: adamw}": {
        "training.optimizer.b1": "0.8",
        "training.optimizer.b2": "0.99",
        "training.optimizer.epsilon": "1e-6",
        "training.optimizer.weight_decay": "0",
    },
    "training.schedule={name: cosine}": {
        "training.schedule.peak": "1e-3",
        "training.schedule.warmup": "3",
        "training.schedule.decay_steps": "100",
        "training.schedule.final": "0",
    },
    "training.schedule={name: constant}": {"training.schedule.peak": "1e-3", "training.schedule.warmup": "3"},
    "training.schedule={cooldown: {}}": {
        "training.schedule.cooldown.share": "0.5",
        "training.schedule.cooldown.shape": "1-sqrt",
        "training.schedule.cooldown.final": "0.1",
    },
}


CHOOSES = {
    "corpus.build",
    "model.positions.factor",
    "model.attention.name",
    "model.experts",
    "training.schedule.cooldown",
    "model.lora",
    "finetuning",
}
"""Keys of the tiny recipe that `OTHER_KINDS` changes and that cannot be changed alone."""


SAME_RUN = {
    "name": "other",
    "corpus.source": "elsewhere",
    "training.steps": "9",
    "training.checkpoint_every": "7",
    "training.keep_last": "9",
    "training.keep_every": "100",
    "training.evaluate_every": "7",
    "training.validation_windows": "7",
    "training.evaluations": "{tasks: [copa], data: sets}",
    "training.digest_every": "7",
    "training.peak_flops": "1e12",
    "mesh.pod": "2",
    "mesh.data": "2",
    "mesh.stage": "2",
    "mesh.sequence": "2",
    "mesh.model": "2",
    "mesh.zero": "0",
    "mesh.schedule": "gpipe",
    "energy.watts": "300",
    "energy.pue": "1.1",
    "energy.intensity": "0.1",
    "energy.source": "a meter",
}


OUTSIDE = {"corpus.build.root", "finetuning.base", "finetuning.data"}
"""Keys of `OTHER_KINDS` that say where files lie."""


def test_every_key_is_in_one_of_the_tables(tiny_recipe: RecipeMaker) -> None:
    tiny = flatten(tiny_recipe().model_dump()).keys()
    assert OTHER_RUN.keys() | SAME_RUN.keys() | {"mesh.expert"} == tiny - CHOOSES
    for kind, keys in OTHER_KINDS.items():
        beyond = flatten(tiny_recipe(kind).model_dump()).keys() - tiny - OUTSIDE
        assert beyond <= keys.keys() <= beyond | OTHER_RUN.keys() | CHOOSES, kind


def shipped(kind: type[Kind]) -> tuple[type[Section], ...]:
    """Returns the kinds that are files of their folder, not those that a test defines."""
    return tuple(each for each in kind.kinds().values() if each.__module__.startswith(kind.folder))


@pytest.mark.parametrize(
    ("section", "kinds"),
    [
        *(("model.positions", shipped(Positions)), ("model.attention", shipped(Attention))),
        *(("training.objective", get_args(Objective)), ("training.optimizer", shipped(Optimizer))),
        ("training.schedule", get_args(Schedule)),
    ],
)
def test_every_kind_is_in_one_of_the_tables(
    tiny_recipe: RecipeMaker, section: str, kinds: tuple[type[Section], ...]
) -> None:
    chosen = {
        flatten(tiny_recipe(*kind).model_dump())[f"{section}.name"] for kind in [(), *((k,) for k in OTHER_KINDS)]
    }
    assert chosen == {kind.model_fields["name"].default for kind in kinds}


@pytest.mark.parametrize("key", OTHER_RUN)
def test_a_key_that_changes_bits_belongs_to_the_identity(tiny_recipe: RecipeMaker, key: str) -> None:
    here, there = tiny_recipe(), tiny_recipe(f"{key}={OTHER_RUN[key]}")
    assert here.digest != there.digest
    was, now = (flatten(recipe.model_dump())[key] for recipe in (here, there))
    assert f"{key} {was!r} → {now!r}" in there.differences(here)
    assert f"{key} {now!r} → {was!r}" in here.differences(there)


def test_a_run_may_resume_with_more_epochs_only(tiny_recipe: RecipeMaker) -> None:
    two, three, other = (
        tiny_recipe(f"training.epochs={epochs}", *more)
        for epochs, more in ((2, ()), (3, ()), (3, ("training.seed=1",)))
    )
    assert three.obstacles(two) == two.obstacles(two) == []
    assert two.obstacles(three) == ["training.epochs 3 → 2"]
    assert other.obstacles(two) == ["training.seed 0 → 1"]
    assert three.continues(two.digest)
    assert three.continues(three.digest)
    assert not two.continues(three.digest)
    assert not other.continues(two.digest)


def test_digests_of_recipes_never_change(tiny_recipe: RecipeMaker) -> None:
    """Checkpoints record them."""
    assert tiny_recipe().digest == "9df47f0e30ff8fb3a4d020e721493fdde9ca0f570a40126b38961784c245908e"
    assert tiny_recipe("training.epochs=3").digest == "7e6029da8f11728c461d0c9feb30ebb0fa46c2fc5bd380f8cd65772ada7f8fb3"


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in OTHER_KINDS.items() for key in keys])
def test_keys_of_other_kinds_belong_to_the_identity(tiny_recipe: RecipeMaker, kind: str, key: str) -> None:
    here, there = tiny_recipe(kind), tiny_recipe(kind, f"{key}={OTHER_KINDS[kind][key]}")
    assert here.digest != there.digest
    was, now = (flatten(recipe.model_dump())[key] for recipe in (here, there))
    assert f"{key} {was!r} → {now!r}" in there.differences(here)


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_another_kind_is_another_run_and_is_dumped_unchanged(
    tiny_recipe: RecipeMaker, tmp_path: Path, kind: str
) -> None:
    recipe = tiny_recipe(kind)
    assert recipe.digest != tiny_recipe().digest
    assert recipe.differences(tiny_recipe())
    (tmp_path / "tiny.yaml").write_text(loading.dump(recipe))
    again = loading.load(str(tmp_path / "tiny.yaml"))
    assert again == recipe
    assert again.digest == recipe.digest


@pytest.mark.parametrize("key", SAME_RUN)
def test_a_key_without_effect_on_bits_is_not_identity(tiny_recipe: RecipeMaker, key: str) -> None:
    here, there = tiny_recipe(), tiny_recipe(f"{key}={SAME_RUN[key]}")
    assert here != there
    assert here.digest == there.digest
    assert here.differences(there) == []


@pytest.mark.parametrize(
    ("section", "override"),
    [
        ("corpus.build={sources: {web: {paths: [web]}}}", "corpus.build.root=elsewhere"),
        ("finetuning={base: run, step: 6, parameters: some}", "finetuning.base=elsewhere"),
        ("finetuning={base: run, step: 6, parameters: some}", "finetuning.data=[{path: elsewhere}]"),
    ],
)
def test_where_files_lie_is_not_identity(tiny_recipe: RecipeMaker, section: str, override: str) -> None:
    assert tiny_recipe(section).digest == tiny_recipe(section, override).digest


def test_steps_are_identity_only_if_the_schedule_needs_them(tiny_recipe: RecipeMaker) -> None:
    for schedule, is_identity in (
        ("{name: cosine}", True),
        ("{name: cosine, decay_steps: 100}", False),
        ("{name: inverse_sqrt}", False),
        ("{name: inverse_sqrt, cooldown: {}}", True),
        ("{name: cosine, decay_steps: 100, cooldown: {}}", True),
        ("{name: constant}", False),
    ):
        short, long = (tiny_recipe(f"training.schedule={schedule}", f"training.steps={n}") for n in (8, 16))
        assert (short.digest != long.digest) == is_identity, schedule
        assert (long.differences(short) == ["training.steps 8 → 16"]) == is_identity


def test_the_order_of_a_ramp_does_not_change_the_digest(tiny_recipe: RecipeMaker) -> None:
    one, other = (tiny_recipe(f"training.batch_size={ramp}") for ramp in ("{0: 8, 9: 16}", "{9: 16, 0: 8}"))
    assert one.digest == other.digest
    assert one.training.batch_ramp == other.training.batch_ramp == ((0, 8), (9, 16))
    assert Recipe.model_validate(one.model_dump()).digest == one.digest


EXPERTS = "model.experts={count: 2}"


@pytest.mark.parametrize(
    ("overrides", "layout"),
    [
        (("mesh.data=2", "mesh.pod=2", "mesh.zero=1"), {}),
        (("mesh.model=2", "mesh.data=2"), {"model": 2}),
        (("mesh.stage=2", "mesh.sequence=2"), {"stage": 2, "sequence": 2, "schedule": "1f1b"}),
        (("mesh.data=2", "training.reproducible=fixed"), {"data": 2, "zero": 3}),
        ((EXPERTS, "mesh.expert=2", "mesh.data=2"), {"expert": 2}),
        ((EXPERTS, "mesh.data=2", "model.activations=bfloat16"), {"data": 2, "zero": 3}),
        ((EXPERTS, "mesh.data=2", "training.rematerialize=block"), {"data": 2, "zero": 3}),
        (("model.attention={name: memory, window: 4, layer: 1}", "mesh.pod=2"), {"pod": 2}),
    ],
)
def test_the_layout_holds_the_axes_that_change_bits(
    tiny_recipe: RecipeMaker, overrides: tuple[str, ...], layout: dict[str, int | str]
) -> None:
    recipe = tiny_recipe(*overrides)
    assert recipe.mesh_record == layout
    alone = tiny_recipe(*(override for override in overrides if not override.startswith("mesh.")))
    assert recipe.digest == alone.digest, "the mesh does not belong to the identity"


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ((EXPERTS,), ""),
        ((EXPERTS, "model.activations=float16"), "model.experts and model.activations=float16"),
        ((EXPERTS, "training.rematerialize=block"), "model.experts and training.rematerialize=block"),
        (("model.attention={name: memory, window: 4, layer: 1}",), "model.attention=memory"),
        (("training.reproducible=fixed",), "training.reproducible=fixed"),
    ],
)
def test_a_run_that_is_not_elastic_says_why(tiny_recipe: RecipeMaker, overrides: tuple[str, ...], why: str) -> None:
    assert tiny_recipe(*overrides).inelastic == why
