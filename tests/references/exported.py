"""Makes runs with random weights for exports, and the recipe kinds that each class of transformers is exact for."""

import functools
import inspect
import os
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from palmetto.files import write_text
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import Parameters, Table
from palmetto.parallel.sharding import Spread
from palmetto.recipe import Recipe, loading
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.vocabulary import Kind, Vocabulary
from palmetto.training import optimization
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.step.state import State

TEXT = inspect.getsource(ArgumentParser)
SIZES: dict[Kind, int] = {"bpe": 400, "unigram": 330}
_ROOT = Path(__file__).resolve().parents[2]
PEERS = {
    "huggingface": _ROOT / ".venv-torch",
    "gguf": _ROOT / ".venv-llamacpp",
    "ctranslate2": _ROOT / ".venv-ctranslate2",
}
"""The environment of each target's runtime, which `palmetto export --check --peer-environment` makes."""

SERIAL = {"block": "serial", "norm": "rms", "key_value_heads": 2, "heads": 4, "d_ff": 48}
BIASED = {"block": "serial", "norm_bias": True, "biases": True, "key_value_heads": 4, "heads": 4}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "PaLM": ("CohereForCausalLM", {}),
    "PaLM, untied, with query and key norms": (
        "CohereForCausalLM",
        {"tied_embedding": False, "qk_norm": True, "heads": 4, "key_value_heads": 2, "feedforward": "geglu"},
    ),
    "PaLM, heads wider than D / H, interpolated": (
        "CohereForCausalLM",
        {"head_size": 12, "positions": {"name": "rotary", "scaling": "interpolation", "factor": 2.0}},
    ),
    "Llama": ("LlamaForCausalLM", {**SERIAL, "tied_embedding": False}),
    "Llama, tied, with biases, NTK": (
        "LlamaForCausalLM",
        {**SERIAL, "biases": True, "positions": {"name": "rotary", "scaling": "ntk", "factor": 2.0}},
    ),
    "Llama with query and key norms": ("Qwen3ForCausalLM", {**SERIAL, "qk_norm": True}),
    "Llama with a window": ("MistralForCausalLM", {**SERIAL, "attention": {"name": "local", "window": 5}}),
    "Mixtral": (
        "MixtralForCausalLM",
        {**SERIAL, "experts": {"count": 4, "top": 2, "every": 1, "d_ff": 20}, "tied_embedding": False},
    ),
    "GPT-2": (
        "GPT2LMHeadModel",
        {**BIASED, "feedforward": "gelu_tanh", "positions": {"name": "learned", "length": 40}},
    ),
    "GPT-3 without local layers": (
        "GPT2LMHeadModel",
        {**BIASED, "feedforward": "gelu", "positions": {"name": "learned", "length": 32}, "tied_embedding": False},
    ),
    "GPT-2, not divided": (
        "GPT2LMHeadModel",
        {
            **BIASED,
            "feedforward": "gelu_tanh",
            "positions": {"name": "learned", "length": 32},
            "tied_embedding": "undivided",
        },
    ),
    "GPT-NeoX": ("GPTNeoXForCausalLM", {**BIASED, "feedforward": "gelu", "tied_embedding": False}),
    "GPT-NeoX, tied, interpolated": (
        "GPTNeoXForCausalLM",
        {**BIASED, "feedforward": "relu", "positions": {"name": "rotary", "scaling": "interpolation", "factor": 2.0}},
    ),
    "BLOOM": (
        "BloomForCausalLM",
        {**BIASED, "feedforward": "gelu_tanh", "embedding_norm": True, "positions": {"name": "alibi"}},
    ),
    "StarCoder 2": ("PalmettoForCausalLM", {**BIASED, "key_value_heads": 2, "feedforward": "gelu_tanh"}),
    "MPT": ("PalmettoForCausalLM", {**BIASED, "feedforward": "gelu_tanh", "positions": {"name": "alibi"}}),
    "Llama with ALiBi": ("PalmettoForCausalLM", {**SERIAL, "positions": {"name": "alibi"}}),
    "GLaM": (
        "PalmettoForCausalLM",
        {
            **SERIAL,
            "feedforward": "geglu",
            "positions": {"name": "t5"},
            "experts": {"count": 4, "top": 2, "every": 2, "feedforward": "gelu", "capacity_factor": 1.25},
        },
    ),
    "Gopher": (
        "PalmettoForCausalLM",
        {**SERIAL, "key_value_heads": 4, "feedforward": "gelu", "positions": {"name": "transformer_xl"}},
    ),
    "GLM-130B": ("PalmettoForCausalLM", {**BIASED, "norm_position": "deep", "feedforward": "geglu"}),
    "GPT-3": (
        "PalmettoForCausalLM",
        {
            **BIASED,
            "feedforward": "gelu",
            "positions": {"name": "learned", "length": 32},
            "attention": {"name": "local", "window": 5, "every": 2},
        },
    ),
    "T5": (
        "PalmettoForCausalLM",
        {**SERIAL, "positions": {"name": "t5", "bidirectional": True}, "feedforward": "geglu"},
    ),
    "UL2": ("PalmettoForCausalLM", {"feedforward": "swiglu", "tied_embedding": "undivided", "norm_position": "post"}),
    "sinks, sandwich, query and key norms": (
        "PalmettoForCausalLM",
        {"attention": {"name": "sinks", "sinks": 2, "window": 6}, "norm_position": "sandwich", "qk_norm": True},
    ),
    "memory, truncated positions": (
        "PalmettoForCausalLM",
        {
            "attention": {"name": "memory", "window": 6, "layer": 1, "neighbours": 3},
            "positions": {"name": "rotary", "scaling": "truncated", "trained": 16},
        },
    ),
    "parallel windows, sinusoids, post norms": (
        "PalmettoForCausalLM",
        {
            "attention": {"name": "parallel_windows", "window": 6, "count": 2},
            "positions": {"name": "sinusoidal"},
            "norm_position": "post",
        },
    ),
    "strided, ALiBi, experts in a parallel block": (
        "PalmettoForCausalLM",
        {
            "attention": {"name": "strided", "stride": 4, "every": 2},
            "positions": {"name": "alibi"},
            "heads": 3,
            "head_size": 6,
            "experts": {"count": 3, "top": 3, "every": 2},
        },
    ),
}
"""The class, and what the recipe's model has other than PaLM's, for each kind."""
OBJECTIVES = {"GLM-130B": "prefix", "T5": "spans", "UL2": "mixture"}
"""The objectives of kinds that are not causal."""


