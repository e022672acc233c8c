"""Messages for invalid recipes name the key, its value and a valid value."""

import re

import pytest
import yaml

from palmetto.errors import UserError
from palmetto.recipe import loading, messages
from tests.recipe.conftest import TINY, refusal

# Invalid overrides of the tiny recipe, and what the message must say: the key, the value and a valid value.
REFUSED = {
    "model.layer=3": ["model.layer:", "no such key", "'model.layers'"],
    "modle.layers=3": ["modle:", "no such key", "'model'"],
    "training.batchsize=8": ["training.batchsize:", "'training.batch_size'"],
    "training.spikes.rewnd=8": ["training.spikes.rewnd:", "'training.spikes.rewind'"],
    "layers=3": ["layers:", "'model.layers'"],
    "xyzzy=3": ["xyzzy:", "no such key; known keys: name, corpus, tokens, model, training, mesh"],
    "mesh.xyzzy=3": ["mesh.xyzzy:", "known keys of mesh: pod, data, stage, expert, sequence, model, zero, schedule"],
    "lr=1": ["lr:", "did you mean 'training.schedule.peak'?"],
    "training.lr=1": ["training.lr:", "did you mean 'training.schedule.peak'?"],
    "training.optimizer.learning_rate=1": ["did you mean 'training.schedule.peak'?"],
    "model.num_layers=1": ["model.num_layers:", "did you mean 'model.layers'?"],
    "training.label_smoothing=0": ["training.label_smoothing:", "known keys of training: steps, "],
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
    "training.steps=[": ["training.steps, line 1, column 2: not YAML: expected "],
    "training.steps=!!python/object/apply:os.getcwd []": ["training.steps", "not YAML"],
    "training=3": ["training=3", "a section, with the keys steps, batch_size,"],
    "mesh=[4]": ["mesh=[4]", "a section, with the keys pod, data,"],
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
    "model.activations=float8": ["model.activations='float8'", "'float32', 'bfloat16' or 'float16'"],
    "tokens.vocabulary=wordpiece": ["tokens.vocabulary='wordpiece'", "'unigram', 'bpe' or 'wrapped'"],
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
    "training.embedding_gradient=0": ["training.embedding_gradient=0", "greater than 0"],
    "training.embedding_gradient=2": ["training.embedding_gradient=2", "less than or equal to 1"],
    "training.loss_scale.initial=24": ["training.loss_scale.initial=24", "power of two", "16 or 32 would do"],
    "training.loss_scale.initial=0": ["training.loss_scale.initial=0", "greater than or equal to 1"],
    "training.loss_scale.initial=2147483648": ["training.loss_scale.initial=2147483648", "1073741824"],
    "training.loss_scale.inital=2": ["training.loss_scale.inital:", "'training.loss_scale.initial'"],
    "training.spikes.patience=200": ["training.spikes.patience=200", "training.spikes.rewind", "100 would do"],
    # Sizes that nothing could list or divide in time
    "model.layers=1000000000": ["model.layers=1000000000", "less than or equal to 16384"],
    "model.d_model=1000000000000": ["model.d_model=1000000000000", "less than or equal to 1048576"],
    "model.heads=1000000007": ["model.heads=1000000007", "must divide model.d_model 32 (one of 1, 2, 4, 8, 16)"],
    "model.head_size=100000000000": ["model.head_size=100000000000", "at most 16777216"],
    "model.d_ff=100000000000": ["model.d_ff=100000000000", "at most 16777216"],
    "model.experts.count=1000000000": ["model.experts.count=1000000000", "less than or equal to 65536"],
    "model.positions={name: t5, buckets: 1000000000}": ["model.positions.buckets=1000000000", "65536"],
    "tokens.sequence_length=1000000000000": ["tokens.sequence_length=1000000000000", "16777216"],
    "training.batch_size=1099511627776": ["training.batch_size.0=1099511627776", "16777216"],
    "mesh.pod=1099511627776": ["mesh.pod=1099511627776", "16777216"],
    "mesh.stage=16777213": ["mesh.stage=16777213", "must divide model.layers (2)"],
    # Positions
    "model.positions.name=rope": ["model.positions.name='rope'", "'transformer_xl'", "did you mean 'rotary'?"],
    "model.positions.name=t4": ["model.positions.name='t4'", "did you mean 't5'?"],
    "model.positions.name=relative": ["model.positions.name='relative'", "did you mean 't5'?"],
    "model.positions=alibi": ["model.positions='alibi'", "model.positions.name=alibi"],
    "model.positions=rope": ["model.positions='rope'", "model.positions.name=rotary"],
    "model.positions=[rope]": ["model.positions=['rope']", "model.positions.name=rotary"],
    "model.positions.bsae=500.0": ["model.positions.bsae: no such key of rotary", "'model.positions.base'"],
    "model.positions.buckets=8": ["model.positions.buckets: no such key of rotary", "model.positions.name=t5 there is"],
    "model.positions={name: t5, bukets: 8}": ["model.positions.bukets:", "of t5", "'model.positions.buckets'"],
    "model.positions={name: t5, buckets: 1}": ["model.positions.buckets=1", "greater than or equal to 2"],
    "model.positions={name: t5, max_distance: 16}": ["model.positions.max_distance=16", "half", "17 would do"],
    "model.positions={name: learned}": ["model.positions.length: missing"],
    "model.positions={name: learned, lenght: 16}": ["model.positions.lenght:", "'model.positions.length'"],
    "model.positions={name: learned, length: 15}": ["model.positions.length=15", "16 would do"],
    "model.positions.base=0": ["model.positions.base=0", "greater than 0"],
    "model.positions.scaling=yarn": ["model.positions.scaling='yarn'", "'interpolation', 'ntk' or 'truncated'"],
    "model.positions.scaling=truncated": ["model.positions.trained=None", "length of training"],
    "model.positions.factor=2": ["model.positions.factor=2", "interpolation and ntk", "scaling is none"],
    "model.positions.factor=0.5": ["model.positions.factor=0.5", "greater than or equal to 1"],
    # Attention
    "model.attention.name=locl": ["model.attention.name='locl'", "'parallel_windows'", "did you mean 'local'?"],
    "model.attention=local": ["model.attention='local'", "model.attention.name=local"],
    "model.attention.name=sliding_window": ["model.attention.name='sliding_window'", "did you mean 'local'?"],
    "model.attention.window=8": ["model.attention.window: no such key of full", "name=local or memory or"],
    "model.attention.name=local": ["model.attention.window: missing"],
    "model.attention={name: local, windo: 8}": ["model.attention.windo:", "of local", "'model.attention.window'"],
    "model.attention={name: local, window: 0}": ["model.attention.window=0", "greater than or equal to 1"],
    "model.attention={name: local, window: 4, every: 3}": ["model.attention.every=3", "model.layers 2", "of 1, 2"],
    "model.attention={name: strided, stride: 1}": ["model.attention.stride=1", "greater than or equal to 2"],
    "model.attention={name: memory, window: 4, layer: 2}": ["model.attention.layer=2", "from 0 to 1"],
    # Experts
    "model.experts=8": ["model.experts=8", "a section, with the keys count, top,"],
    "model.experts.top=2": ["model.experts.count: missing"],
    "model.experts={cuont: 4}": ["model.experts.cuont:", "'model.experts.count'"],
    "model.experts={count: 4, balance: 0.1}": ["model.experts.balance:", "'model.experts.balance_loss'"],
    "model.experts={count: 4, top: 5}": ["model.experts.top=5", "model.experts.count=4", "4 would do"],
    "model.experts.count=1": ["model.experts.top=2", "model.experts.count=1", "1 would do"],
    "model.experts={count: 4, every: 3}": ["model.experts.every=3", "model.layers 2", "one of 1, 2"],
    "model.experts={count: 4, feedforward: geglo}": ["model.experts.feedforward='geglo'", "'geglu'"],
    "model.experts={count: 4, capacity_factor: 0}": ["model.experts.capacity_factor=0", "greater than 0"],
    "model.experts={count: 4, balance_loss: -1}": ["model.experts.balance_loss=-1", "greater than or equal to 0"],
    "model.capacity_factor=1": ["model.capacity_factor:", "'model.experts.capacity_factor'"],
    # Objectives
    "training.objective.name=span": ["training.objective.name='span'", "'mixture'", "did you mean 'spans'?"],
    "training.objective.name=ul2": ["training.objective.name='ul2'", "did you mean 'mixture'?"],
    "training.objective=prefix": ["training.objective='prefix'", "training.objective.name=prefix"],
    "training.objective.noise=0.3": ["training.objective.noise: no such key of causal", "name=spans there is"],
    "training.objective={name: spans, nosie: 0.3}": ["training.objective.nosie:", "'training.objective.noise'"],
    "training.objective={name: spans, noise: 1}": ["training.objective.noise=1", "less than 1"],
    "training.objective={name: spans, mean_span: 0.5}": ["training.objective.mean_span=0.5", "or equal to 1"],
    "training.objective={name: mixture, denoisers: []}": ["training.objective.denoisers=[]", "at least 1"],
    "training.objective={name: mixture, denoisers: 3}": ["training.objective.denoisers=3", "tuple"],
    "training.objective={name: mixture, denoisers: [3]}": [
        "training.objective.denoisers.0=3",
        "a section, with the keys mode, noise, mean_span",
    ],
    "training.objective={name: mixture, denoisers: [{mode: Q, noise: 0.1}]}": [
        "training.objective.denoisers.0.mode='Q'",
        "'R', 'S' or 'X'",
    ],
    "training.objective={name: mixture, denoisers: [{mode: S, nose: 0.1}]}": [
        "training.objective.denoisers.0.nose:",
        "'training.objective.denoisers.0.noise'",
    ],
    "training.objective={name: mixture, denoisers: [{mode: S, noise: 0.2}, {mode: S, noise: 1.5}]}": [
        "training.objective.denoisers.1.noise=1.5",
        "less than 1",
    ],
    "training.objective={name: mixture, denoisers: [{mode: R, noise: 0.1}]}": [
        "training.objective.denoisers.mean_span=None",
        "R corrupts spans",
        "3.0 would do",
    ],
    "training.objective={name: mixture, denoisers: [{mode: S, noise: 0.1, mean_span: 3}]}": [
        "training.objective.denoisers.mean_span=3",
        "leave it out",
    ],
    # The model's shape
    "model.key_value_heads=3": ["model.key_value_heads=3", "model.heads 2", "one of 1, 2"],
    "model.block=paralel": ["model.block='paralel'", "'parallel' or 'serial'"],
    "model.norm_position=behind": ["model.norm_position='behind'", "'pre', 'post', 'sandwich' or 'deep'"],
    "model.norm_position=deep": ["model.norm_position=deep", "model.block=serial would do"],
}


