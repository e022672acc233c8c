"""Tests that foreign runtimes compute the same from an export, for every recipe that export accepts."""

import json
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.interop.export import export
from palmetto.recipe import Recipe, loading
from tests.interop.conftest import Peers
from tests.references import exported
from tests.references.draws import draw_case
from tests.references.exported import KINDS

IN_LLAMA_CPP = (
    "PaLM",
    "Llama",
    "Llama, tied, with biases, NTK",
    "Llama with query and key norms",
    "Llama with ALiBi",
    "Mixtral",
    "GPT-2",
    "GPT-2, not divided",
    "StarCoder 2",
    "BLOOM",
    "MPT",
)
EAGER = """
import sys, torch
from transformers import AutoModelForCausalLM
tokens = torch.arange(64).view(2, 32)
eager, sdpa = (
    AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation=how)(tokens).logits
    for how in ("eager", "sdpa")
)
print(float((eager - sdpa).abs().max() / sdpa.abs().max()))
"""
"""The difference between transformers' two ways of attention, as a share of the largest logit; BLOOM has but one."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_computes_the_same(kind: str, peers: Peers, tmp_path: Path) -> None:
    python = peers("huggingface")
    run = exported.made(tmp_path / "run", exported.of_kind(kind))
    checked = export(run, "huggingface", tmp_path / "out", None, "float32", python).checked
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [KINDS[kind][0]]
    assert checked is not None
    assert checked.holds, checked
    if KINDS[kind][0] not in ("PalmettoForCausalLM", "BloomForCausalLM"):
        difference = subprocess.run([python, "-c", EAGER, tmp_path / "out"], check=True, capture_output=True, text=True)
        assert float(difference.stdout) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *((kind, "float32") for kind in IN_LLAMA_CPP),
        ("PaLM", "bfloat16"),
        ("Mixtral", "float16"),
    ],
)
def test_llama_cpp_computes_the_same(kind: str, dtype: str, peers: Peers, tmp_path: Path) -> None:
    python = peers("gguf")
    run = exported.made(tmp_path / "run", exported.of_kind(kind))
    checked = export(run, "gguf", tmp_path / "out", None, dtype, python).checked
    assert checked is not None
    assert checked.holds, checked


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", ["PaLM", "Llama", "Llama, tied, with biases, NTK"])
def test_ctranslate2_computes_the_same(kind: str, dtype: str, peers: Peers, tmp_path: Path) -> None:
    python = peers("ctranslate2")
    run = exported.made(tmp_path / "run", exported.of_kind(kind))
    checked = export(run, "ctranslate2", tmp_path / "out", None, dtype, python).checked
    assert checked is not None
    assert checked.near, checked
    assert checked.greedy or dtype == "int8"  # whose roundings may choose another of two likely tokens


def changed(random: random.Random) -> Recipe:
    """Returns a small recipe of a drawn kind, in which up to two keys of the model have other values."""
    while True:
        of_kind = exported.of_kind(random.choice(list(KINDS))).model.model_dump()
        drawn = draw_case(random.choice).recipe.model.model_dump()
        drawn["tied_embedding"] = random.choice([True, False, "undivided"])
        keys = random.sample(sorted(drawn.keys() - {"activations", "layers"}), random.choice([0, 1, 2]))
        try:
            return exported.recipe({**of_kind, **{key: drawn[key] for key in keys}})
        except UserError:  # these values do not go together
            continue


@pytest.mark.slow
@pytest.mark.parametrize("target", ["huggingface", "gguf", "ctranslate2"])
def test_what_export_accepts_agrees_with_its_peer(
    target: str, peers: Peers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python = peers(target)

    @settings(max_examples=5 if target == "huggingface" else 10, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 10**6))
    def check(seed: int) -> None:
        recipe, folder = changed(random.Random(seed)), tmp_path_factory.mktemp("drawn")
        run = exported.made(folder / "run", recipe)
        refusal = ""
        try:
            checked = export(run, target, folder / "out", None, "float32", python).checked
        except UserError as error:
            refusal, checked = str(error), None
        assert (checked is None) == ("(expected" in refusal), refusal
        assert checked is None or checked.holds, (loading.dump(recipe), checked)

    check()
