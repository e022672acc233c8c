"""Tests the file format GGUF with a reader of its own, and which recipes llama.cpp is exact for."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.interop import llamacpp
from palmetto.interop.export import export
from palmetto.model.parameters import parameter_table
from tests.references import exported
from tests.references.exported import KINDS, SERIAL

Reading = tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]


def read(path: Path) -> Reading:
    """Returns the facts and the tensors of a file, as the format's description says."""
    data, at = path.read_bytes(), 4

    def take(code: str) -> Any:
        nonlocal at
        (value,) = struct.unpack_from(f"<{code}", data, at)
        at += struct.calcsize(f"<{code}")
        return value

    def string() -> str:
        nonlocal at
        length = take("Q")
        at += length
        return data[at - length : at].decode()

    def value(kind: int) -> Any:
        if kind == 9:
            inner, count = take("I"), take("Q")
            return [value(inner) for _ in range(count)]
        return string() if kind == 8 else take({4: "I", 5: "i", 6: "f", 7: "?"}[kind])

    assert data[:4] == b"GGUF"
    version, tensors, facts = take("I"), take("Q"), take("Q")
    assert version == 3
    found = {string(): value(take("I")) for _ in range(facts)}
    places = [(string(), [take("Q") for _ in range(take("I"))], take("I"), take("Q")) for _ in range(tensors)]
    begin = at + -at % 32
    types = {0: np.float32, 1: np.float16}
    return found, {
        name: np.frombuffer(data, types[kind], int(np.prod(shape)), begin + offset).reshape(shape[::-1])
        for name, shape, kind, offset in places
    }


def test_a_file_holds_facts_tokens_and_weights(tmp_path: Path) -> None:
    recipe = exported.recipe({})
    export(exported.made(tmp_path / "run", recipe), "gguf", tmp_path / "out", None, "float16")
    facts, tensors = read(tmp_path / "out" / llamacpp.FILE)
    assert facts["general.architecture"] == "command-r"
    assert facts["command-r.logit_scale"] == np.float32(32**-0.5)
    assert facts["command-r.attention.head_count_kv"] == 1
    vocabulary = exported.vocabulary()
    assert facts["tokenizer.ggml.tokens"] == [piece.name for piece in vocabulary.pieces()]
    assert facts["tokenizer.ggml.bos_token_id"] == vocabulary.eod
    assert facts["tokenizer.ggml.add_space_prefix"] is False
    drawn = exported.draw(parameter_table(recipe), 10)
    assert tensors["token_embd.weight"].tolist() == np.asarray(drawn["embedding"], np.float16).tolist()
    assert tensors["blk.1.attn_q.weight"].tolist() == np.asarray(drawn["q"][1].T, np.float16).tolist()
    assert tensors["blk.1.attn_norm.weight"].tolist() == np.asarray(drawn["norm"][1]).tolist()
    assert len(tensors) == 2 + 2 * 8


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"head_size": 12}, r"command-r, but for model.head_size=12 \(expected 16\)"),
        ({"layers": 64}, r"command-r, but for model.layers=64 \(expected 63\)"),
        ({"tied_embedding": False}, r"model.tied_embedding=false \(expected true or undivided\)"),
        (
            {**SERIAL, "experts": {"count": 2, "every": 2}},
            r"llama with experts, but for model.experts.every=2 \(expected 1\)",
        ),
        ({**KINDS["BLOOM"][1], "feedforward": "gelu"}, r"bloom, but for model.feedforward=gelu \(expected gelu_tanh\)"),
        ({**SERIAL, "feedforward": "geglu"}, r"llama, but for model.feedforward=geglu \(expected swiglu\)"),
        (
            {**KINDS["Llama with ALiBi"][1], "qk_norm": True},
            r"qwen3, but for model.positions.name=alibi \(expected rotary\)",
        ),
    ],
)
def test_recipes_that_llama_cpp_lacks_are_refused(model: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        llamacpp.choose(exported.recipe(model))


def test_experts_lie_in_one_tensor(tmp_path: Path) -> None:
    recipe = exported.of_kind("Mixtral")
    export(exported.made(tmp_path / "run", recipe), "gguf", tmp_path / "out", None, "float32")
    facts, tensors = read(tmp_path / "out" / llamacpp.FILE)
    assert (facts["llama.expert_count"], facts["llama.expert_used_count"]) == (4, 2)
    assert facts["llama.feed_forward_length"] == 20
    drawn = np.asarray(exported.draw(parameter_table(recipe), 10)["expert_down"])
    assert np.array_equal(tensors["blk.1.ffn_down_exps.weight"], drawn[1].transpose(0, 2, 1))
