"""Runs scripts in forks of one process that has PyTorch and transformers loaded: `warm_peer.py SOCKET`.

Loading them takes longer than what most tests ask of them. It is run by the Python of the peer's environment, says
`ready`, and ends with its standard input. `CLIENT` is a program that takes the place of that Python.
"""

import ast
import os
import runpy
import select
import signal
import socket
import sys
import traceback

CLIENT = """#!{python} -SE
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [repr((os.getcwd(), sys.argv[1:])).encode()], [0, 1, 2])
    sys.exit(int(server.recv(8) or b"1"))
"""


def serve(address: str) -> None:
    """Forks for every client until standard input ends."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    __import__("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoModelForCausalLM
    assert AutoTokenizer
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Runs what a client asked for, with the client's streams, and ends with its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, *_ = socket.recv_fds(connection, 1 << 16, 3)
    folder, arguments = ast.literal_eval(message.decode())
    for stream, theirs in enumerate(streams):
        os.dup2(theirs, stream)
    os.chdir(folder)
    code = 0
    try:
        run([argument for argument in arguments if argument != "-I"])
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(str(code).encode())
    os._exit(code)


def run(arguments: list[str]) -> None:
    """Runs a script or the code behind -c."""
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(arguments[1], {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    serve(*sys.argv[1:])
