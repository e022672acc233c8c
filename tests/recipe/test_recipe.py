"""A recipe as a value: what follows from what is given, and which of its keys are the run's identity."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from palmetto.errors import UserError
from palmetto.model.attentions.local import LocalAttention
from palmetto.model.attentions.memory import MemoryAttention
from palmetto.model.positions.t5 import T5Positions
from palmetto.recipe import Recipe, loading
from palmetto.recipe.model import Experts, Model
from palmetto.recipe.objectives import Objective
from palmetto.recipe.parts import Attention, Part, Positions
from palmetto.recipe.recipe import flatten
from palmetto.recipe.section import Section
from palmetto.recipe.training import Adafactor, AdamW, Cosine, InverseSqrt
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
# The same for the keys of every other kind that a section can be of, and of what is off by default. The value that
# chooses the kind makes another run than the tiny recipe too.
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
}
CHOOSES = {"corpus.build", "model.positions.factor", "model.attention.name", "model.experts"}
"""Keys of the tiny recipe that `OTHER_KINDS` changes, and that cannot be changed alone."""
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
    "mesh.pod": "2",
    "mesh.data": "2",
    "mesh.stage": "2",
    "mesh.sequence": "2",
    "mesh.model": "2",
    "mesh.zero": "0",
    "mesh.schedule": "gpipe",
}


def test_every_key_is_decided_upon(tiny_recipe: RecipeMaker) -> None:
    tiny = flatten(tiny_recipe().model_dump()).keys()
    assert OTHER_RUN.keys() | SAME_RUN.keys() | {"mesh.expert"} == tiny - CHOOSES
    for kind, keys in OTHER_KINDS.items():
        beyond = flatten(tiny_recipe(kind).model_dump()).keys() - tiny - {"corpus.build.root"}
        assert beyond <= keys.keys() <= beyond | OTHER_RUN.keys() | CHOOSES, kind


def shipped(part: type[Part]) -> tuple[type[Section], ...]:
    """Returns the kinds that are files of their folder, not those that a test defines."""
    return tuple(kind for kind in part.kinds().values() if kind.__module__.startswith(part.folder))


@pytest.mark.parametrize(
    ("section", "kinds"),
    [
        *(("model.positions", shipped(Positions)), ("model.attention", shipped(Attention))),
        *(("training.objective", get_args(Objective)), ("training.optimizer", (Adafactor, AdamW))),
        ("training.schedule", (InverseSqrt, Cosine)),
    ],
)
def test_no_kind_is_left_out(tiny_recipe: RecipeMaker, section: str, kinds: tuple[type[Section], ...]) -> None:
    chosen = {
        flatten(tiny_recipe(*kind).model_dump())[f"{section}.name"] for kind in [(), *((k,) for k in OTHER_KINDS)]
    }
    assert chosen == {kind.model_fields["name"].default for kind in kinds}


@pytest.mark.parametrize("key", OTHER_RUN)
def test_what_changes_bits_is_identity_and_named_where_it_differs(tiny_recipe: RecipeMaker, key: str) -> None:
    here, there = tiny_recipe(), tiny_recipe(f"{key}={OTHER_RUN[key]}")
    assert here.digest != there.digest
    was, now = (flatten(recipe.model_dump())[key] for recipe in (here, there))
    assert f"{key} {was!r} → {now!r}" in there.differences(here)
    assert f"{key} {now!r} → {was!r}" in here.differences(there)


def test_a_begun_run_may_go_on_with_more_epochs_and_nothing_else(tiny_recipe: RecipeMaker) -> None:
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


def test_digests_of_recipes_are_what_they_were(tiny_recipe: RecipeMaker) -> None:
    """They stand in the checkpoints of runs that go on."""
    assert tiny_recipe().digest == "9df47f0e30ff8fb3a4d020e721493fdde9ca0f570a40126b38961784c245908e"
    assert tiny_recipe("training.epochs=3").digest == "7e6029da8f11728c461d0c9feb30ebb0fa46c2fc5bd380f8cd65772ada7f8fb3"


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in OTHER_KINDS.items() for key in keys])
def test_so_is_every_key_of_every_other_kind(tiny_recipe: RecipeMaker, kind: str, key: str) -> None:
    here, there = tiny_recipe(kind), tiny_recipe(kind, f"{key}={OTHER_KINDS[kind][key]}")
    assert here.digest != there.digest
    was, now = (flatten(recipe.model_dump())[key] for recipe in (here, there))
    assert f"{key} {was!r} → {now!r}" in there.differences(here)


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_another_kind_is_another_run_and_comes_back_from_its_dump(
    tiny_recipe: RecipeMaker, tmp_path: Path, kind: str
) -> None:
    recipe = tiny_recipe(kind)
    assert recipe.digest != tiny_recipe().digest
    assert recipe.differences(tiny_recipe())
    (tmp_path / "tiny.yaml").write_text(loading.dump(recipe))
    again = loading.load(str(tmp_path / "tiny.yaml"))
    assert again == recipe
    assert again.digest == recipe.digest


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
def test_the_layout_is_what_of_a_mesh_bits_depend_on(
    tiny_recipe: RecipeMaker, overrides: tuple[str, ...], layout: dict[str, int | str]
) -> None:
    recipe = tiny_recipe(*overrides)
    assert recipe.layout == layout
    alone = tiny_recipe(*(override for override in overrides if not override.startswith("mesh.")))
    assert recipe.digest == alone.digest, "a mesh is no part of the identity"


NINE_HEADS = ("model.heads=9", "model.head_size=8")
MEMORY = ("model.layers=4", "model.attention={name: memory, window: 4, layer: 1}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ("mesh.model=3", *NINE_HEADS),
            "mesh.model=3: must divide model.d_model (32), model.heads (9) and model.d_ff (128): 1 would do",
        ),
        (
            ("mesh.stage=4", "model.layers=6", "model.experts.count=4"),
            "mesh.stage=4: must divide the periods of 2 layers in model.layers=6 (3): 1 or 3 would do",
        ),
        (
            ("mesh.stage=2", *MEMORY),
            "mesh.stage=2: must divide the periods of 4 layers in model.layers=4 (1): 1 would do",
        ),
        (("mesh.stage=3",), "mesh.stage=3: must divide model.layers (2): 1 or 2 would do"),
        (
            ("mesh.expert=3",),
            "mesh.expert=3: must divide model.experts.count, and the model has no experts: 1 would do",
        ),
        (
            ("mesh.expert=3", "model.experts.count=6"),
            "mesh.expert=3: must be a power of two, as the gradient's tree needs: 1 or 2 would do",
        ),
        (
            ("mesh.data=3", "mesh.pod=2"),
            "mesh.data=3: must be a power of two, as the gradient's tree needs: 1 or 2 would do",
        ),
        (
            ("mesh.data=2", "training.batch_size={0: 2, 4: 8}"),
            "training.batch_size=2: has 1 micro-batch of 2 for the 2 devices of mesh.data: 4 sequences would do, "
            "or 1 device",
        ),
        (
            ("mesh.pod=4", "mesh.data=2"),
            "training.batch_size=8: has 4 micro-batches of 2 for the 8 devices of mesh.pod·mesh.data: 16 sequences "
            "would do, or 4 devices",
        ),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_with_what_would_do(
    tiny_recipe: RecipeMaker, overrides: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(says)}$"):
        tiny_recipe(*overrides)


AXIS = st.integers(1, 12)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("pod", "data", "stage", "expert", "sequence", "model"), AXIS) | {"zero": st.integers(0, 3)}
    ),
    st.fixed_dictionaries({"layers": AXIS, "heads": AXIS, "d_model": st.sampled_from([30, 32, 48]), "d_ff": AXIS}),
    st.one_of(st.none(), st.integers(2, 12)),
    st.lists(st.sampled_from([2, 4, 8, 64]), min_size=1, max_size=3, unique=True),
    st.randoms(use_true_random=False),
)
def test_whatever_a_refusal_of_a_mesh_suggests_is_accepted(
    mesh: dict[str, int], model: dict[str, Any], experts: int | None, batches: list[int], random: Any
) -> None:
    """One suggestion after the other is taken; none of them is refused later, so that soon there is a recipe."""
    model |= {"head_size": 8} | ({"experts": {"count": experts, "every": 1}} if experts else {})
    ramp = {10 * stage: size for stage, size in enumerate(batches)}
    values = {
        "name": "meshed",
        "tokens": {"vocabulary_size": 300, "sequence_length": 24},
        "model": model,
        "training": {"steps": 8, "batch_size": ramp, "micro_batch": 2},
        "mesh": mesh,
    }
    taken = set[str]()
    while refusal := refused(values):
        key, *suggested = SUGGESTS.fullmatch(refusal).groups()  # type: ignore[union-attr]
        size = random.choice([int(number) for number in suggested if number])
        assert key not in taken, "what was suggested is refused"
        taken.add(key)
        if key.startswith("mesh."):
            mesh[key.removeprefix("mesh.")] = size
        elif str(size) == suggested[0]:
            ramp[next(stage for stage in ramp if key == f"training.batch_size={ramp[stage]}")] = size
        else:
            mesh |= {"pod": size, "data": 1, "expert": 1}


SUGGESTS = re.compile(
    r"(mesh\.\w+|training\.batch_size=\d+)(?:=\d+)?: .*: "
    r"(\d+)(?: or (\d+))?(?: sequences)? would do(?:, or (\d+) devices?)?"
)


def refused(values: dict[str, Any]) -> str:
    """Why there is no such recipe; an empty text where there is."""
    try:
        loading.validate(values)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("key", SAME_RUN)
def test_what_changes_no_bits_is_not_identity(tiny_recipe: RecipeMaker, key: str) -> None:
    here, there = tiny_recipe(), tiny_recipe(f"{key}={SAME_RUN[key]}")
    assert here != there
    assert here.digest == there.digest
    assert here.differences(there) == []


def test_where_the_files_of_a_corpus_lie_is_not_identity(tiny_recipe: RecipeMaker) -> None:
    build = "corpus.build={sources: {web: {paths: [web]}}}"
    assert tiny_recipe(build).digest == tiny_recipe(build, "corpus.build.root=elsewhere").digest


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


def test_a_decoder_is_palms_unless_it_says_otherwise() -> None:
    model = Model(layers=2, d_model=96, heads=6)
    assert (model.key_value_heads, model.block, model.norm, model.norm_position) == (1, "parallel", "layer", "pre")
    assert (model.feedforward, model.positions.name, model.attention.name) == ("swiglu", "rotary", "full")
    assert not any([model.norm_bias, model.qk_norm, model.embedding_norm, model.biases, model.experts])
    assert model.tied_embedding


def test_which_layers_have_experts_and_the_chosen_attention() -> None:
    model = Model(layers=12, d_model=32, heads=2, d_ff=100, attention=LocalAttention(window=4, every=3),
                  experts=Experts(count=4))  # fmt: skip
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
    assert [model.attention_of(layer) for layer in range(3)] == [
        LocalAttention(window=4), model.attention, LocalAttention(window=4)
    ]  # fmt: skip
    assert model.period == 3
    assert not Model(layers=3, d_model=32, heads=2).has_experts(1)


@pytest.mark.parametrize(
    ("objective", "positions", "tokens"),
    [
        ("{name: causal}", 100, 0),
        ("{name: prefix}", 100, 0),
        # 15 of 101 tokens are noise, in 5 spans: two sentinels each and an end.
        ("{name: spans}", 101 + 2 * 5, 5),
        ("{name: spans, noise: 0.5, mean_span: 5}", 101 + 2 * 10, 10),
        # X has 50 in 17 spans, and every example its mode.
        ("{name: mixture}", 101 + 2 * 17 + 1, 17 + 3),
        ("{name: mixture, denoisers: [{mode: S, noise: 0.25}]}", 101, 3),
    ],
)
def test_the_model_has_room_for_what_the_objective_adds(
    tiny_recipe: RecipeMaker, objective: str, positions: int, tokens: int
) -> None:
    recipe = tiny_recipe("tokens.sequence_length=100", f"training.objective={objective}")
    assert recipe.model_length == positions
    assert recipe.model_vocabulary == 300 + tokens


def test_an_objective_positions_or_attention_without_a_name_is_the_usual(tiny_recipe: RecipeMaker) -> None:
    recipe = tiny_recipe("model.positions={base: 500.0}", "model.attention={}", "training.objective={}")
    assert (recipe.model.positions.name, recipe.model.attention.name) == ("rotary", "full")
    assert recipe.training.objective.name == "causal"
    assert tiny_recipe("model.positions.name=t5").model.positions == T5Positions()


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
