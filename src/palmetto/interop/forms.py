"""The forms that other programs give a weight: how logical matrices become a tensor, and how it becomes them again.

A form moves numbers and, except for `scaled`, computes nothing, so that both ways are exact.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.errors import UserError

Array = npt.NDArray[Any]


class Form(NamedTuple):
    """Holds both ways between logical matrices and the tensor of another program."""

    there: Callable[[Sequence[Array]], Array]
    back: Callable[[Array], list[Array]]
    exact: bool = True
    """True if the way back gives the matrices to the bit."""

    def then(self, other: "Form") -> "Form":
        """Returns this form followed by another one of the tensor."""
        return Form(
            lambda parts: other.there([self.there(parts)]),
            lambda tensor: self.back(other.back(tensor)[0]),
            self.exact and other.exact,
        )

    def shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the tensor's shape for matrices of these shapes."""
        return self.there([np.broadcast_to(np.float32(0), shape) for shape in shapes]).shape


def _one(there: Callable[[Array], Array], back: Callable[[Array], Array], exact: bool = True) -> Form:
    return Form(lambda parts: there(parts[0]), lambda tensor: [back(tensor)], exact)


AS_IS = _one(lambda x: x, lambda x: x)
TRANSPOSED = _one(lambda x: x.T, lambda x: x.T)
"""A kernel [n_in, n_out] as [n_out, n_in]; a vector stays as it is."""


def halves(head_size: int) -> Form:
    """Returns the form whose last axis holds each head's pairs in two halves: x0 x1 … y0 y1 … for x0 y0 x1 y1 …."""

    def swapped(x: Array, *pairs: int) -> Array:
        return x.reshape(*x.shape[:-1], -1, *pairs).swapaxes(-1, -2).reshape(x.shape)

    return _one(lambda x: swapped(x, head_size // 2, 2), lambda x: swapped(x, 2, head_size // 2))


def scaled(factor: float) -> Form:
    """Returns the form multiplied by a number; both ways are exact if it is a power of two."""
    number = np.float32(factor)
    return _one(lambda x: x * number, lambda x: x / number, math.frexp(factor)[0] == 0.5)


def repeated(times: int) -> Form:
    """Returns the form with a new first axis of equal copies; the way back refuses copies that differ."""

    def back(x: Array) -> Array:
        if (x != x[:1]).any():
            raise UserError("the scale differs between heads; expected the same for all, as recipes have it")
        return x[0]

    return _one(lambda x: np.broadcast_to(x, (times, *x.shape)), back)


def joined(*sizes: int) -> Form:
    """Returns matrices side by side along their last axes, which have these sizes."""
    ends = np.cumsum(sizes)[:-1]
    return Form(lambda parts: np.concatenate(parts, axis=-1), lambda x: np.split(x, ends, axis=-1))


def by_head(head_size: int, *forms: Form) -> Form:
    """Returns matrices, each in a form, whose last axes [heads · head size] are joined head by head: q0 k0 v0 q1 …."""

    def there(matrices: Sequence[Array]) -> Array:
        parts = [form.there([x]) for form, x in zip(forms, matrices, strict=True)]
        heads = [x.reshape(*x.shape[:-1], -1, 1, head_size) for x in parts]
        return np.concatenate(heads, axis=-2).reshape(*matrices[0].shape[:-1], -1)

    def back(x: Array) -> list[Array]:
        apart = x.reshape(*x.shape[:-1], -1, len(forms), head_size)
        parts = (apart[..., part, :].reshape(*x.shape[:-1], -1) for part in range(len(forms)))
        return [form.back(part)[0] for form, part in zip(forms, parts, strict=True)]

    return Form(there, back, all(form.exact for form in forms))


def stacked(form: Form) -> Form:
    """Returns matrices, each in a form, along a new first axis."""
    return Form(
        lambda parts: np.stack([form.there([part]) for part in parts]),
        lambda x: [form.back(part)[0] for part in x],
        form.exact,
    )
