"""FLOPs and bytes of instructions match their shapes."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from palmetto.planning.program.hlo import Program, parse
from palmetto.planning.program.integers import Called, Frame
from palmetto.planning.program.loops import Loops
from palmetto.planning.program.work import Work, Worker
from tests.references import excerpts


def works(text: str) -> dict[str, Work]:
    program = parse(text)
    worker, entry = Worker(program), program.computations[program.entry]
    return {instruction.name: worker.work(entry, instruction) for instruction in entry}


def flops(program: Program, name: str | None = None, given: Frame | None = None) -> int:
    """Returns the FLOPs of a program, with the trips of its loops."""
    worker, loops, total = Worker(program), Loops(program), 0
    computation, given = program.computations[name or program.entry], given or Frame()
    for instruction in computation:
        if instruction.opcode == "while":
            body = program.called(instruction, "body").name
            total += sum(n * flops(program, body, trip) for trip, n in loops.trips(computation, instruction, given))
        elif instruction.opcode == "call":
            inner = Called(program, computation, instruction, given)
            total += flops(program, program.called(instruction, "to_apply").name, inner)
        else:
            total += worker.work(computation, instruction).flops
    return total


def compiled(function: Any, *arguments: Any) -> Program:
    return parse(str(jax.jit(function).lower(*arguments).compile().as_text()))


def test_matrix_products_are_counted() -> None:
    a, b = jnp.ones((24, 32)), jnp.ones((32, 48))
    assert flops(compiled(jnp.matmul, a, b)) == 2 * 24 * 32 * 48
    batched = compiled(
        lambda q, k: jnp.einsum("bthq,bshq->bhts", q, k), jnp.ones((2, 16, 3, 8)), jnp.ones((2, 9, 3, 8))
    )
    assert flops(batched) == 2 * 2 * 3 * 16 * 9 * 8


def test_a_scan_counts_its_trips() -> None:
    def deep(x: jax.Array, kernels: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, kernels)[0])

    x, kernels = jnp.ones((8, 16)), jnp.ones((5, 16, 16))
    assert flops(compiled(deep, x, kernels)) == 5 * 2 * 8 * 16 * 16
    assert flops(compiled(jax.grad(deep, (0, 1)), x, kernels)) == 3 * 5 * 2 * 8 * 16 * 16


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_convolutions_count_pairs_that_meet(padding: str, stride: int, dilation: int) -> None:
    """Only pairs of places that meet the input count, as in XLA's own analysis."""

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, rhs_dilation=(dilation, dilation))

    function = jax.jit(convolve).lower(jnp.ones((2, 3, 9, 9)), jnp.ones((4, 3, 3, 3))).compile()
    analysed = function.cost_analysis()
    assert analysed is not None
    assert flops(parse(str(function.as_text()))) == analysed["flops"]


def test_products_written_as_convolutions_are_counted() -> None:
    found = works(excerpts.CONVOLUTIONS)
    assert found["plain"].flops == 2 * 2048 * 1536 * 6144
    assert found["heads"].flops == 4 * 2 * 2048 * 1024 * 256
    batched = works(excerpts.BATCHED)
    assert batched["spread"].flops == 4 * 2 * 2048 * 1024 * 256, "a batched product: each head has its own matrix"
    assert batched["joined"].flops == 2 * 2048 * 512 * 4 * 256, "contracted over heads too"


def test_the_attention_kernel_counts_visited_blocks() -> None:
    found = works(excerpts.SPLASH)
    product = 2 * 2 * 8 * 512 * 512 * 256  # of one pair of blocks
    assert found["splash_mha_fwd_residuals.2"].flops == 2 * 10 * product
    assert found["splash_mha_dq_no_residuals.1"].flops == 3 * 10 * product
    assert found["splash_mha_dkv_no_residuals.1"].flops == 4 * 10 * product
    window = works(excerpts.SPLASH.replace("s8[1,4,4]", "s8[1,4,2]"))
    assert window["splash_mha_fwd_residuals.2"].flops == 2 * 7 * product, "a block visits itself and the one before"


