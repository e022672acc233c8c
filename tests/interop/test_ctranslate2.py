"""Tests CTranslate2's file of variables with a reader of its own, and which recipes are refused."""

import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from palmetto.errors import UserError
from palmetto.interop import ctranslate2
from palmetto.interop.export import export
from palmetto.model.parameters import parameter_table
from tests.references import exported
from tests.references.exported import KINDS

TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16, ml_dtypes.bfloat16)


def read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Returns the variables and the aliases of model.bin."""
    data, at = path.read_bytes(), 0

    def take(code: str) -> Any:
        nonlocal at
        values = struct.unpack_from(f"<{code}", data, at)
        at += struct.calcsize(f"<{code}")
        return values

    def string() -> str:
        (length,) = take("H")
        (text,) = take(f"{length}s")
        assert text.endswith(b"\0")
        return str(text[:-1].decode())

    assert take("I") == (6,)
    assert string() == "TransformerDecoderSpec"
    _, count = take("II")
    variables = {}
    for _ in range(count):
        name = string()
        shape = take(f"{take('B')[0]}I")
        kind, size = take("BI")
        variables[name] = np.frombuffer(take(f"{size}s")[0], TYPES[kind]).reshape(shape)
    aliases = {string(): string() for _ in range(take("I")[0])}
    assert at == len(data)
    return variables, aliases


def test_variables_hold_settings_and_weights(tmp_path: Path) -> None:
    recipe = exported.recipe({})
    export(exported.made(tmp_path / "run", recipe), "ctranslate2", tmp_path / "out", None, "float32")
    found, aliases = read(tmp_path / "out" / "model.bin")
    drawn = {name: np.asarray(array) for name, array in exported.draw(parameter_table(recipe), 10).items()}
    attention = "decoder/layer_1/self_attention"
    fused = np.concatenate([drawn[name][1] for name in "qkv"], axis=1).T
    assert np.array_equal(found[f"{attention}/linear_0/weight"], fused)
    assert found[f"{attention}/num_heads_kv"] == 1
    assert found["decoder/scale_outputs"] == np.float32(32**-0.5)
    assert not found["decoder/scale_embeddings"]
    assert aliases == {"decoder/projection/weight": "decoder/embeddings/weight"}


def test_int8_is_within_half_a_step(tmp_path: Path) -> None:
    recipe = exported.of_kind("Llama")
    export(exported.made(tmp_path / "run", recipe), "ctranslate2", tmp_path / "out", None, "int8")
    found, aliases = read(tmp_path / "out" / "model.bin")
    down = np.asarray(exported.draw(parameter_table(recipe), 10)["down"][1]).T
    kept, scale = (found[f"decoder/layer_1/ffn/linear_1/weight{end}"] for end in ("", "_scale"))
    assert kept.dtype == np.int8
    assert np.abs(kept).max(axis=1).tolist() == [127] * len(kept)
    assert np.abs(kept / scale[:, None] - down).max() <= 0.5001 / scale.min()
    assert aliases == {}


@pytest.mark.parametrize("kind", ["GLaM", "GPT-2", "BLOOM", "sinks, sandwich, query and key norms"])
def test_recipes_that_it_lacks_are_refused(kind: str, tmp_path: Path) -> None:
    run = exported.made(tmp_path / "run", exported.recipe(KINDS[kind][1]))
    with pytest.raises(UserError, match=r"no architecture of CTranslate2 .* \(expected"):
        export(run, "ctranslate2", tmp_path / "out", None, "float32")


def test_a_matrix_that_the_format_cannot_count_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = exported.made(tmp_path / "run", exported.recipe({}))
    monkeypatch.setattr(ctranslate2, "_MOST_BYTES", 400 * 32 * 2)
    with pytest.raises(UserError, match=r"embeddings/weight takes 51,200 bytes; .* a smaller type than --dtype"):
        export(run, "ctranslate2", tmp_path / "out", None, "float32")
    assert not (tmp_path / "out").exists()
    export(run, "ctranslate2", tmp_path / "out", None, "bfloat16")