# Overrides that are invalid only together.
REFUSED_TOGETHER = {
    ("model.norm_position=deep", "model.block=serial", "model.norm=rms"): [
        "model.norm_position=deep",
        "model.norm=layer would do",
    ],
    ("model.norm_bias=true", "model.norm=rms"): ["model.norm_bias=True", "model.norm=layer would do"],
    ("model.experts.count=4", "model.biases=true"): ["model.biases=True", "model.biases=false would do"],
    ("model.head_size=3", "model.positions.name=rotary"): ["model.head_size=3", "rotary", "2 or 4 would do"],
    ("model.d_model=33", "model.head_size=2", "model.positions.name=sinusoidal"): [
        "model.d_model=33",
        "sine and cosine",
        "32 or 34 would do",
    ],
    ("model.d_model=33", "model.head_size=2", "model.positions.name=transformer_xl"): [
        "model.d_model=33",
        "32 or 34 would do",
    ],
    ("model.attention={name: parallel_windows, window: 4, count: 2}", "model.positions.name=t5"): [
        "model.positions.name=t5",
        "parallel_windows",
        "rotary would do",
    ],
    ("model.attention={name: parallel_windows, window: 4, count: 2}", "model.positions.name=transformer_xl"): [
        "model.positions.name=transformer_xl",
        "parallel_windows",
        "rotary would do",
    ],
    ("model.attention={name: memory, window: 4, layer: 0}", "model.positions.name=t5"): [
        "model.positions.name=t5",
        "memory",
        "rotary would do",
    ],
    ("model.attention={name: memory, window: 4, layer: 0}", "model.positions.name=transformer_xl"): [
        "model.positions.name=transformer_xl",
        "memory",
        "rotary would do",
    ],
    ("model.attention={name: memory, window: 4, layer: 0}", "model.positions.name=alibi"): [
        "model.positions.name=alibi",
        "memory",
        "rotary would do",
    ],
    ("model.positions={name: learned, length: 18}", "training.objective.name=spans"): [
        "model.positions.length=18",
        "19 would do",
    ],
    ("training.objective.name=prefix", "model.attention={name: strided, stride: 4}"): [
        "model.attention.name=strided",
        "the objective prefix",
        "full or local would do",
    ],
    ("training.objective.name=spans", "model.attention={name: sinks, window: 4}"): [
        "model.attention.name=sinks",
        "the objective spans",
        "full or local would do",
    ],
    ("training.objective.name=mixture", "model.attention={name: memory, window: 4, layer: 0}"): [
        "model.attention.name=memory",
        "the objective mixture",
        "full or local would do",
    ],
    ("training.objective.name=prefix", "model.attention={name: parallel_windows, window: 4, count: 2}"): [
        "model.attention.name=parallel_windows",
        "the objective prefix",
        "full or local would do",
    ],
    ("training.objective.name=prefix", "model.positions.name=t5"): [
        "model.positions.bidirectional=False",
        "the objective prefix",
        "true would do",
    ],
    ("training.objective.name=prefix", "model.experts={count: 4, capacity_factor: 1.25}"): [
        "model.experts.capacity_factor=1.25",
        "null (dropless) would do",
    ],
}


