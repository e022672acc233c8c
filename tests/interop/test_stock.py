"""Tests the import of models that transformers itself has made, with random weights."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.interop import importing, safetensors
from palmetto.interop.export import export
from palmetto.runs.directory import RunDirectory
from tests.interop.conftest import Peers
from tests.references import exported

SIZES = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": exported.vocabulary().beginning,
    "eos_token_id": exported.vocabulary().eod,
}
MODELS: dict[str, dict[str, Any]] = {
    "Cohere": {"logit_scale": 32**-0.5},
    "Llama": {"rms_norm_eps": 1e-5, "attention_bias": True, "mlp_bias": True},
    "Qwen3": {"rms_norm_eps": 1e-5, "head_dim": 8},
    "Mistral": {"rms_norm_eps": 1e-5, "sliding_window": 5},
    "Mistral without a window": {"rms_norm_eps": 1e-5, "sliding_window": None},
    "Llama tied": {"rms_norm_eps": 1e-5, "tie_word_embeddings": True},
    "Mixtral": {"num_local_experts": 4},
    "GPT2": {"n_positions": 32},
    "GPT2 without tanh": {
        "n_positions": 32,
        "activation_function": "gelu",
        "n_inner": 48,
        "tie_word_embeddings": False,
    },
    "Bloom": {"seq_length": 32},
    "GPTNeoX": {"use_parallel_residual": False, "rotary_pct": 1.0, "num_key_value_heads": 4},
    "Llama in bfloat16": {"rms_norm_eps": 1e-5},
    "GPT2 in bfloat16": {"n_positions": 32},
}
"""The class, a word about it, and what its configuration has other than SIZES."""
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "Gemma": ({}, "its gate is a GELU by tanh"),
    "Olmo": ({}, "architectures=OlmoForCausalLM: expected one of CohereForCausalLM"),
    "GPTNeoX in parallel": (
        {"rotary_pct": 1.0, "num_key_value_heads": 4},
        "use_parallel_residual=true: expected false",
    ),
    "GPTNeoX turned in part": ({"use_parallel_residual": False}, "partial_rotary_factor=0.25: expected 1"),
    "GPT2 divided by layer": ({"scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx=true: expected false"),
    "Bloom with norms in its residual": (
        {"apply_residual_connection_post_layernorm": True},
        "apply_residual_connection_post_layernorm=true: expected false",
    ),
    "Bloom in exact parts": ({"slow_but_exact": True, "pretraining_tp": 2}, "slow_but_exact=true: expected false"),
    "Qwen3 with a window in a layer": (
        {"rms_norm_eps": 1e-5, "layer_types": ["full_attention", "sliding_attention"], "sliding_window": 4},
        "layer_types=.*: expected",
    ),
    "Llama of another epsilon": ({"rms_norm_eps": 1e-6}, "rms_norm_eps=1e-06: expected 1e-05"),
    "Llama 3.1": (
        {
            "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 1e4,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
        "rope_type=llama3: expected default or linear",
    ),
}
"""The same, and what the message says."""
MAKE = """
import sys, torch, transformers
torch.manual_seed(0)
for name, changes in {models}.items():
    kind = name.split()[0]
    config = getattr(transformers, kind + "Config")(**{sizes} | changes)
    model = getattr(transformers, kind + ("LMHeadModel" if kind == "GPT2" else "ForCausalLM"))(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.to(torch.bfloat16 if "bfloat16" in name else torch.float32)
    model.save_pretrained(sys.argv[1] + "/" + name)
"""


@pytest.fixture(scope="module")
def folders(peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a folder of each model."""
    made = tmp_path_factory.mktemp("models")
    models = MODELS | {name: changes for name, (changes, _) in REFUSED.items()}
    code = MAKE.format(models=models, sizes=SIZES)
    subprocess.run([peers("huggingface"), "-c", code, made], check=True, capture_output=True)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_tensors_of_stock_models_are_given_back(name: str, folders: Path, peers: Peers, tmp_path: Path) -> None:
    source, run, out = folders / name, RunDirectory(tmp_path / "run"), tmp_path / "out"
    exported.vocabulary().save(source / "tokenizer.model")
    importing.make(source, run)
    dtype = "bfloat16" if "bfloat16" in name else "float32"
    checked = export(run, "huggingface", out, None, dtype, peers("huggingface")).checked
    assert checked is not None
    assert checked.holds, checked
    theirs, ours = safetensors.read(source), safetensors.read(out)
    assert theirs.keys() == ours.keys()
    assert all(theirs[tensor].tobytes() == ours[tensor].tobytes() for tensor in theirs)


@pytest.mark.slow
def test_models_without_a_recipe_are_refused_with_the_reason(folders: Path, tmp_path: Path) -> None:
    for name, (_, reason) in REFUSED.items():
        with pytest.raises(UserError, match=reason):
            importing.make(folders / name, RunDirectory(tmp_path / name))
