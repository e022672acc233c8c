"""Counts the FLOPs of matrix products and convolutions; a multiply–add is two."""

import math
import re
from typing import NamedTuple

from palmetto.planning.program.hlo import Array, Computation, Instruction, Unreadable


def dot_flops(computation: Computation, dot: Instruction) -> int:
    """Returns the FLOPs of a matrix product."""
    left = _operand(computation, dot, 0)
    contracted = math.prod(left.dimensions[d] for d in dot.integers("lhs_contracting_dims"))
    return 2 * dot.shape[0].elements * contracted


def ragged_dot_flops(computation: Computation, dot: Instruction) -> int:
    """Returns the FLOPs of a ragged product, whose rows are in groups, each with its own matrix. Each row is multiplied
    with one matrix, whatever the sizes of the groups."""
    flops = dot_flops(computation, dot)
    (ragged,) = dot.integers("lhs_ragged_dims")
    if ragged in dot.integers("lhs_contracting_dims"):  # the rows of each group form a matrix of their own
        return flops // _operand(computation, dot, 2).dimensions[-1]
    return flops


def convolution_flops(computation: Computation, convolution: Instruction) -> int:
    """Returns 2 · batch · input features · output features · (pairs of output and kernel places that meet the input).

    The TPU compiler writes every matrix product as a convolution, and batched ones with padding, which costs nothing.
    """
    left, kernel = (_operand(computation, convolution, number) for number in (0, 1))
    out = convolution.shape[0]
    labels = re.fullmatch(r"(\w+)_(\w+)->(\w+)", convolution.attribute("dim_labels") or "")
    if not labels:
        raise Unreadable(f"{convolution.name} has no dim_labels")
    of_left, of_kernel, of_out = labels.groups()
    window = _window(convolution.attribute("window") or "{}", of_out)
    meetings = 1
    for d, place in window.items():
        sizes = left.dimensions[of_left.index(d)], kernel.dimensions[of_kernel.index(d)]
        meetings *= _meetings(*sizes, out.dimensions[of_out.index(d)], place)
    # The kernel's input features are already divided by the feature groups; the batch groups divide the batch.
    groups = int(convolution.attribute("batch_group_count") or 1)
    batch, features = out.dimensions[of_out.index("b")], out.dimensions[of_out.index("f")]
    return 2 * batch * features * kernel.dimensions[of_kernel.index("i")] * meetings // groups


class _Place(NamedTuple):
    """The window of a convolution along one spatial dimension."""

    stride: int = 1
    before: int = 0
    left_dilation: int = 1
    kernel_dilation: int = 1


def _window(text: str, labels: str) -> dict[str, _Place]:
    """Reads a window such as `{size=2x3 stride=1x2 pad=0_0x1_1 …}`; returns it by spatial label."""
    fields = dict(re.findall(r"(\w+)=([\d_x\-]+)", text))
    spatial = sorted(label for label in labels if label.isdigit())

    def values(name: str) -> list[int] | None:
        return [int(part.split("_")[0]) for part in fields[name].split("x")] if name in fields else None

    columns = [values(name) for name in ("stride", "pad", "lhs_dilate", "rhs_dilate")]
    default = _Place()
    return {
        label: _Place(*(column[n] if column else default[i] for i, column in enumerate(columns)))
        for n, label in enumerate(spatial)
    }


def _meetings(left: int, kernel: int, out: int, place: _Place) -> int:
    """Returns the pairs of output and kernel places that meet an input, and not padding or a gap of a dilation."""
    count = 0
    reach = (left - 1) * place.left_dilation
    for k in range(kernel):
        offset = k * place.kernel_dilation - place.before
        if place.left_dilation == 1:
            first = max(0, -(offset // place.stride))
            last = min(out - 1, (reach - offset) // place.stride)
            count += max(0, last - first + 1)
        else:
            places = (o * place.stride + offset for o in range(out))
            count += sum(0 <= at <= reach and at % place.left_dilation == 0 for at in places)
    return count


def _operand(computation: Computation, instruction: Instruction, number: int) -> Array:
    return computation[instruction.operands[number]].shape[0]