@pytest.mark.parametrize("override", REFUSED)
def test_messages_name_key_value_and_a_valid_value(tiny: str, override: str) -> None:
    message = refusal(tiny, override)
    for words in REFUSED[override]:
        assert words in message


@pytest.mark.parametrize("overrides", REFUSED_TOGETHER, ids=" ".join)
def test_messages_name_values_that_exclude_each_other(tiny: str, overrides: tuple[str, ...]) -> None:
    message = refusal(tiny, *overrides)
    for words in REFUSED_TOGETHER[overrides]:
        assert words in message


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.head_size=3", "model.positions.name=alibi"),
        ("model.norm_position=deep", "model.block=serial"),
        ("model.positions={name: learned, length: 19}", "training.objective.name=spans"),
        ("training.objective.name=prefix", "model.positions={name: t5, bidirectional: true}"),
        ("training.objective.name=prefix", "model.experts.count=4"),
        ("training.objective.name=spans", "model.attention={name: local, window: 4, every: 2}"),
        ("model.attention={name: parallel_windows, window: 4, count: 2}", "model.positions.name=alibi"),
        ("model.attention={name: memory, window: 4, layer: 1}", "model.positions.name=rotary"),
        ("model.positions={name: t5, max_distance: 17}",),
        ("model.experts={count: 4, top: 4}",),
        ("training.loss_scale.initial=32",),
        ("model.positions={scaling: truncated, trained: 8}",),
        ("model.positions={scaling: ntk, factor: 2}",),
    ],
    ids=" ".join,
)
def test_the_values_that_messages_suggest_are_valid(tiny: str, overrides: tuple[str, ...]) -> None:
    loading.load(tiny, overrides)


