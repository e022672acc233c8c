"""The updates of optimizers on a CPU, each in one pass by a kernel of this package that rounds products before sums."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Moved = tuple[jax.Array, jax.Array, jax.Array]
"""A parameter and its moments m and v after an update, float32 [..., n]."""

Scalar = jax.Array | float


def adafactor(
    gradient: jax.Array,
    parameter: jax.Array,
    m: jax.Array,
    v: jax.Array,
    *,
    scales: jax.Array,
    share: Scalar,
    momentum: float,
    decay: Scalar,
    finite: jax.Array,
) -> Moved:
    """Returns what Adafactor with momentum and without factorization makes of a parameter: θ, m and v.

    v ← (1 − share)·v + share·(g² + 1e-30), m ← momentum·m + (1 − momentum)·scale·g/√v, θ ← θ − (decay·θ + m). `scales`
    has the scale of each logical matrix, along the parameter's leading axes. All stay as they are unless `finite`.
    """
    return _update("adafactor", (gradient, parameter, m, v), scales, [share, momentum, 1 - momentum, decay], finite)


def adamw(
    gradient: jax.Array,
    parameter: jax.Array,
    m: jax.Array,
    v: jax.Array,
    *,
    b1: float,
    b2: float,
    grown: tuple[Scalar, Scalar],
    epsilon: float,
    learning_rate: Scalar,
    weight_decay: float,
    finite: jax.Array,
) -> Moved:
    """Returns what AdamW makes of a parameter: θ, m and v.

    m ← b1·m + (1 − b1)·g, v ← b2·v + (1 − b2)·g², and with c1 and c2 the two of `grown`,
    θ ← θ − learning_rate·((m/c1) / (√(v/c2) + epsilon) + weight_decay·θ). All stay as they are unless `finite`.
    """
    settings = [b1, 1 - b1, b2, 1 - b2, *grown, epsilon, learning_rate]
    return _update("adamw", (gradient, parameter, m, v), jnp.full(1, weight_decay, jnp.float32), settings, finite)


def _update(
    name: str, arrays: Sequence[jax.Array], scales: jax.Array, settings: Sequence[Scalar], finite: jax.Array
) -> Moved:
    """Calls a kernel, which may write its results where the parameter and its moments lie."""
    results = [jax.ShapeDtypeStruct(array.shape, jnp.float32) for array in arrays[1:]]
    call = jax.ffi.ffi_call(f"palmetto_{name}", results, input_output_aliases={1: 0, 2: 1, 3: 2})
    values = jnp.stack([jnp.asarray(value, jnp.float32) for value in settings])
    parameter, m, v = call(*arrays, scales.reshape(-1), values, finite)
    return parameter, m, v
