"""Filters that report a failure of orbax once, in a line that names the file, instead of in repeated tracebacks."""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from palmetto.errors import UserError

_REASON = 300
"""The maximal number of characters shown of the error of a failed write."""

_TOLD_ALREADY = ("Event loop is closed", "Encountered error while reading array index")
"""Phrases of the errors that orbax's writers and readers repeat after the first one has been raised."""


class _Hook:
    """Passes unraisable errors to the usual hook, except those that have been reported already."""

    def __init__(self, usual: Callable[[Any], object]) -> None:
        self._usual = usual

    def __call__(self, unraisable: Any) -> None:
        if not any(words in str(unraisable.exc_value) for words in _TOLD_ALREADY):
            self._usual(unraisable)


def tell_once() -> None:
    """Suppresses what orbax logs about failures that it also raises; messages of other packages are not affected.

    It may be called repeatedly, and is called before the first arrays of checkpoints are read or written.
    """
    logging.getLogger("absl").addFilter(_is_of_others)
    logging.getLogger("asyncio").addFilter(_is_news)
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Returns whether a record is not from orbax, which logs a traceback of each failure before it raises the error."""
    return "orbax" not in record.pathname or record.levelno >= logging.CRITICAL


def _is_news(record: logging.LogRecord) -> bool:
    """Returns whether asyncio logs anything but the errors of orbax's readers after the first one was raised."""
    message = record.getMessage()
    of_orbax = any(words in message for words in ("orbax", "OCDBT", *_TOLD_ALREADY))
    return not (of_orbax and "exception was never retrieved" in message)


@contextlib.contextmanager
def writing(directory: Path, wanted: int) -> Iterator[None]:
    """Converts an error of orbax, usually a full disk, to a UserError of one line.

    `wanted` is the size of the arrays in bytes.
    """
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
    """Returns the file that could not be written, by its path in `directory`, and the reason.

    That is the end of a long error: tensorstore begins with what it was about to do. The options that it appends, as
    [key='value'], are left out.
    """
    text = re.split(r"\n| \[[\w ]+='", str(error) or type(error).__name__)[0].replace(f"{directory}/", "")
    text = re.sub(r"\.orbax-checkpoint-tmp(-\d+)?", "", text)  # its temporary name
    return text if len(text) <= _REASON else f"…{text[1 - _REASON :]}"