def test_names_of_other_programs_lead_to_our_keys() -> None:
    names = {key.rpartition(".")[2] for key in loading.every_key()}
    for key, others in messages._OTHER_KEYS.items():
        assert key in loading.every_key()
        assert not names & set(others.split()), key


@pytest.mark.parametrize(
    "key",
    [
        *("tokens.vocabulary_size", "tokens.sequence_length", "model.layers", "model.d_model", "model.heads"),
        *("training.steps", "training.batch_size"),
    ],
)
def test_a_missing_required_key_is_named(key: str) -> None:
    values = {"name": "tiny", **yaml.safe_load(TINY)}
    section, _, last = key.partition(".")
    del values[section][last]
    with pytest.raises(UserError, match=f"^{key}: missing; a recipe must give it$"):
        loading.validate(values)


def test_windows_that_32_bits_cannot_count_are_refused(tiny: str) -> None:
    override = "model.attention={{name: parallel_windows, window: 1000000, count: {}}}"
    assert "at most 2147 would do" in refusal(tiny, override.format(2148))
    loading.load(tiny, [override.format(2147)])


@pytest.mark.parametrize(
    "overrides", [("training.schedule={hold: 5}", "training.schedule.name=cosine"), ("training.optimizer.b2=0.9",)]
)
def test_a_key_of_another_kind_is_not_suggested(tiny: str, overrides: tuple[str, ...]) -> None:
    message = refusal(tiny, *overrides)
    key = overrides[-1].partition("=")[0] if "b2" in overrides[-1] else "training.schedule.hold"
    assert f"did you mean '{key}'" not in message


