"""Floating-point operations: what a token costs by PaLM's formula, and what a machine could do."""

import time

import jax
import jax.numpy as jnp

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
    """Returns 6N + 12·L·H·Q·T (PaLM, appendix B): the forward and backward pass, rematerialization not counted.

    Of a model with experts N are the active parameters, the ones that a token passes through.
    """
    model = recipe.model
    attention = 12 * model.layers * model.heads * model.query_size * recipe.model_length
    return 6.0 * active(model, recipe.model_vocabulary) + attention


def device_peak() -> float:
    """FLOP/s of one device: the chip's published figure, or one measured here."""
    kind = jax.devices()[0].device_kind
    for name, peak in _PUBLISHED_PEAKS:
        if kind.startswith(name):
            return peak
    return measured_peak()


def mesh_peak(recipe: Recipe, device: float) -> float:
    """FLOP/s of all devices of the recipe's mesh, `device` being those of one.

    A CPU's devices are virtual: however many, they are one processor, and one alone was measured with all its threads.
    """
    return device if jax.devices()[0].platform == "cpu" else device * recipe.mesh.devices


def measured_peak(size: int = 1024, repeats: int = 8) -> float:
    """Returns the best rate of a float32 matrix product of `size`³ multiply–adds on the default device, in FLOP/s."""
    a = jnp.ones((size, size), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    multiply(a, a).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        multiply(a, a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
