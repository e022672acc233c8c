"""Tests that a folder whose configuration is damaged is refused by file and key, before its weights are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.files import sha256
from palmetto.interop import importing, origin
from palmetto.runs.directory import RunDirectory
from tests.references import exported

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "eos_token_id": 0,
    "rms_norm_eps": 1e-5,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": 5}, "architectures=5: expected a list of one name"),
        ({"architectures": [["x"]]}, r'architectures=\[\["x"\]\]: expected a list of one name'),
        ({"architectures": ["LlamaForCausalLM"] * 2}, r'architectures=\["Llama.*: expected a list of one name'),
        ({"architectures": None}, "architectures=null: expected a list of one name"),
        ({"eos_token_id": ["x"]}, r'eos_token_id=\["x"\]: expected an id'),
        ({"bos_token_id": -1}, "bos_token_id=-1: expected an id"),
        ({"rope_scaling": "linear"}, 'rope_scaling="linear": expected an object'),
        ({"rope_scaling": {"type": "linear"}}, "rope_parameters: lacks factor, which rope_type=linear needs"),
        ({"vocab_size": "400"}, 'vocab_size="400": expected a whole number of at least 1'),
        ({"num_attention_heads": 0}, "num_attention_heads=0: expected a whole number of at least 1"),
        ({"hidden_size": "32"}, 'hidden_size="32": expected a whole number of at least 1'),
        ({"num_key_value_heads": 3}, "model.key_value_heads=3: must divide"),
        ({"rms_norm_eps": None}, "rms_norm_eps=null: expected 1e-05, which recipes have"),
        ({"model_type": "gemma"}, 'model_type="gemma": expected "llama", which recipes have'),
        ({"quantization_config": {"bits": 4}}, r'quantization_config={"bits": 4}: expected null'),
        ({"layer_types": ["full_attention", "sliding_attention"]}, r"layer_types=\["),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5: expected 1"),
        (
            {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_scaling: differs from rope_parameters; expected one of them",
        ),
        (
            {"rope_parameters": {"rope_theta": 5e5}, "rope_scaling": {"rope_type": "default"}},
            "rope_scaling: differs from rope_parameters; expected one of them",
        ),
        (
            {
                "architectures": ["GPTNeoXForCausalLM"],
                "use_parallel_residual": False,
                "rotary_pct": 1.0,
                "rotary_emb_base": 777,
                "rope_theta": 10000,
            },
            "rope_theta: differs from rotary_emb_base; expected one of them",
        ),
        ({"rope_parameters": 0}, "rope_parameters=0: expected an object"),
    ],
)
def test_a_wrong_value_is_refused_by_file_and_key(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes))
    with pytest.raises(UserError, match=rf"^{tmp_path}/config\.json: {message}"):
        origin.read(tmp_path)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"eos_token_id": [0, -1]}, r"eos_token_id=\[0, -1\]: expected an id"),
        ({"eos_token_id": [None]}, r"eos_token_id=\[null\]: expected an id"),
        ({"eos_token_id": True}, "eos_token_id=true: expected an id"),
        ([], r"expected an object, found \[\]"),
    ],
)
def test_a_wrong_end_of_generation_is_refused(written: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "generation_config.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=rf"^{tmp_path}/generation_config\.json: {message}"):
        origin.read(tmp_path)


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        ({"eos_token_id": 4}, None, [4]),
        ({"eos_token_id": 4}, {}, [4]),
        ({"eos_token_id": 4}, {"eos_token_id": [1, 4, 8]}, [4, 1, 8]),
        ({"eos_token_id": [4, 1]}, {"eos_token_id": 9}, [4, 1, 9]),
        ({}, {"eos_token_id": [1, 4]}, [1, 4]),
        ({"eos_token_id": None}, {"eos_token_id": None}, []),
    ],
)
def test_ends_of_answers_are_those_of_both_files(
    config: dict[str, Any], generation: dict[str, Any] | None, ends: list[int], tmp_path: Path
) -> None:
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert origin._ends(tmp_path, config) == ends


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"architectures": ["GPT2LMHeadModel"], "n_head": 4, "num_attention_heads": 2},
            "=2: expected 4, as n_head says",
        ),
        ({"architectures": ["BloomForCausalLM"], "hidden_size": 32, "n_embed": 64}, "=64: expected 32, as hidden_size"),
    ],
)
def test_two_names_of_one_key_must_agree(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        origin.read(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["BloomForCausalLM"], "n_embed": 32, "num_attention_heads": 4, "n_layer": 2},
        CONFIG | {"architectures": ["MixtralForCausalLM"], "num_experts": 4},
        CONFIG | {"partial_rotary_factor": None},
        CONFIG
        | {"architectures": ["MistralForCausalLM"], "sliding_window": 4, "layer_types": ["sliding_attention"] * 2},
    ],
)
def test_other_ways_to_say_the_same_are_taken(config: dict[str, Any], tmp_path: Path) -> None:
    """Older configurations of BLOOM have no hidden_size."""
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 400}))
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        origin.read(tmp_path)


def test_adapters_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapter_config\.json: an adapter; expected a folder of weights"):
        origin.read(tmp_path)


def test_a_vocabulary_of_another_size_is_not_taken(tmp_path: Path) -> None:
    """Ids that it lacks could not be decoded."""
    exported.vocabulary().save(tmp_path / "tokenizer.model")
    found, problem = origin._ours(tmp_path / "tokenizer.model", {"vocab_size": exported.SIZES["bpe"] + 8}, [])
    assert found is None
    assert "tokenizer.model: has 400 for vocab_size, and config.json 408" in problem


def test_a_vocabulary_without_further_ends_is_not_taken(tmp_path: Path) -> None:
    exported.vocabulary().save(tmp_path / "tokenizer.model")
    eod = exported.vocabulary().eod
    assert origin._ours(tmp_path / "tokenizer.model", {}, [eod])[0] is not None
    found, problem = origin._ours(tmp_path / "tokenizer.model", {}, [eod, 300])
    assert found is None
    assert f"tokenizer.model: has {eod} for eos_token_id, and its configurations 300" in problem


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("config.json", b"[]", r"config\.json: expected an object, found \[\]"),
        ("tokenizer_config.json", b"5", r"tokenizer_config\.json: expected an object"),
        ("chat_template.jinja", b"\xff", r"chat_template\.jinja: expected text in UTF-8"),
        ("tokenizer_config.json", b'{"chat_template": [{"name": "rag"}]}', "a list with a template named default"),
        ("palmetto.json", b'{"files": 5}', "altered since it was exported"),
        ("palmetto.json", b"[]", "altered since it was exported"),
    ],
)
def test_a_file_of_another_form_is_refused(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        origin.read(tmp_path)


def test_a_run_within_its_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(UserError, match=r"--run .*: within .*, which is imported; expected another place"):
        importing.make(tmp_path, RunDirectory(tmp_path / "run"))
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_an_unknown_target_of_an_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "palmetto").mkdir()
    recipe = tmp_path / "palmetto" / "recipe.yaml"
    sizes = {"tokens": {"vocabulary_size": 400, "sequence_length": 8}, "model": {"layers": 1, "d_model": 8, "heads": 1}}
    recipe.write_text(json.dumps(sizes | {"training": {"steps": 1, "batch_size": 1}}))
    listed = {"format": 1, "files": {"palmetto/recipe.yaml": sha256(recipe)}, "target": ["x"]}
    (tmp_path / "palmetto.json").write_text(json.dumps(listed))
    with pytest.raises(UserError, match=r"an export to .*not imported"):
        origin.read(tmp_path)


def test_a_configuration_without_a_vocabulary_size_is_refused(tmp_path: Path) -> None:
    without = {key: value for key, value in CONFIG.items() if key != "vocab_size"}
    (tmp_path / "config.json").write_text(json.dumps(without))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json: lacks vocab_size"):
        origin.read(tmp_path)
