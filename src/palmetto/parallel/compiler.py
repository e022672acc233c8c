"""What a platform's compiler is told beside the program itself."""

_TPU = {
    "xla_enable_async_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
}
"""To gather weights while it computes; the rest is its default."""


_ONCE_ON_CPU = {"xla_backend_optimization_level": "1"}
"""To compile in half the time. Fused multiply-adds are the same at this level; at 0 they are not."""


def compiler_options(platform: str) -> dict[str, str] | None:
    """Of a step, as `jax.jit` takes them, for a JAX platform name; None where the compiler's own will do."""
    return _TPU if platform == "tpu" else None


def options_for_once(platform: str) -> dict[str, str] | None:
    """Of a program that runs once, so that compiling it takes longer than running it."""
    return _ONCE_ON_CPU if platform == "cpu" else None