RAGGED = """HloModule m

ENTRY %main (rows: f32[64,16], kernels: f32[4,16,32], d: f32[64,32], sizes: s32[4]) -> f32[4,16,32] {
  %rows = f32[64,16]{1,0} parameter(0)
  %kernels = f32[4,16,32]{2,1,0} parameter(1)
  %d = f32[64,32]{1,0} parameter(2)
  %sizes = s32[4]{0} parameter(3)
  %scales = f32[64,1]{1,0} constant({...})
  %forward = f32[64,32]{1,0} ragged-dot(%rows, %kernels, %sizes), lhs_contracting_dims={1}, rhs_contracting_dims={1}, lhs_ragged_dims={0}, rhs_group_dims={0}
  %scaled = f32[64,32]{1,0} scaled-dot(%rows, %kernels, %scales, %scales), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %gemm = (f32[64,32]{1,0}, s8[4096]{0}) custom-call(%rows, %kernels), custom_call_target="__cublas$gemm"
  %kernel.3 = f32[64,32]{1,0} custom-call(%rows), custom_call_target="tpu_custom_call"
  %indices.4 = s32[4]{0} custom-call(%sizes), custom_call_target="AssumeGatherIndicesInBound"
  ROOT %back = f32[4,16,32]{2,1,0} ragged-dot(%rows, %d, %sizes), lhs_contracting_dims={0}, rhs_contracting_dims={0}, lhs_ragged_dims={0}
}
"""  # noqa: E501


def test_a_ragged_row_is_multiplied_once() -> None:
    found = works(RAGGED)
    assert found["forward"].flops == found["back"].flops == found["scaled"].flops == 2 * 64 * 16 * 32


def test_uncounted_kernels_are_named() -> None:
    program = parse(RAGGED)
    worker, entry = Worker(program), program.computations["main"]
    assert [worker.work(entry, entry[name]).flops for name in ("gemm", "kernel.3", "indices.4", "forward")][:3] == [
        0
    ] * 3
    assert worker.uncounted == {"__cublas$gemm", "tpu_custom_call kernel"}


def test_only_products_have_compiler_cycles() -> None:
    program = parse(excerpts.WINDOWED)
    worker, body = Worker(program), program.computations["body"]
    assert worker.work(body, body["product"]) == Work(flops=2 * 8 * 8 * 128, bytes=2 * 8 * 128, cycles=1000)
    text = excerpts.WINDOWED.replace("COST_MODEL_TYPE_CLASSIC", "COST_MODEL_TYPE_INVALID")
    program = parse(text)
    assert Worker(program).work(program.computations["body"], program.computations["body"]["product"]).cycles == 0


MEMORY = """HloModule m

%slicing (stack: f32[10,128,128], at: s32[], x: f32[128,128]) -> f32[128,128] {
  %stack = f32[10,128,128]{2,1,0} parameter(0)
  %at = s32[] parameter(1)
  %x = f32[128,128]{1,0} parameter(2)
  %zero = s32[] constant(0)
  %layer = f32[1,128,128]{2,1,0} dynamic-slice(%stack, %at, %zero, %zero), dynamic_slice_sizes={1,128,128}
  %flat = f32[128,128]{1,0} bitcast(%layer)
  ROOT %sum = f32[128,128]{1,0} add(%flat, %x)
}

%writing (whole: f32[10,128,128], part: f32[1,128,128], at.1: s32[]) -> f32[10,128,128] {
  %whole = f32[10,128,128]{2,1,0} parameter(0)
  %part = f32[1,128,128]{2,1,0} parameter(1)
  %at.1 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  %twice = f32[1,128,128]{2,1,0} add(%part, %part)
  ROOT %updated = f32[10,128,128]{2,1,0} dynamic-update-slice(%whole, %twice, %at.1, %zero.1, %zero.1)
}

ENTRY %main (p0: f32[10,128,128], p1: s32[], p2: f32[128,128]) -> f32[10,128,128] {
  %p0 = f32[10,128,128]{2,1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %p2 = f32[128,128]{1,0} parameter(2)
  %on_chip = f32[128,128]{1,0:S(1)} copy(%p2)
  %plain = f32[128,128]{1,0} add(%p2, %on_chip)
  %sliced = f32[128,128]{1,0} fusion(%p0, %p1, %plain), kind=kLoop, calls=%slicing
  %named = f32[1,128,128]{2,1,0} bitcast(%sliced)
  ROOT %written = f32[10,128,128]{2,1,0} fusion(%p0, %named, %p1), kind=kLoop, calls=%writing
}
"""


