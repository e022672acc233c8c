"""Standard streams that let a process finish its work after their readers have gone."""

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_GONE = (errno.EPIPE, errno.EIO)
"""The errors of a write to a pipe or terminal that its reader has closed."""


def settle() -> None:
    """Replaces this process's standard streams by ones that outlast their readers. A closed stream becomes /dev/null.

    Writing to standard error never fails, since it only accompanies the work. Writing to standard output raises
    OSError, except after its reader has gone. Neither stream is buffered, so that signal handlers may write too.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would get this descriptor
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _lasting(1, sys.stdout), _lasting(2, sys.stderr)


def _lasting(descriptor: int, before: TextIO | None) -> TextIO:
    encoding, errors = (before.encoding, before.errors) if before else ("utf-8", "backslashreplace")
    # As with `python -u`.
    return io.TextIOWrapper(_Stream(descriptor), encoding, errors, write_through=True)


class _Stream(io.FileIO):
    """Standard output or standard error without a buffer."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)

    def write(self, data: "ReadableBuffer", /) -> int:
        """Writes all of `data`, or drops the rest if nobody can read it."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                written: int | None = super().write(rest)
            except OSError as error:
                if self.fileno() == 2 or error.errno in _GONE:
                    break
                raise OSError(error.errno, error.strerror, "standard output") from None
            if written is None:  # a full pipe or terminal in non-blocking mode
                select.select([], [self], [])
            rest = rest[written or 0 :]
        return size
