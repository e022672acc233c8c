"""How tests of numbers are compiled."""

from importlib.metadata import version

QUICKLY: dict[str, bool | int | str | float] = {"xla_backend_optimization_level": 0}
if version("jaxlib").startswith("0.10."):  # later ones have no other way
    QUICKLY["xla_cpu_use_fusion_emitters"] = False
"""Compiler options: a program in half the time, or less. It changes no more than rounding, so that it is for tests of
numbers, and of bits of one program, not across programs: these differ in more than they do as shipped."""

FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICKLY.items())
"""The same for processes, as XLA_FLAGS."""
