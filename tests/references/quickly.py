"""Defines the compiler options of numerical tests."""

from importlib.metadata import version

QUICKLY: dict[str, bool | int | str | float] = {"xla_backend_optimization_level": 0}
if version("jaxlib").startswith("0.10."):  # later versions have only the fusion emitters
    QUICKLY["xla_cpu_use_fusion_emitters"] = False
"""Compiler options that halve the compile time or more. They change only rounding, so they suit tests of numbers and of
the bits of one program, but not comparisons of bits between programs, which differ more than with default options."""
