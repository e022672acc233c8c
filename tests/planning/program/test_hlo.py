"""Programs are read as the compiler writes them."""

import jax
import jax.numpy as jnp
import pytest

from palmetto.errors import RunStopped
from palmetto.planning.program.hlo import Array, Unreadable, closing, parse, parse_shape, reading
from tests.references import excerpts


def test_shapes_are_read() -> None:
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


def test_a_program_of_jax_is_read_completely() -> None:
    """In the program of a scan with a matrix product, every operand and every called computation is found."""

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


def test_attributes_are_read() -> None:
    body = parse(excerpts.WINDOWED).computations["body"]
    assert body["start"].attribute("source_target_pairs") == "{{0,1},{1,2},{2,3},{3,0}}"
    assert body["start"].attribute("channel_id") == "1"
    iota = parse(excerpts.WINDOWED.replace("{{0,1},{1,2},{2,3},{3,0}}", "[4,2]<=[2,4]T(1,0), flag=true"))
    assert iota.computations["body"]["start"].attribute("source_target_pairs") == "[4,2]<=[2,4]T(1,0)"
    assert body["start"].attribute("replica_groups") is None
    assert body["product"].configuration["window_config"]["estimated_cycles"] == "1000"
    assert body["product"].called == {"calls": ("products",)}
    assert [(user.name, place) for user, place in body.users["x"]] == [("start", 0), ("product", 0)]


def test_an_instruction_may_span_several_lines() -> None:
    entry = parse(excerpts.SPLASH).computations["main"]
    kernel = entry["splash_mha_fwd_residuals.2"]
    assert kernel.configuration["custom_call_config"]["needs_layout_passes"]
    assert kernel.attribute("custom_call_target") == '"tpu_custom_call"'
    assert entry.root.name == "left", "braces on a line of their own do not end the computation"


def test_operands_may_have_signs_and_shapes() -> None:
    program = parse(
        """HloModule m

ENTRY main {
  a = f32[2,3]{1,0} parameter(0)
  %b.1 = f32[2,3]{1,0} parameter(1)
  ROOT c = (f32[2,3]{1,0}, f32[2,3]{1,0}, f32[2,3]{1,0}) tuple(a, /*index=1*/f32[2,3]{1,0} %b.1, (f32[2,3], f32[]) a)
}
""".replace("main {", "main (a: f32[2,3], b.1: f32[2,3]) -> (f32[2,3], f32[2,3], f32[2,3]) {")
    )
    assert program.computations["main"].root.operands == ("a", "b.1", "a")


def test_an_attribute_ends_at_the_next_one() -> None:
    gather = "all-gather(%a), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={0}"
    assert gather in excerpts.IN_A_FUSION

    def groups(text: str) -> str | None:
        changed = excerpts.IN_A_FUSION.replace(gather, gather.replace("{{0,1,2,3}}", text))
        return parse(changed).computations["starting"]["gather"].attribute("replica_groups")

    for text in ("mesh['axis_0'=1,'axis_1'=4] {'axis_1'}", "mesh['x'=2,'y'=2], device_ids=([2,2]T(1,0)) {'x','y'}"):
        assert groups(text) == text


@pytest.mark.parametrize("text", ["HloModule nothing\n", "HloModule m\n\nENTRY %main (a: f32[]) -> f32[] {\n}\n"])
def test_other_text_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


def test_an_unreadable_program_is_reported_in_one_line() -> None:
    with pytest.raises(RunStopped, match="the compiler's program cannot be read: KeyError: 'x'"), reading():
        dict[str, int]()["x"]
    with pytest.raises(RunStopped, match="cannot be read: no size in the type token8s"), reading():
        raise Unreadable("no size in the type token8s")
