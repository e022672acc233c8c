"""The target gguf: a file that llama.cpp opens, for the recipes that one of its architectures is exact for."""

from pathlib import Path
from typing import Any

from palmetto.files import write_text
from palmetto.interop import card, gguf, tokenizer
from palmetto.interop.architecture import ROTARY, Architecture, Requirements, final_norm, nearest, rotary, whole_heads
from palmetto.interop.architectures import bloom, cohere, gpt2, llama, mixtral
from palmetto.interop.forms import AS_IS, TRANSPOSED, Form, halves, joined, stacked
from palmetto.interop.gguf import Fact
from palmetto.interop.rows import Row, tensors
from palmetto.interop.source import Source
from palmetto.model.norms import EPSILON
from palmetto.model.positions.rotary import RotaryPositions
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model
from palmetto.tokens.vocabulary import Vocabulary

FILE = "model.gguf"
_MOST_LAYERS = 63
"""The most layers of llama.cpp's command-r without norms of queries and keys."""
_TYPES = {"text": 1, "unknown": 2, "control": 3, "added": 4, "byte": 6}
"""llama.cpp's number of each kind of piece."""
_BPE: Requirements = {"tokens.vocabulary": ("bpe",)}
"""Unigram pieces cannot be cut as sentencepiece does by merging pairs by score, which is what llama.cpp does."""
_SWIGLU: Requirements = {"model.feedforward": ("swiglu",), **_BPE}
_TANH: Requirements = {"model.feedforward": ("gelu_tanh",), **_BPE}
_ALIBI: Requirements = {"model.positions.name": ("alibi",)}
_WITH_OR_WITHOUT_BIASES: Requirements = {"model.norm_bias": (True, False), "model.biases": (True, False)}


