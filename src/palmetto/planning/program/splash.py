"""What the attention kernel of TPUs computes (splash attention, Pallas), which states nothing of its cost.

It is known by its name, and its FLOPs by the shapes of its operands: first the table of the blocks of keys that each
block of queries visits, then queries [..., H, T, Q]. A block that it visits it computes whole.
"""

import math

from palmetto.planning.program.hlo import Computation, Instruction, Program

_PRODUCTS = {
    "splash_mha_fwd": 2,  # scores, and weights with values
    "splash_mha_dq": 3,  # scores again, d·vᵀ, and what reaches q
    "splash_mha_dkv": 4,  # scores again, v·dᵀ, and what reaches k and v
}
"""Matrix products of each pair of blocks, by how the kernel's name begins."""


def flops(computation: Computation, call: Instruction) -> int:
    """Of a custom call; 0 if it is another kernel.

    Causal attention visits, of block i of the queries, blocks 0 to i of the keys, and a local window the last few of
    them; the table is that many wide.
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
    """Whether a program has the kernel anywhere."""
    return any(_products(call) for computation in program.computations.values() for call in computation)


def _products(call: Instruction) -> int:
    if call.opcode != "custom-call":
        return 0
    return next((count for name, count in _PRODUCTS.items() if call.name.startswith(name)), 0)
