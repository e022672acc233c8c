"""The trips of loops follow from the text of the program."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from palmetto.planning.program.hlo import Computation, Instruction, Program, parse
from palmetto.planning.program.integers import Called, Frame, Unknown, trips
from palmetto.planning.program.loops import Loops
from tests.references import excerpts


def compiled(function: Callable[..., Any], *arguments: Any) -> Program:
    """Returns the program of a function, without the compiler's notes on its loops."""
    text = str(jax.jit(function).lower(*arguments).compile().as_text())
    return parse(re.sub(r"backend_config=\{[^\n]*", "", text))


def loop_of(program: Program, name: str, given: Frame) -> tuple[Computation, Instruction, Frame]:
    """Returns the loop of a computation, or of one that it calls, with its caller and the known parameters."""
    computation = program.computations[name]
    for instruction in computation:
        if instruction.opcode == "while":
            return computation, instruction, given
        if instruction.opcode == "call":
            called = program.called(instruction, "to_apply")
            return loop_of(program, called.name, Called(program, computation, instruction, given))
    raise AssertionError("no loop")


def kinds_of(program: Program, loop: tuple[Computation, Instruction, Frame]) -> list[int]:
    return [times for _, times in Loops(program).trips(*loop)]


@pytest.mark.parametrize(("first", "last"), [(0, 7), (3, 7), (-2, 7)])
def test_a_counted_loop_has_its_trips(first: int, last: int) -> None:
    program = compiled(lambda x: jax.lax.fori_loop(first, last, lambda i, x: jnp.sin(x) + i, x), jnp.ones(3))
    loop = loop_of(program, program.entry, Frame())
    assert sum(kinds_of(program, loop)) == last - first


def test_a_loop_may_count_in_twos() -> None:
    program = parse(excerpts.WINDOWED)
    loop = loop_of(program, "main", Frame())
    assert kinds_of(program, loop) == [3]
    assert [frame(0, 0).item() for frame in trips(program, *loop)] == [0, 2, 4, 6]


def test_bounds_from_a_table_differ_between_trips() -> None:
    """As in blocked attention, block i of the queries visits the first i + 1 blocks of keys."""
    table = jnp.array([0, 1, 3, 6, 10])

    def outer(x: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        return jax.lax.fori_loop(table[i], table[i + 1], lambda j, x: jnp.cos(x) * j, x), None

    program = compiled(lambda x: jax.lax.scan(outer, x, jnp.arange(4))[0], jnp.ones(3))
    loop = loop_of(program, program.entry, Frame())
    kinds = Loops(program).trips(*loop)
    assert [times for _, times in kinds] == [1, 1, 1, 1]
    body = program.called(loop[1], "body")
    assert [kinds_of(program, loop_of(program, body.name, frame)) for frame, _ in kinds] == [[1], [2], [3], [4]]


def test_equal_trips_are_one_kind() -> None:
    def outer(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.lax.fori_loop(0, 5, lambda j, x: jnp.cos(x) * j, x), None

    program = compiled(lambda x: jax.lax.scan(outer, x, None, length=12)[0], jnp.ones(3))
    assert kinds_of(program, loop_of(program, program.entry, Frame())) == [12]


def test_a_loop_over_data_is_unknown() -> None:
    program = compiled(lambda x: jax.lax.while_loop(lambda x: jnp.sum(x) < 10, lambda x: x * 2, x), jnp.ones(3))
    loop = loop_of(program, program.entry, Frame())
    with pytest.raises(Unknown):
        kinds_of(program, loop)


def test_a_counter_may_pass_a_barrier() -> None:
    tuple_ = next(line for line in excerpts.WINDOWED.splitlines() if "%tuple = " in line)
    barrier = tuple_.replace("%tuple = ", "%barrier = ").replace(" tuple(%copied, %p)", " opt-barrier(%tuple)")
    text = excerpts.WINDOWED.replace(tuple_, f"{tuple_}\n{barrier}").replace("while(%tuple)", "while(%barrier)")
    program = parse(text)
    assert kinds_of(program, loop_of(program, "main", Frame())) == [3]


def test_the_compilers_trip_count_is_used_otherwise() -> None:
    text = excerpts.WINDOWED.replace("copy(%zero)", "custom-call()").replace(
        "body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"9"}}'
    )
    program = parse(text)
    assert kinds_of(program, loop_of(program, "main", Frame())) == [9]
