"""Counts the FLOPs of the TPU's attention kernel (splash attention, Pallas), which does not state its cost.

The kernel is recognized by its name. Its FLOPs follow from the shapes of its operands: the table of the blocks of keys
that each block of queries visits, and the queries [..., H, T, Q]. Every visited block is computed completely.
"""

import math

from palmetto.planning.program.hlo import Computation, Instruction, Program

_PRODUCTS = {
    "splash_mha_fwd": 2,  # scores; weights times values
    "splash_mha_dq": 3,  # scores again; d·vᵀ; the gradient of q
    "splash_mha_dkv": 4,  # scores again; v·dᵀ; the gradients of k and v
}
"""The matrix products for each pair of blocks, by the prefix of the kernel's name."""


def flops(computation: Computation, call: Instruction) -> int:
    """Returns the FLOPs of a custom call, or 0 if it is another kernel.

    In causal attention, block i of the queries visits blocks 0 to i of the keys; in local attention it visits the last
    few of them, as many as the table is wide.
    """
    products = _products(call)
    operands = [computation[name].shape[0] for name in call.operands]
    queries = next((array.dimensions for array in operands if array.type in ("bf16", "f32")), ())
    if not products or len(queries) < 3 or len(operands[0].dimensions) < 2:
        return 0
    *heads, length, size = queries
    width, blocks = sorted(operands[0].dimensions[-2:])
    visited = sum(min(block + 1, width) for block in range(blocks))
    return products * 2 * math.prod(heads) * visited * (length // blocks) ** 2 * size


def is_in(program: Program) -> bool:
    """Returns whether a program contains the kernel."""
    return any(_products(call) for computation in program.computations.values() for call in computation)


def _products(call: Instruction) -> int:
    if call.opcode != "custom-call":
        return 0
    return next((count for name, count in _PRODUCTS.items() if call.name.startswith(name)), 0)
