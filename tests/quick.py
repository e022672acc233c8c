"""What makes XLA compile quicker; numbers differ by roundings."""

QUICK = "--xla_backend_optimization_level=1"
