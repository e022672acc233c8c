"""What a model's computation is tuned to: the shapes in which a CPU, a GPU or a TPU computes it quickly."""

from typing import NamedTuple


class Tuning(NamedTuple):
    """The choices; each holds for every model."""

    platform: str
    """A JAX platform name: cpu, gpu or tpu."""
    unroll: bool
    """Layers and experts as Python loops, each compiled by itself, or layers under one scan and experts in one batched
    product, which XLA runs slower on a CPU."""
    query_rows: int
    """Causal attention takes this many query rows at a time against the keys up to them, never the masked rest."""
    kept_length: int
    """Up to this sequence length causal attention keeps its weights for the backward pass, which is quicker; beyond,
    it forms them again in blocks, and its memory grows with the length, not its square."""
    block_rows: int
    """Queries and keys in a block of blocked attention."""
    logit_rows: int
    """The loss holds the logits of this many positions at a time."""


CPU = Tuning("cpu", unroll=True, query_rows=64, kept_length=1024, block_rows=256, logit_rows=1024)
ACCELERATOR = Tuning("gpu", unroll=False, query_rows=1024, kept_length=1024, block_rows=512, logit_rows=2048)


def for_platform(platform: str) -> Tuning:
    """Returns the tuning for a JAX platform name."""
    return CPU if platform == "cpu" else ACCELERATOR._replace(platform=platform)