def _command_r(model: Model) -> Requirements:
    heads = {**whole_heads(model), "model.head_size": (model.d_model // model.heads,)}
    layers = {"model.layers": (min(model.layers, _MOST_LAYERS),)}
    plain: Requirements = {"model.qk_norm": (False,), "model.tied_embedding": (True, "undivided")}
    return {**cohere.requires(model), **_SWIGLU, **heads, **layers, **plain}


def _mixtral(model: Model) -> Requirements:
    plain: Requirements = {"model.qk_norm": (False,), "model.biases": (False,)}
    experts: Requirements = {"model.experts.feedforward": (None, "swiglu")}
    return {**mixtral.requires(model), **_SWIGLU, **plain, **experts, **whole_heads(model)}


def _starcoder2(model: Model) -> Requirements:
    shared: Requirements = {"model.key_value_heads": (model.key_value_heads,)}
    return {**gpt2.requires(model), **ROTARY, **_TANH, **shared}


def _rows(model: Model, pairs: Form = AS_IS) -> list[Row]:
    """Returns the tensors of the architectures with q, k and v apart, whose heads hold their pairs in a form.

    The serial ones do not divide the logits of a tied embedding by √D: the last norm is divided instead.
    """
    layer = "blk.{layer}"
    last = final_norm(model) if model.block == "serial" else AS_IS
    return [
        Row("token_embd.weight", ("embedding",)),
        Row("output_norm.weight", ("final_norm",), last),
        Row("output_norm.bias", ("final_norm_bias",), last),
        Row("output.weight", ("output",), TRANSPOSED),
        Row(f"{layer}.attn_norm.weight", ("norm",)),
        Row(f"{layer}.attn_norm.bias", ("norm_bias",)),
        Row(f"{layer}.attn_q.weight", ("q",), pairs.then(TRANSPOSED)),
        Row(f"{layer}.attn_q.bias", ("q_bias",), pairs),
        Row(f"{layer}.attn_q_norm.weight", ("q_norm",), pairs),
        Row(f"{layer}.attn_k.weight", ("k",), pairs.then(TRANSPOSED)),
        Row(f"{layer}.attn_k.bias", ("k_bias",), pairs),
        Row(f"{layer}.attn_k_norm.weight", ("k_norm",), pairs),
        Row(f"{layer}.attn_v.weight", ("v",), TRANSPOSED),
        Row(f"{layer}.attn_v.bias", ("v_bias",)),
        Row(f"{layer}.attn_output.weight", ("o",), TRANSPOSED),
        Row(f"{layer}.attn_output.bias", ("o_bias",)),
        Row(f"{layer}.ffn_norm.weight", ("feedforward_norm",)),
        Row(f"{layer}.ffn_norm.bias", ("feedforward_norm_bias",)),
        Row(f"{layer}.ffn_gate.weight", ("gate",), TRANSPOSED),
        Row(f"{layer}.ffn_gate.bias", ("gate_bias",)),
        Row(f"{layer}.ffn_up.weight", ("up",), TRANSPOSED),
        Row(f"{layer}.ffn_up.bias", ("up_bias",)),
        Row(f"{layer}.ffn_down.weight", ("down",), TRANSPOSED),
        Row(f"{layer}.ffn_down.bias", ("down_bias",)),
        Row(f"{layer}.ffn_gate_inp.weight", ("router",), TRANSPOSED),
        Row(f"{layer}.ffn_gate_exps.weight", ("expert_gate",), stacked(TRANSPOSED)),
        Row(f"{layer}.ffn_up_exps.weight", ("expert_up",), stacked(TRANSPOSED)),
        Row(f"{layer}.ffn_down_exps.weight", ("expert_down",), stacked(TRANSPOSED)),
    ]


def _halved_rows(model: Model) -> list[Row]:
    return _rows(model, halves(model.query_size))


def _joined_rows(model: Model) -> list[Row]:
    """Returns the tensors of the architectures with q, k and v in one."""
    layer, width, last = "blk.{layer}", model.heads * model.query_size, final_norm(model)
    side_by_side = joined(width, width, width)
    return [
        Row("token_embd.weight", ("embedding",)),
        Row("token_embd_norm.weight", ("embedding_norm",)),
        Row("token_embd_norm.bias", ("embedding_norm_bias",)),
        Row("position_embd.weight", ("positions",)),
        Row("output_norm.weight", ("final_norm",), last),
        Row("output_norm.bias", ("final_norm_bias",), last),
        Row("output.weight", ("output",), TRANSPOSED),
        Row(f"{layer}.attn_norm.weight", ("norm",)),
        Row(f"{layer}.attn_norm.bias", ("norm_bias",)),
        Row(f"{layer}.attn_qkv.weight", ("q", "k", "v"), side_by_side.then(TRANSPOSED)),
        Row(f"{layer}.attn_qkv.bias", ("q_bias", "k_bias", "v_bias"), side_by_side),
        Row(f"{layer}.attn_output.weight", ("o",), TRANSPOSED),
        Row(f"{layer}.attn_output.bias", ("o_bias",)),
        Row(f"{layer}.ffn_norm.weight", ("feedforward_norm",)),
        Row(f"{layer}.ffn_norm.bias", ("feedforward_norm_bias",)),
        Row(f"{layer}.ffn_up.weight", ("up",), TRANSPOSED),
        Row(f"{layer}.ffn_up.bias", ("up_bias",)),
        Row(f"{layer}.ffn_down.weight", ("down",), TRANSPOSED),
        Row(f"{layer}.ffn_down.bias", ("down_bias",)),
    ]


def _experts(recipe: Recipe) -> dict[str, Any]:
    model = recipe.model
    assert model.experts is not None
    return {
        **_RMS,
        "feed_forward_length": model.expert_size,
        "expert_count": model.experts.count,
        "expert_used_count": model.experts.top,
    }


_RMS = {"attention.layer_norm_rms_epsilon": EPSILON}
_CENTRED = {"attention.layer_norm_epsilon": EPSILON}
ARCHITECTURES = (
    Architecture(
        "command-r",
        "command-r",
        _command_r,
        _rows,
        lambda recipe: {**_CENTRED, "logit_scale": 1 / recipe.model.logit_divisor},
    ),
    Architecture("llama with experts", "llama", _mixtral, _rows, _experts),
    Architecture("llama", "llama", lambda model: {**llama.LLAMA.requires(model), **_SWIGLU}, _rows, lambda _: _RMS),
    Architecture(
        "qwen3", "qwen3", lambda model: {**llama.QWEN.requires(model), **_SWIGLU}, _halved_rows, lambda _: _RMS
    ),
    Architecture(
        "refact",
        "refact",
        lambda model: {**llama.LLAMA.requires(model), **_SWIGLU, **_ALIBI},
        _rows,
        lambda _: _RMS,
    ),
    Architecture("starcoder2", "starcoder2", _starcoder2, _halved_rows, lambda _: _CENTRED),
    Architecture("gpt2", "gpt2", lambda model: {**gpt2.requires(model), **_TANH}, _joined_rows, lambda _: _CENTRED),
    Architecture("bloom", "bloom", lambda model: {**bloom.requires(model), **_TANH}, _joined_rows, lambda _: _CENTRED),
    Architecture(
        "mpt",
        "mpt",
        lambda model: {**gpt2.requires(model), **_TANH, **_ALIBI, **_WITH_OR_WITHOUT_BIASES},
        _joined_rows,
        lambda _: {**_CENTRED, "attention.max_alibi_bias": 8.0},
    ),
)


def choose(recipe: Recipe) -> Architecture:
    """Returns the architecture that computes what the recipe's model does; raises UserError like `nearest`."""
    return nearest(ARCHITECTURES, recipe, "llama.cpp")


def write(source: Source, folder: Path, dtype: str) -> None:
    """Writes model.gguf and a model card into a folder; raises UserError like `choose`."""
    recipe = source.recipe
    architecture = choose(recipe)
    facts = {**_facts(recipe, architecture), **_tokens(source.vocabulary)}
    if recipe.tokens.chat_template is not None:
        facts["tokenizer.chat_template"] = tokenizer.chat_template(recipe.tokens.chat_template)
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
    model = recipe.model
    facts: dict[str, Fact] = {
        "vocab_size": recipe.model_vocabulary,
        "context_length": model.positions.end or recipe.model_length,
        "embedding_length": model.d_model,
        "block_count": model.layers,
        "feed_forward_length": model.feedforward_size,
        "attention.head_count": model.heads,
        "attention.head_count_kv": model.key_value_heads,
        "attention.key_length": model.query_size,
        "attention.value_length": model.query_size,
        **(_turns(model) if isinstance(model.positions, RotaryPositions) else {}),
        **architecture.config(recipe),
    }
    general: dict[str, Fact] = {"general.architecture": architecture.kind, "general.name": recipe.name}
    return {**general, **{f"{architecture.kind}.{key}": fact for key, fact in facts.items()}}


def _turns(model: Model) -> dict[str, Fact]:
    rope = rotary(model)
    how = rope["rope_parameters"]
    scaling = {"rope.scaling.factor": how["factor"]} if how["rope_type"] == "linear" else {}
    return {
        "rope.dimension_count": model.query_size,
        "rope.freq_base": float(rope["rope_theta"]),
        "rope.scaling.type": "linear" if scaling else "none",
        **scaling,
    }


def _tokens(vocabulary: Vocabulary) -> dict[str, Fact]:
    pieces = list(vocabulary.pieces())
    unknown = next(piece.id for piece in pieces if piece.kind == "unknown")
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        # It looks for added pieces in the text as it is, and for the others with U+2581 as a space.
        "tokenizer.ggml.tokens": [p.data.decode() if p.kind == "added" else p.name for p in pieces],
        "tokenizer.ggml.scores": [float(piece.score) for piece in pieces],
        "tokenizer.ggml.token_type": [_TYPES[piece.kind] for piece in pieces],
        "tokenizer.ggml.bos_token_id": vocabulary.eod,
        "tokenizer.ggml.eos_token_id": vocabulary.eod,
        "tokenizer.ggml.unknown_token_id": unknown,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }
