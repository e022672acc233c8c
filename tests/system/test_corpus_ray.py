"""A corpus built on a Ray cluster of two nodes equals the one built by processes of one machine, whatever fails.

The nodes are processes that the tests start on loopback addresses; they share this machine's file system.
"""

import functools
import hashlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from palmetto.corpus import build
from palmetto.corpus.engine import Engine, LocalEngine
from palmetto.corpus.ray_engine import RayEngine
from palmetto.corpus.stage import NOTES, View, run
from palmetto.errors import RunStopped, UserError
from palmetto.recipe.corpus import Build
from palmetto.tokens.counting import Counter
from tests.references.views import make_view

# Ray reads its environment when it is imported, so it is imported after the environment is set.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `ray`"),
]
pytest.importorskip("rensa", reason="needs the extra `corpus`")

HEAD, SECOND = "127.0.0.2", "127.0.0.3"
START_SECONDS = 60


def descendants(process: int) -> list[int]:
    """Returns a process and all of its descendants."""
    children = Path(f"/proc/{process}/task/{process}/children")
    below = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [process, *(each for child in below for each in descendants(child))]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills all processes of a node at once, like a power cut."""
    for each in descendants(process.pid):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


@dataclass
class Cluster:
    """A cluster of nodes. Each node is a process that has started all others of the node."""

    address: str
    folder: str
    environment: dict[str, str]
    nodes: dict[str, subprocess.Popen[bytes]]

    def start(self, node: str) -> None:
        """Starts a node with one core and waits until it is up; skips the test if it does not come up."""
        place = [
            "--head",
            f"--port={self.address.split(':')[1]}",
            "--include-dashboard=false",
            f"--temp-dir={self.folder}",
        ]
        log = Path(self.folder) / f"{node}.log"
        with log.open("wb") as file:
            self.nodes[node] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "ray.scripts.scripts",
                    "start",
                    "--block",
                    f"--node-ip-address={node}",
                    "--num-cpus=1",
                    f"--object-store-memory={80 << 20}",
                    "--include-log-monitor=false",
                    "--dashboard-agent-listen-port=0",
                    *(place if node == HEAD else [f"--address={self.address}"]),
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
            )
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text():
            if self.nodes[node].poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"Ray does not start here: {log.read_text()[-300:]}")
            time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Starts two nodes with a core each, and connects this process to them."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("the processes of a node cannot be found here, so that they could not be ended")
    with socket.socket() as probe:
        probe.bind((HEAD, 0))
        port = probe.getsockname()[1]
    environment = {
        "RAY_ADDRESS": f"{HEAD}:{port}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    # The folder holds Ray's sockets, whose paths must be short.
    with (
        tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        cluster = Cluster(environment["RAY_ADDRESS"], folder, environment, {})
        try:
            cluster.start(HEAD)
            cluster.start(SECOND)
            import ray

            ray.init("auto", logging_level="error", log_to_driver=False, _node_ip_address=HEAD)
            yield cluster
            ray.shutdown()
        finally:
            for node in cluster.nodes.values():
                kill(node)


def node_of(number: int) -> tuple[int, str, bool]:
    """Returns the task, the node on which it ran, and whether JAX is imported."""
    time.sleep(0.3)
    return number, here(), "jax" in sys.modules


def here() -> str:
    """Returns the address of a node, inside a worker of the cluster."""
    import ray

    return str(ray.util.get_node_ip_address())


def die(folder: Path, always: bool, number: int) -> int:
    """Runs a task; the fourth kills its worker, the first time or always."""
    marker = folder / "died"
    if number == 3 and (always or not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    if number == 3:
        raise UserError("number 3: not a number to like")
    return number


@dataclass(frozen=True)
class Slow:
    """A stage that records where it works and kills a worker."""

    traces: Path | None
    name: str = "slow"

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def prepare(self, view: View, engine: Any, folder: Path) -> None:
        """Does nothing."""

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        if self.traces:
            (self.traces / f"{shard.replace('/', '-')} {here()}").touch()
            time.sleep(0.3)
            die(self.traces, False, int(shard[-4:]))
        return pa.table(
            {
                "dropped": pa.nulls(len(documents), pa.string()),
                "length": pa.array([len(text) for text in documents["text"].to_pylist()]),
            }
        )


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def say(line: str) -> None:
    """Discards a line."""


def test_tasks_run_on_both_nodes_without_jax(cluster: Cluster) -> None:
    results = list(RayEngine().map(node_of, range(20)))
    assert [number for number, *_ in results] == list(range(20))
    assert {node for _, node, _ in results} == {HEAD, SECOND}
    assert not any(jax for *_, jax in results)
    assert list(RayEngine().map(node_of, [])) == []


def test_the_task_of_a_dead_worker_is_repeated(cluster: Cluster, tmp_path: Path) -> None:
    assert list(RayEngine().map(functools.partial(die, tmp_path, False), range(8))) == list(range(8))
    assert (tmp_path / "died").exists()


def test_a_task_that_kills_every_worker_is_named(cluster: Cluster, tmp_path: Path) -> None:
    results = RayEngine(1).map(functools.partial(die, tmp_path, True), range(8))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RunStopped, match="a worker died 3 times at 3: is there enough memory"):
        next(results)


def test_the_error_of_a_task_replaces_its_result(cluster: Cluster) -> None:
    results = RayEngine().map(refuse, range(8))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="number 3: not a number to like"):
        next(results)


def test_the_corpus_is_the_same_byte_for_byte(cluster: Cluster, tmp_path: Path) -> None:
    """All stages of a build and their notes are compared."""
    raw = tmp_path / "raw"
    (raw / "prose").mkdir(parents=True)
    (raw / "code").mkdir()
    library = Path(os.__file__).parent
    for number, name in enumerate(("argparse", "ast", "bdb", "calendar", "csv", "inspect")):
        text = (library / f"{name}.py").read_text()
        (raw / "code" / f"{name}.py").write_text(text)
        (raw / "prose" / f"{number % 3}.txt").write_text(text.replace("def", "the"))
    question = " ".join((library / "bdb.py").read_text().replace("def", "the").split()[:60])
    (raw / "quiz.csv").write_text(f'question,answer\n"{question.replace(chr(34), "")}",yes\n"How many leaves?",9\n')
    recipe = Build.model_validate(
        {
            "root": str(raw),
            "sources": {"prose": {"paths": ["prose"]}, "code": {"paths": ["code"], "kind": "code"}},
            "contamination": {"evaluation": ["quiz.csv"]},
        }
    )
    engines: dict[str, Engine] = {"local": LocalEngine(1), "ray": RayEngine()}
    for name, engine in engines.items():
        build.build(recipe, Counter("unigram", 400, 8192), tmp_path / name, engine, say, lambda engine, stage: engine)
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")
    assert len(digests(tmp_path / "ray")) > 10


def test_a_lost_node_and_worker_change_no_byte(cluster: Cluster, tmp_path: Path) -> None:
    """This test is the last, since the cluster has one node after it."""
    view = make_view(tmp_path / "texts", [{f"{n:032x}": ("s", f"text {n} " * n)} for n in range(20)])
    traces = tmp_path / "traces"
    traces.mkdir()
    expected = run(Slow(None), view, "", tmp_path / "local", LocalEngine(1), say)

    class Killer:
        """The cluster, whose second node is lost during the build."""

        def map(self, function: Any, tasks: Any) -> Iterator[Any]:
            for number, result in enumerate(RayEngine().map(function, tasks)):
                if number == 4:
                    kill(cluster.nodes[SECOND])
                yield result

    found = run(Slow(traces), view, "", tmp_path / "ray", Killer(), say)
    assert (traces / "died").exists()
    assert any(trace.name.endswith(SECOND) for trace in traces.iterdir())
    assert digests(found.folder / NOTES) == digests(expected.folder / NOTES)
    assert found.counts == expected.counts
    assert {node for _, node, _ in RayEngine().map(node_of, range(3))} == {HEAD}
