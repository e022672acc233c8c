"""Tests the import of models that transformers itself has made, with random weights."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
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
}
MODELS: dict[str, dict[str, Any]] = {
    "Cohere": {"logit_scale": 32**-0.5},
    "Llama": {"rms_norm_eps": 1e-5, "attention_bias": True, "mlp_bias": True},
    "Qwen3": {"rms_norm_eps": 1e-5, "head_dim": 8},
    "Mistral": {"rms_norm_eps": 1e-5, "sliding_window": 5},
    "Mixtral": {"num_local_experts": 4},
}
REFUSED: dict[str, dict[str, Any]] = {"Gemma": {}, "Olmo": {}}
MAKE = """
import sys, torch, transformers
torch.manual_seed(0)
for name, changes in {models}.items():
    config = getattr(transformers, name + "Config")(**{sizes} | changes)
    model = getattr(transformers, name + "ForCausalLM")(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(sys.argv[1] + "/" + name)
"""


@pytest.mark.slow
def test_tensors_of_stock_models_are_given_back(peers: Peers, tmp_path: Path) -> None:
    code = MAKE.format(models=MODELS | REFUSED, sizes=SIZES)
    subprocess.run([peers("huggingface"), "-c", code, tmp_path], check=True, capture_output=True)
    for name in MODELS:
        source, run = tmp_path / name, RunDirectory(tmp_path / f"{name}-run")
        exported.vocabulary().save(source / "tokenizer.model")
        importing.make(source, run)
        out = tmp_path / f"{name}-out"
        checked = export(run, "huggingface", out, None, "float32", peers("huggingface")).checked
        assert checked is not None
        assert checked.holds, (name, checked)
        theirs, ours = safetensors.read(source), safetensors.read(out)
        assert theirs.keys() == ours.keys()
        assert all(np.array_equal(theirs[tensor], ours[tensor]) for tensor in theirs)
    for name in REFUSED:
        with pytest.raises(UserError, match=f"architectures={name}ForCausalLM: expected one of CohereForCausalLM"):
            importing.make(tmp_path / name, RunDirectory(tmp_path / f"{name}-run"))
