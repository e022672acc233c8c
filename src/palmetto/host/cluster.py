"""The position of a process in a cluster."""

from typing import NamedTuple


class Cluster(NamedTuple):
    """The place of a process in a cluster. JAX detects missing values (Slurm, Open MPI, Kubernetes, TPU pods)."""

    coordinator: str | None = None
    """HOST:PORT of the primary process."""
    processes: int | None = None
    """Number of processes in the cluster."""
    rank: int | None = None
    """Index of this process; the primary is 0."""