def of_kind(kind: str) -> Recipe:
    """Returns a small recipe of a kind."""
    return recipe(KINDS[kind][1], objective={"name": OBJECTIVES.get(kind, "causal")})


@functools.cache
def vocabulary(kind: Kind = "bpe") -> Vocabulary:
    """Returns a small vocabulary."""
    return Vocabulary.train([TEXT], SIZES[kind], kind)


def recipe(model: dict[str, Any], vocabulary: Kind = "bpe", **training: Any) -> Recipe:
    """Returns a small recipe whose model has these values."""
    return loading.validate(
        {
            "name": "tiny",
            "tokens": {"vocabulary": vocabulary, "vocabulary_size": SIZES[vocabulary], "sequence_length": 32},
            "model": {"layers": 2, "d_model": 32, "heads": 2, **model},
            "training": {"steps": 8, "batch_size": 8, "micro_batch": 2, **training},
        }
    )


def draw(table: Table, seed: int) -> Parameters:
    """Returns random parameters; scales and biases differ from their initial values, so that omitting one shows."""
    random = np.random.default_rng(seed)
    return {
        name: jnp.asarray(
            (0.3 if not of.deviation else of.deviation) * random.normal(size=of.shape) + (of.deviation is None),
            jnp.float32,
        )
        for name, of in table.items()
    }


def outside() -> dict[str, str]:
    """Returns the environment of a process without what tests fix for their own."""
    return {name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")}


def made(
    folder: Path,
    recipe: Recipe,
    step: int = 10,
    words: Vocabulary | None = None,
    place: Callable[[Parameters], Parameters] = lambda parameters: parameters,
) -> RunDirectory:
    """Returns a run in a folder, with a checkpoint of random weights, which `place` may put on several devices.

    words: the vocabulary, by default a small one.
    """
    run = RunDirectory(folder)
    write_text(run.recipe_file, loading.dump(recipe))
    (words or vocabulary(recipe.tokens.vocabulary)).save(run.vocabulary)
    table = parameter_table(recipe)
    optimizer = optimization.make(
        recipe.training.optimizer, table, {name: Spread(of.stack) for name, of in table.items()}
    )
    parameters, checkpoints = place(draw(table, step)), Checkpoints(run.checkpoints, table)
    state = State(parameters, optimizer.init(parameters), None)
    checkpoints.save(state, step=step, attempt=0, recipe=recipe.digest, tokens="", chain="")
    checkpoints.wait()
    return run


def finetuned(folder: Path) -> RunDirectory:
    """Returns a run of a fine-tuning on a file in a folder, of a base in the same, with one piece more."""
    words, values = vocabulary().extended(["<|user|>"]), recipe({}).model_dump()
    values["tokens"]["vocabulary_size"] = words.size
    values["training"]["objective"] = {"name": "examples"}
    values["training"]["evaluations"] = {"tasks": ["copa"], "data": str(folder / "sets")}
    data = [{"path": str(folder / "chat.jsonl"), "weight": 2.0}]
    begun = {"base": str(folder / "base"), "step": 4, "parameters": "tree:0", "pieces": ["<|user|>"], "data": data}
    return made(folder / "run", loading.validate(values | {"finetuning": begun}), words=words)
