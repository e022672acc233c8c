"""Programs are read back as the compiler wrote them."""

import jax
import jax.numpy as jnp
import pytest

from palmetto.planning.hlo import Array, closing, parse, parse_shape
from tests.planning import excerpts


def test_shapes() -> None:
    (array,) = parse_shape("bf16[2,2048,1024]{2,1,0:T(8,128)(2,1)S(3)}")
    assert array == Array("bf16", (2, 2048, 1024), (2, 1, 0), (8, 128), 3)
    assert array.bytes == array.stored_bytes == 2 * 2 * 2048 * 1024
    pair = parse_shape("(f32[3]{0}, /*index=1*/(s32[], pred[4,4]{1,0}), token[])")
    assert [(a.type, a.bytes) for a in pair] == [("f32", 12), ("s32", 4), ("pred", 16), ("token", 0)]
    assert parse_shape("s4[10]{0}")[0].bytes == 5
    assert parse_shape("c64[10]{0}")[0].bytes == 80


def test_tiles_pad_the_fastest_dimensions() -> None:
    (array,) = parse_shape("f32[12,6,512]{2,1,0:T(8,128)}")
    assert (array.bytes, array.stored_bytes) == (12 * 6 * 512 * 4, 12 * 8 * 512 * 4)
    (turned,) = parse_shape("f32[6,12,512]{2,0,1:T(8,128)}")
    assert turned.stored_bytes == 12 * 8 * 512 * 4
    (vector,) = parse_shape("f32[5]{0:T(1024)}")
    assert vector.stored_bytes == 4096


def test_brackets_in_quotes_are_text() -> None:
    text = 'f(a, "b)\\")", {c}) d'
    assert text[closing(text, 1) :] == ") d"
    with pytest.raises(ValueError, match="open bracket"):
        closing("(a", 0)


def test_a_program_of_jax() -> None:
    """Whatever XLA makes of a scan with a matrix product: every operand and every called computation is there."""

    def loss(kernels: jax.Array, x: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, kernels)
        return jnp.sum(x)

    compiled = jax.jit(jax.grad(loss)).lower(jnp.ones((3, 16, 16)), jnp.ones((4, 16))).compile()
    program = parse(str(compiled.as_text()))
    opcodes = {instruction.opcode for computation in program.computations.values() for instruction in computation}
    assert {"while", "dot", "tanh"} <= opcodes
    for computation in program.computations.values():
        for instruction in computation:
            assert all(operand in computation.instructions for operand in instruction.operands)
            assert all(name in program.computations for names in instruction.called.values() for name in names)
    entry = program.computations[program.entry]
    assert [parameter.shape[0].dimensions for parameter in entry.parameters] == [(3, 16, 16), (4, 16)]
    assert entry.root.shape[0].dimensions == (3, 16, 16)


def test_attributes() -> None:
    body = parse(excerpts.WINDOWED).computations["body"]
    assert body["start"].attribute("source_target_pairs") == "{{0,1},{1,2},{2,3},{3,0}}"
    assert body["start"].attribute("channel_id") == "1"
    iota = parse(excerpts.WINDOWED.replace("{{0,1},{1,2},{2,3},{3,0}}", "[4,2]<=[2,4]T(1,0), flag=true"))
    assert iota.computations["body"]["start"].attribute("source_target_pairs") == "[4,2]<=[2,4]T(1,0)"
    assert body["start"].attribute("replica_groups") is None
    assert body["product"].configuration["window_config"]["estimated_cycles"] == "1000"
    assert body["product"].called == {"calls": ("products",)}
    assert [(user.name, place) for user, place in body.users["x"]] == [("start", 0), ("product", 0)]


def test_no_program() -> None:
    with pytest.raises(ValueError, match="no HLO program"):
        parse("HloModule nothing\n")
