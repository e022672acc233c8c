"""Platform-specific settings: the block shapes with which a CPU, a GPU or a TPU computes a model fastest."""

from typing import NamedTuple

from palmetto.native.library import kernels
from palmetto.recipe.mesh import ONE_DEVICE, Mesh


class Tuning(NamedTuple):
    """Holds the settings of a platform; they apply to every model."""

    platform: str
    """A JAX platform name: cpu, gpu or tpu."""
    unroll: bool
    """True if layers and experts are unrolled in Python; otherwise layers are one scan and experts one batched product,
    which XLA runs slower on a CPU."""
    query_rows: int
    """The number of query rows that causal attention multiplies at a time with the keys up to their last position."""
    kept_length: int
    """The longest sequence for which causal attention keeps its weights for the backward pass, which is faster; longer
    ones recompute them in blocks, so that memory grows linearly with the length."""
    block_rows: int
    """The number of queries and of keys in a block of blocked attention."""
    logit_rows: int
    """The number of positions whose logits the loss holds at a time."""
    native: bool = False
    """True if the kernels of `native` are used where there are such; XLA computes the rest."""


CPU = Tuning("cpu", unroll=True, query_rows=64, kept_length=1024, block_rows=256, logit_rows=1024)
ACCELERATOR = Tuning("gpu", unroll=False, query_rows=1024, kept_length=1024, block_rows=512, logit_rows=2048)


def for_platform(platform: str, mesh: Mesh = ONE_DEVICE) -> Tuning:
    """Returns the tuning for a JAX platform name.

    Along the axis model of a mesh XLA divides the products, which it can do with its own alone.
    """
    if platform == "cpu":
        return CPU._replace(native=kernels().instruction_set is not None and mesh.model == 1)
    return ACCELERATOR._replace(platform=platform)
