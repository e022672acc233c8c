"""A process's place among those that train together."""

from typing import NamedTuple


class Cluster(NamedTuple):
    """How a process finds the others. Without an address JAX finds it out (Slurm, Open MPI, Kubernetes, TPU pods)."""

    coordinator: str | None = None
    """HOST:PORT of the primary."""
    processes: int | None = None
    rank: int | None = None
    """Which of them this is; the primary is 0."""
