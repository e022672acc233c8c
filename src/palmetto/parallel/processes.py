"""Coordinates the processes of one JAX cluster: they join it, wait for each other and agree on decisions.

Every process runs the same program on the same values and so makes the same decisions. Only the primary writes files.
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
"""The time in seconds that a cluster's processes wait for each other at the start."""

_NOTICE_AFTER = 10
"""The time in seconds after which a waiting process says so."""


def join(cluster: Cluster) -> None:
    """Makes this process join a cluster; JAX must not have been used before.

    Raises UserError if there is no cluster. If the other processes do not join in time, this process prints a message
    and exits with code 2; JAX itself would abort it with a C++ stack trace.
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
    """Returns whether the cluster's address is a loopback address, so that all its processes are on this machine."""
    host = (cluster.coordinator or "").rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _collect_on_loopback() -> None:
    """Makes CPU collectives connect at 127.0.0.1; by default gloo uses the address that the host name resolves to."""
    from jax._src import distributed, xla_bridge
    from jaxlib import _jax

    def make_client() -> Any:
        gloo = _jax.make_gloo_tcp_collectives(distributed_client=distributed.global_state.client, hostname="127.0.0.1")
        return xla_bridge.make_cpu_client(gloo)

    xla_bridge.register_backend_factory("cpu", make_client, priority=0, fail_quietly=False)


@contextlib.contextmanager
def _patiently(cluster: Cluster) -> Iterator[None]:
    """Prints a message if joining takes a while, and exits the process with code 2 after PATIENCE seconds."""
    joined = threading.Event()
    where = f" at {cluster.coordinator}" if cluster.coordinator else ""
    who = "" if cluster.processes is None else f" (this is process {cluster.rank} of {cluster.processes})"

    def watch() -> None:
        if not joined.wait(_NOTICE_AFTER):
            print(f"waiting for the cluster's other processes{where}{who}", file=sys.stderr, flush=True)
        if not joined.wait(PATIENCE - _NOTICE_AFTER):
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
    """Waits until every process has reached the barrier of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def check_alike(facts: str) -> None:
    """Raises UserError unless `facts`, on which bits depend, are the same in all processes; all must call it."""
    longest = 1024
    mine = np.frombuffer(facts.encode()[:longest].ljust(longest), np.uint8).copy()
    everywhere = [bytes(line).decode(errors="replace").strip() for line in multihost_utils.process_allgather(mine)]
    for number, other in enumerate(everywhere):
        if other != everywhere[0]:
            raise UserError(
                f"process {number} computes with {other}, process 0 with {everywhere[0]}: expected the same, since "
                "bits depend on it (docs/reproducibility.md)"
            )


def any_of(flag: bool, state: Any) -> bool:
    """Returns whether the flag is set in any process; the result is the same in all.

    It first waits for the arrays of `state`, because programs that run at the same time receive each other's messages.
    """
    if jax.process_count() == 1:
        return flag
    jax.block_until_ready(state)
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def on_host(array: jax.Array | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a whole array as a NumPy array, even if this process holds only a part; all processes must call it."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
