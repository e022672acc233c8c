"""Several processes that make one JAX cluster: joining it, what they do together, and what one does for all.

Each runs the same program on the same values and so comes to the same decisions; the primary alone writes files.
"""

import os
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.experimental import multihost_utils

from palmetto.cluster import Cluster
from palmetto.errors import UserError


def join(cluster: Cluster) -> None:
    """Makes this process one of a cluster. JAX must not have been used yet; UserError where the others can't be had."""
    if "proxy" in os.environ.get("JAX_PLATFORMS", ""):  # Pathways: one process drives all devices
        import pathwaysutils

        pathwaysutils.initialize()
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(*cluster)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--distributed: no cluster of processes here ({reason}); on one machine --processes N would "
                        "do, elsewhere --coordinator, --process-count and --process-index") from None  # fmt: skip


def is_primary() -> bool:
    """Whether this process writes the run's files."""
    return jax.process_index() == 0


def meet(where: str) -> None:
    """Returns once every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def any_of(flag: bool, state: Any) -> bool:
    """Whether the flag is up in any process, the same answer in all; asked once the arrays of `state` are there, since
    programs that run at the same time take each other's messages."""
    if jax.process_count() == 1:
        return flag
    jax.block_until_ready(state)
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def on_host(array: jax.Array | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A whole array as NumPy's, also one of which this process holds a part; all processes must ask for it."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
