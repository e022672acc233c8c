"""The standard streams of a process that goes on when nobody reads them any more."""

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
    """Makes this process's streams outlast their readers; a stream that is closed becomes /dev/null.

    Standard error only accompanies the work, so no error of writing it counts. Standard output raises OSError unless
    its reader has gone away, who wants no more of it. Neither is buffered, so that a signal's handler may write, too.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _lasting(1, sys.stdout), _lasting(2, sys.stderr)


def _lasting(descriptor: int, before: TextIO | None) -> TextIO:
    encoding, errors = (before.encoding, before.errors) if before else ("utf-8", "backslashreplace")
    # As `python -u` has it.
    return io.TextIOWrapper(_Stream(descriptor), encoding, errors, write_through=True)


class _Stream(io.FileIO):
    """Standard output or standard error without a buffer."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)

    def write(self, data: "ReadableBuffer", /) -> int:
        """Writes all of it, or drops what nobody is to read."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                written: int | None = super().write(rest)
            except OSError as error:
                if self.fileno() == 2 or error.errno in _GONE:
                    break
                raise OSError(error.errno, error.strerror, "standard output") from None
            if written is None:  # a pipe or terminal that does not block, and is full
                select.select([], [self], [])
            rest = rest[written or 0 :]
        return size