def test_only_moved_bytes_are_counted() -> None:
    found, one = works(MEMORY), 4 * 128 * 128
    assert found["p0"].bytes == found["named"].bytes == 0
    assert found["on_chip"].bytes == one, "only the read counts; the result stays on the chip"
    assert found["plain"].bytes == 2 * one
    assert found["sliced"].bytes == 3 * one + 4, "one layer of the stack is read"
    assert found["written"].bytes == 2 * one + 4, "the rest of the stack is not moved"


PREFETCHES = """HloModule m

ENTRY %main (p: f32[1024,128]) -> f32[128,128] {
  %p = f32[1024,128]{1,0} parameter(0)
  %copy = (f32[1024,128]{1,0:S(1)}, f32[1024,128]{1,0}, u32[]{:S(2)}) copy-start(%p)
  %copied = f32[1024,128]{1,0:S(1)} copy-done(%copy)
  %slice = ((f32[1024,128]{1,0}), f32[128,128]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:128], [0:128]}
  %sliced = f32[128,128]{1,0:S(1)} slice-done(%slice)
  %back = (f32[128,128]{1,0}, f32[128,128]{1,0:S(1)}, u32[]{:S(2)}) copy-start(%sliced)
  ROOT %returned = f32[128,128]{1,0} copy-done(%back)
}
"""


def test_copies_between_memories_count_the_main_one() -> None:
    found, one = works(PREFETCHES), 4 * 128 * 128
    assert [found[name].bytes for name in ("copy", "slice", "back")] == [8 * one, one, one]


def test_a_collective_in_a_fusion_moves_no_memory() -> None:
    found = works(excerpts.IN_A_FUSION)
    assert found["fused"] == Work(flops=2 * 512**3, bytes=2 * 2 * 512 * 512, cycles=0)


RENAMED = """HloModule m, is_scheduled=true

%tiles (input: s8[118,512,1024]) -> s8[118,512,1024] {
  %input = s8[118,512,1024]{2,1,0:T(32,128)(4,1)} parameter(0)
  ROOT %same = s8[118,512,1024]{2,1,0:T(8,128)(4,1)} copy(%input)
}

%layer (all: s8[118,512,1024], n: s32[]) -> s8[1,512,1024] {
  %all = s8[118,512,1024]{2,1,0:T(32,128)(4,1)} parameter(0)
  %renamed = s8[118,512,1024]{2,1,0:T(8,128)(4,1)} fusion(%all), kind=kLoop, output_to_operand_aliasing={{}: (0, {})}, calls=%tiles
  %n = s32[]{:T(128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  ROOT %one = s8[1,512,1024]{2,1,0:T(8,128)(4,1)S(1)} dynamic-slice(%renamed, %n, %zero, %zero), dynamic_slice_sizes={1,512,1024}
}

ENTRY %main (all: s8[118,512,1024], n: s32[]) -> s8[1,512,1024] {
  %all = s8[118,512,1024]{2,1,0:T(32,128)(4,1)} parameter(0)
  %n = s32[]{:T(128)S(1)} parameter(1)
  ROOT %weights = s8[1,512,1024]{2,1,0:T(8,128)(4,1)S(1)} fusion(%all, %n), kind=kLoop, calls=%layer
}
"""  # noqa: E501


def test_a_layer_is_read_through_new_names_of_tiles() -> None:
    """A program for int8 weights reads one layer of all, whose tiles it calls otherwise than its arguments do."""
    assert works(RENAMED)["weights"].bytes == 512 * 1024 + 4, "and its number"
