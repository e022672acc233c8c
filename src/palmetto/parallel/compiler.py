"""What a platform's compiler is told of a step beside the program itself."""

_TPU = {
    "xla_enable_async_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
}
"""To gather weights while it computes; the rest is its default."""


def compiler_options(platform: str) -> dict[str, str] | None:
    """As `jax.jit` takes them, for a JAX platform name; None where the compiler's own will do."""
    return _TPU if platform == "tpu" else None
