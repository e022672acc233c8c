"""The target ctranslate2: a folder that CTranslate2's Generator opens, in float types or int8.

model.bin is a list of variables: name, shape, type and bytes of each; scalars are settings of the decoder.
"""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from palmetto import files
from palmetto.errors import UserError
from palmetto.interop import card
from palmetto.interop.architecture import ROTARY, Architecture, Requirements, final_norm, nearest, rotary
from palmetto.interop.architectures import cohere, llama
from palmetto.interop.forms import AS_IS, TRANSPOSED, Array, joined
from palmetto.interop.rows import Row, tensors
from palmetto.interop.safetensors import TYPES, rounded
from palmetto.interop.source import Source
from palmetto.model.norms import EPSILON
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model
from palmetto.tokens.vocabulary import Vocabulary

_VERSION, _SPECIFICATION, _REVISION = 6, "TransformerDecoderSpec", 8
_NUMBERS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "bfloat16": 5}
_ACTIVATIONS = {"swiglu": 2, "geglu": 3, "glu": 6}
_LINEAR = 0
_MOST = 127
"""The largest integer of a row in int8, which its largest weight becomes."""
_MOST_BYTES = 2**32 - 1
"""The bytes of a variable that the format can count."""


def _llama(model: Model) -> Requirements:
    return {**llama.SERIAL_RMS, "model.experts": (None,), "model.attention.name": ("full",), "model.qk_norm": (False,)}


def _cohere(model: Model) -> Requirements:
    return {**cohere.requires(model), "model.qk_norm": (False,), **ROTARY}


def _rows(model: Model) -> list[Row]:
    """Returns the decoder's tensors: q, k and v in one, pairs side by side.

    A serial decoder does not divide the logits of a tied embedding by √D: the last norm's scale is divided instead.
    """
    layer, Q = "decoder/layer_{layer}", model.query_size
    attention, fed = f"{layer}/self_attention", f"{layer}/ffn"
    side_by_side = joined(model.heads * Q, model.key_value_heads * Q, model.key_value_heads * Q)
    parallel = model.block == "parallel"
    last = AS_IS if parallel else final_norm(model)
    return [
        Row("decoder/embeddings/weight", ("embedding",)),
        Row("decoder/projection/weight", ("output",), TRANSPOSED),
        Row("decoder/layer_norm/gamma", ("final_norm",), last),
        Row(f"{layer}/shared_layer_norm/gamma" if parallel else f"{attention}/layer_norm/gamma", ("norm",)),
        Row(f"{fed}/layer_norm/gamma", ("feedforward_norm",)),
        Row(f"{attention}/linear_0/weight", ("q", "k", "v"), side_by_side.then(TRANSPOSED)),
        Row(f"{attention}/linear_0/bias", ("q_bias", "k_bias", "v_bias"), side_by_side),
        Row(f"{attention}/linear_1/weight", ("o",), TRANSPOSED),
        Row(f"{attention}/linear_1/bias", ("o_bias",)),
        Row(f"{fed}/linear_0/weight", ("gate",), TRANSPOSED),
        Row(f"{fed}/linear_0/bias", ("gate_bias",)),
        Row(f"{fed}/linear_0_noact/weight", ("up",), TRANSPOSED),
        Row(f"{fed}/linear_0_noact/bias", ("up_bias",)),
        Row(f"{fed}/linear_1/weight", ("down",), TRANSPOSED),
        Row(f"{fed}/linear_1/bias", ("down_bias",)),
    ]


ARCHITECTURES = (
    Architecture("parallel decoder", "", _cohere, _rows, lambda recipe: {}),
    Architecture("serial decoder", "", _llama, _rows, lambda recipe: {}),
)