@pytest.mark.parametrize("override", ["model.d_model=31", "model.head_size=0", "model.head_size=1"])
def test_suggestions_are_neither_empty_nor_repeated(tiny: str, override: str) -> None:
    message = refusal(tiny, override)
    assert "(one of )" not in message
    assert "2 or 2" not in message


@pytest.mark.parametrize("seed", [2**32, 2**63])
def test_seeds_that_jax_cannot_tell_apart_are_refused(tiny: str, seed: int) -> None:
    assert f"training.seed={seed}" in refusal(tiny, f"training.seed={seed}")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("model.attention={name: local, window: N}", "model.attention.window"),
        ("model.attention={name: sinks, window: N}", "model.attention.window"),
        ("model.positions={name: learned, length: N}", "model.positions.length"),
        ("model.positions={name: t5, max_distance: N}", "model.positions.max_distance"),
    ],
)
def test_a_size_beyond_32_bits_is_refused(tiny: str, section: str, key: str) -> None:
    assert f"{key}={2**31}: " in refusal(tiny, section.replace("N", str(2**31)))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "corpus.build={sources: {webs: {paths: [a]}}, mixture: {preset: palm}}",
            r"corpus\.build\.sources\.webs\.weight=None: the preset palm has no such source \(did you mean 'web'\?\)",
        ),
        (
            "corpus.build={sources: {web: {paths: [a], quality: true}}}",
            r"corpus\.build\.sources\.web\.quality=True: needs corpus\.build\.quality\.classifier",
        ),
        ("corpus.build={sources: {}}", r"corpus\.build\.sources="),
        ("corpus.build={sources: {Web: {paths: [a]}}}", r"corpus\.build\.sources\.Web"),
        ("corpus.build={sources: {web: {paths: []}}}", r"corpus\.build\.sources\.web\.paths="),
        (
            "corpus.build={sources: {web: {path: [a]}}}",
            r"web\.path: no such key.*did you mean 'corpus\.build\.sources\.web\.paths'",
        ),
    ],
)
def test_an_invalid_corpus_is_refused(tiny: str, override: str, line: str) -> None:
    assert re.search(line, refusal(tiny, override))
