"""Several processes that make one JAX cluster: how they join it, wait for each other and agree.

Each runs the same program on the same values and so comes to the same decisions. The primary alone writes files.
"""

import contextlib
import ipaddress
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.experimental import multihost_utils

from palmetto.errors import UserError
from palmetto.host.cluster import Cluster

PATIENCE = 300
"""Seconds that a cluster's processes wait for each other at the start."""

_A_WHILE = 10


def join(cluster: Cluster) -> None:
    """Makes this process one of a cluster. JAX must not have been used yet.

    Raises UserError where there is no cluster. If the others do not come, the process ends with a line and exit code 2:
    JAX itself would end it with a trace of C++.
    """
    if "proxy" in os.environ.get("JAX_PLATFORMS", ""):  # Pathways: one process drives all devices
        try:
            import pathwaysutils
        except ModuleNotFoundError:
            raise UserError("JAX_PLATFORMS=proxy: needs pathwaysutils, which is not installed") from None
        pathwaysutils.initialize()
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    on_loopback = is_loopback(cluster)
    if on_loopback:
        _collect_on_loopback()
    try:
        with _patiently(cluster):
            jax.distributed.initialize(
                *cluster,
                initialization_timeout=2 * PATIENCE,
                coordinator_bind_address=cluster.coordinator if on_loopback else None,
            )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"--distributed: no cluster of processes here ({reason}); on one machine --processes N would do, elsewhere "
            "--coordinator, --process-count and --process-index"
        ) from None


def is_loopback(cluster: Cluster) -> bool:
    """Returns whether the cluster is on this machine alone, and its address of no other."""
    host = (cluster.coordinator or "").rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _collect_on_loopback() -> None:
    """Makes CPUs connect at 127.0.0.1: by itself gloo takes whatever address this machine's name leads to."""
    from jax._src import distributed, xla_bridge
    from jaxlib import _jax

    def make_client() -> Any:
        gloo = _jax.make_gloo_tcp_collectives(distributed_client=distributed.global_state.client, hostname="127.0.0.1")
        return xla_bridge.make_cpu_client(gloo)

    xla_bridge.register_backend_factory("cpu", make_client, priority=0, fail_quietly=False)


@contextlib.contextmanager
def _patiently(cluster: Cluster) -> Iterator[None]:
    """Says what is waited for if it takes a while, and ends the process if it takes too long."""
    joined = threading.Event()
    where = f" at {cluster.coordinator}" if cluster.coordinator else ""
    who = "" if cluster.processes is None else f" (this is process {cluster.rank} of {cluster.processes})"

    def watch() -> None:
        if not joined.wait(_A_WHILE):
            print(f"waiting for the cluster's other processes{where}{who}", file=sys.stderr, flush=True)
        if not joined.wait(PATIENCE - _A_WHILE):
            late = f"the cluster{where} did not come together within {PATIENCE:g} s{who}"
            print(f"palmetto: {late}: others are absent or out of reach", file=sys.stderr, flush=True)
            os._exit(2)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        joined.set()


def is_primary() -> bool:
    """Returns whether this process writes the run's files."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Returns once every process has reached the barrier of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def any_of(flag: bool, state: Any) -> bool:
    """Returns whether the flag is up in any process; the answer is the same in all.

    It waits for the arrays of `state` first, since programs that run at the same time take each other's messages.
    """
    if jax.process_count() == 1:
        return flag
    jax.block_until_ready(state)
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def on_host(array: jax.Array | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a whole array as NumPy's, also one of which this process holds a part; all processes must ask for it."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
