"""The target gguf: a file that llama.cpp opens, for the recipes that one of its architectures is exact for."""

from pathlib import Path

from palmetto.files import write_text
from palmetto.interop import card, gguf
from palmetto.interop.architecture import ROTARY, Architecture, Requirements, final_norm, nearest, rotary, whole_heads
from palmetto.interop.architectures import cohere, llama
from palmetto.interop.forms import AS_IS, TRANSPOSED
from palmetto.interop.gguf import Fact
from palmetto.interop.rows import Row, tensors
from palmetto.interop.source import Source
from palmetto.model.norms import EPSILON
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model
from palmetto.tokens.vocabulary import Vocabulary

FILE = "model.gguf"
_MOST_LAYERS = 63
"""The layers that llama.cpp's command-r has without norms of queries and keys."""
_TYPES = {"text": 1, "unknown": 2, "control": 3, "byte": 6}
"""llama.cpp's number of each kind of piece."""
_COMMON: Requirements = {
    "model.feedforward": ("swiglu",),
    "model.qk_norm": (False,),
    "model.biases": (False,),
    "model.experts": (None,),
    "tokens.vocabulary": ("bpe",),
    **ROTARY,
}
"""Unigram pieces cannot be cut as sentencepiece does by merging pairs by score, which is what llama.cpp does."""


def _command_r(model: Model) -> Requirements:
    heads = {**whole_heads(model), "model.head_size": (model.d_model // model.heads,)}
    layers = {"model.layers": (min(model.layers, _MOST_LAYERS),)}
    return {**cohere.requires(model), **_COMMON, **heads, **layers, "model.tied_embedding": (True, "undivided")}


def _llama(model: Model) -> Requirements:
    return {**llama.LLAMA.requires(model), **_COMMON}


def _rows(model: Model) -> list[Row]:
    """Returns the architectures' tensors. Pairs lie side by side; the last norm of a tied Llama is divided by √D."""
    layer = "blk.{layer}"
    last = final_norm(model) if model.block == "serial" else AS_IS
    return [
        Row("token_embd.weight", ("embedding",)),
        Row("output_norm.weight", ("final_norm",), last),
        Row("output.weight", ("output",), TRANSPOSED),
        Row(f"{layer}.attn_norm.weight", ("norm",)),
        Row(f"{layer}.attn_q.weight", ("q",), TRANSPOSED),
        Row(f"{layer}.attn_k.weight", ("k",), TRANSPOSED),
        Row(f"{layer}.attn_v.weight", ("v",), TRANSPOSED),
        Row(f"{layer}.attn_output.weight", ("o",), TRANSPOSED),
        Row(f"{layer}.ffn_norm.weight", ("feedforward_norm",)),
        Row(f"{layer}.ffn_gate.weight", ("gate",), TRANSPOSED),
        Row(f"{layer}.ffn_up.weight", ("up",), TRANSPOSED),
        Row(f"{layer}.ffn_down.weight", ("down",), TRANSPOSED),
    ]


ARCHITECTURES = (
    Architecture(
        "command-r",
        "command-r",
        _command_r,
        _rows,
        lambda recipe: {
            "attention.layer_norm_epsilon": EPSILON,
            "logit_scale": 1 / recipe.model.logit_divisor,
        },
    ),
    Architecture("llama", "llama", _llama, _rows, lambda recipe: {"attention.layer_norm_rms_epsilon": EPSILON}),
)


def choose(recipe: Recipe) -> Architecture:
    """Returns the architecture that computes what the recipe's model does; raises UserError like `nearest`."""
    return nearest(ARCHITECTURES, recipe, "llama.cpp")


def write(source: Source, folder: Path, dtype: str) -> None:
    """Writes model.gguf and a model card into a folder; raises UserError like `choose`."""
    recipe = source.recipe
    architecture = choose(recipe)
    facts = {**_facts(recipe, architecture), **_tokens(source.vocabulary)}
    planned = tensors(architecture.rows(recipe.model), source.table)
    gguf.write(folder / FILE, facts, planned, source.values, dtype)
    note = (
        f"llama.cpp opens `{FILE}` as `{architecture.name}`. Its tokenizer gives the ids of the run's vocabulary for "
        "texts without U+2581, which it takes for a space, and puts `[eod]` in front."
    )
    write_text(
        folder / "README.md", card.card(source, "llama.cpp", f"llama.cpp's {architecture.name} in {dtype}", note)
    )


def _facts(recipe: Recipe, architecture: Architecture) -> dict[str, Fact]:
    model, rope = recipe.model, rotary(recipe.model)
    scaling: dict[str, Fact] = {"rope.scaling.type": "none"}
    if rope["rope_parameters"]["rope_type"] == "linear":
        scaling = {"rope.scaling.type": "linear", "rope.scaling.factor": rope["rope_parameters"]["factor"]}
    facts: dict[str, Fact] = {
        "vocab_size": recipe.model_vocabulary,
        "context_length": recipe.model_length,
        "embedding_length": model.d_model,
        "block_count": model.layers,
        "feed_forward_length": model.feedforward_size,
        "attention.head_count": model.heads,
        "attention.head_count_kv": model.key_value_heads,
        "attention.key_length": model.query_size,
        "attention.value_length": model.query_size,
        "rope.dimension_count": model.query_size,
        "rope.freq_base": float(rope["rope_theta"]),
        **scaling,
        **architecture.config(recipe),
    }
    general: dict[str, Fact] = {"general.architecture": architecture.kind, "general.name": recipe.name}
    return {**general, **{f"{architecture.kind}.{key}": fact for key, fact in facts.items()}}


def _tokens(vocabulary: Vocabulary) -> dict[str, Fact]:
    pieces = list(vocabulary.pieces())
    unknown = next(piece.id for piece in pieces if piece.kind == "unknown")
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [piece.name for piece in pieces],
        "tokenizer.ggml.scores": [float(piece.score) for piece in pieces],
        "tokenizer.ggml.token_type": [_TYPES[piece.kind] for piece in pieces],
        "tokenizer.ggml.bos_token_id": vocabulary.eod,
        "tokenizer.ggml.eos_token_id": vocabulary.eod,
        "tokenizer.ggml.unknown_token_id": unknown,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }
