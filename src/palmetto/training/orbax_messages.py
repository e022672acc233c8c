"""What orbax says of failures: once, in a line that names the file, and not again in tracebacks."""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from palmetto.errors import UserError

_REASON = 300
"""Characters of a failed write's error that a person is shown."""

_TOLD_ALREADY = ("Event loop is closed", "Encountered error while reading array index")
"""What orbax's writers and readers go on complaining of once the first error has been raised."""


class _Hook:
    """An unraisable hook that hands on to the usual one what has not been told already."""

    def __init__(self, usual: Callable[[Any], object]) -> None:
        self._usual = usual

    def __call__(self, unraisable: Any) -> None:
        if not any(words in str(unraisable.exc_value) for words in _TOLD_ALREADY):
            self._usual(unraisable)


def tell_once() -> None:
    """Keeps from standard error what orbax logs of failures that it raises too; what others log is left alone.

    It may be called again, as whenever checkpoints are used.
    """
    logging.getLogger("absl").addFilter(_is_of_others)
    logging.getLogger("asyncio").addFilter(_is_news)
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Returns whether anything but orbax logs: of each failure it logs a traceback before it raises the error."""
    return "orbax" not in record.pathname or record.levelno >= logging.CRITICAL


def _is_news(record: logging.LogRecord) -> bool:
    """Returns whether asyncio logs anything but what a reader of orbax met after another one's error was raised."""
    message = record.getMessage()
    of_orbax = any(words in message for words in ("orbax", "OCDBT", *_TOLD_ALREADY))
    return not (of_orbax and "exception was never retrieved" in message)


@contextlib.contextmanager
def writing(directory: Path, wanted: int) -> Iterator[None]:
    """Raises what orbax raises as a UserError of one line: usually the disk is full. `wanted`: the arrays' bytes."""
    try:
        yield
    except Exception as error:
        reason = _reason(error, directory)
        room = f"with room on the disk for about {wanted:,} bytes"
        mended = "with permission to write" if "ermission denied" in reason else room
        raise UserError(
            f"{directory}: the checkpoint could not be written ({reason}); {mended}, the same command goes "
            "on from the one before"
        ) from error


def _reason(error: Exception, directory: Path) -> str:
    """Returns the file that could not be written, by its path in `directory`, and why: an error's end, if it is long.

    Before that tensorstore says what it was about to do, and behind it, as [key='value'], with which options.
    """
    text = re.split(r"\n| \[[\w ]+='", str(error) or type(error).__name__)[0].replace(f"{directory}/", "")
    text = re.sub(r"\.orbax-checkpoint-tmp(-\d+)?", "", text)  # the name until it is whole
    return text if len(text) <= _REASON else f"…{text[1 - _REASON :]}"
