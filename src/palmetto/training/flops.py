"""Floating-point operations per token by PaLM's formula, and the peak FLOP/s of devices."""

import time

import jax
import jax.numpy as jnp

from palmetto.model import tuning
from palmetto.model.products import project
from palmetto.model.weights import active
from palmetto.recipe import Recipe

# Published dense peaks in FLOP/s at bfloat16, by the start of JAX's device kind.
_PUBLISHED_PEAKS = (
    ("NVIDIA H200", 989e12),
    ("NVIDIA H100", 989e12),
    ("NVIDIA A100", 312e12),
    ("TPU v4", 275e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5", 459e12),  # v5p, whose device kind has no p
    ("TPU v6 lite", 918e12),
)


def flops_per_token(recipe: Recipe) -> float:
    """Returns 6N + 12·L·H·Q·T (PaLM, appendix B), for the forward and backward pass without rematerialization.

    In a model with experts N counts the active parameters, those that a token passes through.
    """
    model = recipe.model
    attention = 12 * model.layers * model.heads * model.query_size * recipe.model_length
    return 6.0 * active(model, recipe.model_vocabulary) + attention


def device_peak(recipe: Recipe) -> float:
    """Returns the peak FLOP/s of one device: as published, or else what the products of training reach."""
    kind = jax.devices()[0].device_kind
    for name, peak in _PUBLISHED_PEAKS:
        if kind.startswith(name):
            return peak
    native = tuning.for_platform(jax.default_backend(), recipe.mesh).native
    return measured_peak(recipe.model.activations, native)


def mesh_peak(recipe: Recipe, device: float) -> float:
    """Returns the peak FLOP/s of all devices of the recipe's mesh, given that of one as `device`.

    The devices of a CPU are virtual: together they are one processor, which was measured with all its threads.
    """
    return device if jax.devices()[0].platform == "cpu" else device * recipe.mesh.devices


def measured_peak(dtype: str, native: bool, size: int = 1024, repeats: int = 8) -> float:
    """Returns the best rate in FLOP/s of a projection of `size`³ multiply–adds, as training computes it.

    dtype: the type of activations. native: whether the kernels of `native` compute it.
    """
    x, kernel = jnp.ones((size, size), dtype), jnp.ones((size, size), jnp.float32)
    multiply = jax.jit(lambda x, kernel: project(x, (kernel,), native))
    jax.block_until_ready(multiply(x, kernel))
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(multiply(x, kernel))
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
