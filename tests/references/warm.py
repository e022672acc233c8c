"""Runs Python in forks of one process that has large libraries loaded: `warm.py SOCKET MODULE…`.

Loading them takes longer than what most tests ask of them. The process says `ready`, and ends with its standard input.
`CLIENT` is a program that takes the place of that Python.
"""

import ast
import atexit
import gc
import importlib
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

CLIENT = """#!{python} -SE
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    message = repr((os.getcwd(), dict(os.environ), sys.argv[1:])).encode()
    socket.send_fds(server, [len(message).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(message)
    sys.exit(int(server.recv(8)))
"""


@contextmanager
def warmed(python: Path, folder: Path, *modules: str, environment: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Yields a program that runs scripts as a Python does, in forks of one process that has these modules loaded."""
    address, client = folder / "socket", folder / "python"
    client.write_text(CLIENT.format(python=python, address=str(address)))
    client.chmod(0o755)
    command = [str(python), "-P", __file__, str(address), *modules]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield client


class Loaded:
    """Gives a module that is loaded to whoever imports it first; until then it seems not to be."""

    def __init__(self, name: str) -> None:
        self._module = sys.modules.pop(name)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        spec = self._module.__spec__
        if spec is None or spec.name != name:
            return None
        spec.loader = self  # type: ignore[assignment]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """The module has been executed."""


def serve(address: str, *modules: str) -> None:
    """Forks for every client until standard input ends."""
    for name in modules:
        importlib.import_module(name)
    if "jax" in sys.modules:  # what JAX reads when it starts must be settled before it is imported
        sys.meta_path.insert(0, Loaded("jax"))
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                os._exit(answer(connection))
            connection.close()


def answer(connection: socket.socket) -> int:
    """Runs what a client asked for in a fork, with the client's streams, and tells the client its exit code.

    Returns the exit code of the process that calls it: 0, or in the fork that of what was run.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, *_ = socket.recv_fds(connection, 4, 3)
    message = b""
    while len(message) < int.from_bytes(size, "big"):
        message += connection.recv(1 << 16)
    if child := os.fork():
        for stream in streams:
            os.close(stream)
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
        return 0
    connection.close()
    folder, environment, arguments = ast.literal_eval(message.decode())
    for stream, theirs in enumerate(streams):
        os.dup2(theirs, stream)
        os.close(theirs)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return run([argument for argument in arguments if argument != "-I"])


def run(arguments: list[str]) -> int:
    """Runs a script or the code behind -c; returns its exit code.

    Of what ends an interpreter, only taking thousands of modules apart is left out.
    """
    sys.orig_argv = [sys.executable, *arguments]
    code: object = 0
    try:
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            exec(arguments[1], {"__name__": "__main__"})
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # ends pools of threads and waits for other threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    serve(*sys.argv[1:])
