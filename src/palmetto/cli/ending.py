"""Ends the command line with one line and an exit code, whatever fails and whenever Ctrl-C comes."""

import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import NoReturn

import typer

from palmetto.errors import RunStopped, UserError
from palmetto.host import signals, streams

_INTERRUPTED = 130
"""The exit code for Ctrl-C, in Typer as in shells."""


def run(app: typer.Typer) -> None:
    """Runs the command line. Exit codes: 0 done, 1 ran and the answer is no, 2 bad input, 130 interrupted."""
    streams.settle()
    sys.unraisablehook = _end_if_interrupted
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        code = app(standalone_mode=False) or 0
        if code != _INTERRUPTED:
            signals.ignore_interrupts()
            sys.exit(code)
        line = "interrupted"
    except RunStopped as error:
        code, line = 1, str(error)
    except UserError as error:
        code, line = 2, str(error)
    except typer.TyperException as error:
        code, line = 2, error.format_message()
    except OSError as error:
        code, line = 2, f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except SystemExit:
        raise
    except KeyboardInterrupt:
        code, line = _INTERRUPTED, "interrupted"
    except BaseException:
        traceback.print_exc()
        code, line = 1, ""
    _end(code, line)


def leave() -> NoReturn:
    """Ends this process at once with code 0, for a command whose threads may still be at work.

    An ordinary exit would wait for some, and break the process under those that come back from compiled code.
    """
    _end(0, "")


def _end(code: int, line: str) -> NoReturn:
    """Prints `line`, unless it is empty, and ends this process at once.

    An ordinary exit would let other threads print tracebacks, and JAX would wait for the cluster's other processes.
    """
    signals.ignore_interrupts()
    if line:
        print(f"palmetto: {' '.join(line.split())}", file=sys.stderr, flush=True)
    os._exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, or sends the signal again a moment later while a module is being imported.

    The C++ code of a module would print the exception and raise another.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(0.05, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _end_if_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    """Ends this process if Ctrl-C came inside a callback, such as a destructor, from which Python raises no error."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _end(_INTERRUPTED, "interrupted")
    sys.__unraisablehook__(unraisable)