def write(source: Source, folder: Path, dtype: str) -> None:
    """Writes model.bin, its vocabulary and a model card into a folder.

    Raises UserError if no decoder of CTranslate2 computes the recipe's model, with the reasons of the nearest one, or
    if a matrix is too large for the format.
    """
    recipe, vocabulary = source.recipe, source.vocabulary
    architecture = nearest(ARCHITECTURES, recipe, "CTranslate2")
    planned = tensors(architecture.rows(recipe.model), source.table)
    each = 1 if dtype == "int8" else TYPES[dtype][1].itemsize
    for tensor in planned:
        if (size := math.prod(tensor.shape) * each) > _MOST_BYTES:
            smaller = f"a smaller type than --dtype {dtype}" if each > 1 else "another target"
            raise UserError(
                f"{recipe.name}: {tensor.name} takes {size:,} bytes; CTranslate2's format counts to {_MOST_BYTES:,}: "
                f"expected {smaller}"
            )
    settings = dict(_settings(recipe))
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"} if recipe.model.tied_embedding else {}
    if dtype == "int8":
        aliases |= {f"{name}_scale": f"{of}_scale" for name, of in aliases.items()}
    matrices = sum(len(tensor.shape) > 1 for tensor in planned) if dtype == "int8" else 0
    with files.atomic(folder / "model.bin") as file:
        file.write(struct.pack("<I", _VERSION) + _string(_SPECIFICATION))
        file.write(struct.pack("<II", _REVISION, len(settings) + len(planned) + matrices))
        for name, value in settings.items():
            _variable(file, name, value)
        for tensor in planned:
            _tensor(file, tensor.name, source.values(tensor), dtype)
        file.write(struct.pack("<I", len(aliases)))
        file.write(b"".join(_string(name) + _string(of) for name, of in aliases.items()))
    names = [piece.name for piece in vocabulary.pieces()]
    files.write_json(folder / "config.json", _config(recipe, vocabulary, names))
    files.write_text(folder / "vocabulary.json", json.dumps(names, indent=1) + "\n")
    note = (
        "`ctranslate2.Generator` opens the folder. It takes ids or names of tokens, which `palmetto tokenizer encode` "
        f"gives, with `{names[vocabulary.beginning]}` in front."
    )
    files.write_text(
        folder / "README.md", card.card(source, "ctranslate2", f"CTranslate2's {architecture.name} in {dtype}", note)
    )


def _config(recipe: Recipe, vocabulary: Vocabulary, names: list[str]) -> dict[str, Any]:
    return {
        "layer_norm_epsilon": EPSILON,
        "bos_token": names[vocabulary.beginning],
        "eos_token": names[vocabulary.eod],
        "unk_token": "<unk>",
        "multi_query_attention": recipe.model.key_value_heads != recipe.model.heads,
    }


def _settings(recipe: Recipe) -> Iterator[tuple[str, Array | np.generic]]:
    """Yields the scalars of the decoder, and the zeros that a norm without bias must have for one."""
    model, rope = recipe.model, rotary(recipe.model)["rope_parameters"]
    yield "decoder/num_heads", np.int16(model.heads)
    yield "decoder/pre_norm", np.int8(1)
    yield "decoder/activation", np.int8(_ACTIVATIONS[model.feedforward])
    yield "decoder/alignment_layer", np.int16(-1)
    yield "decoder/alignment_heads", np.int16(1)
    yield from ((f"decoder/{name}", np.int8(0)) for name in ("scale_embeddings", "alibi", "scale_alibi"))
    yield "decoder/start_from_zero_embedding", np.int8(0)
    parallel, zeros = model.block == "parallel", np.zeros(model.d_model, np.float32)
    if parallel:
        yield "decoder/layer_norm/beta", zeros
        yield "decoder/scale_outputs", np.float32(1 / model.logit_divisor)
    for layer in range(model.layers):
        attention = f"decoder/layer_{layer}/self_attention"
        yield f"{attention}/rotary_dim", np.int32(0)
        yield f"{attention}/rotary_interleave", np.int8(1)
        yield f"{attention}/rotary_base", np.float32(rope["rope_theta"])
        yield f"{attention}/head_dim", np.int32(model.query_size)
        if rope["rope_type"] == "linear":
            yield f"{attention}/rotary_scaling_type", np.int8(_LINEAR)
            yield f"{attention}/rotary_scaling_factor", np.float32(rope["factor"])
        if model.key_value_heads != model.heads:
            yield f"{attention}/num_heads_kv", np.int32(model.key_value_heads)
        if parallel:
            yield f"decoder/layer_{layer}/shared_layer_norm/beta", zeros


def _tensor(file: IO[bytes], name: str, values: Array, dtype: str) -> None:
    """Writes a tensor: vectors in float32, matrices in `dtype`; in int8 with a scale for each row."""
    if values.ndim < 2:
        _variable(file, name, values.astype(np.float32))
    elif dtype == "int8":
        if not np.isfinite(values).all():
            raise UserError(f"{name}: holds values that are not finite, which int8 cannot; expected --dtype float32")
        largest = np.abs(values).max(axis=-1)
        scale = np.float32(_MOST) / np.where(largest == 0, np.float32(_MOST), largest)
        _variable(file, name, np.rint(values * scale[:, None]).astype(np.int8))
        _variable(file, f"{name}_scale", scale)
    else:
        _variable(file, name, rounded(values, TYPES[dtype][1], name))


def _variable(file: IO[bytes], name: str, value: Array | np.generic) -> None:
    file.write(_string(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape))
    file.write(struct.pack("<BI", _NUMBERS[value.dtype.name], value.nbytes))
    file.write(value.tobytes() if value.ndim == 0 else np.ascontiguousarray(value).view(np.uint8).data)


def _string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data
