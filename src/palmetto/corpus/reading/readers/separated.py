"""Reads the rows of .csv and .tsv files; an unclosed quotation mark does not affect the rows after it."""

import csv
from collections import deque
from collections.abc import Iterator
from typing import IO

from palmetto import tables
from palmetto.corpus.reading import encoding, opening


def rows(file: IO[bytes], tabs: bool, number: int = 0) -> Iterator[tuple[int, list[str] | encoding.Undecodable, bool]]:
    """Yields the number of each row's last line, the row or the reason why it is none, and whether its last line ends.

    number: the number of the line before the first. A row that is not strict CSV but ends on its own line is read
    leniently.
    """
    lines = _Lines(file, number)
    found = tables.reader(lines, "\t", quoted=False) if tabs else tables.reader(lines, strict=True)
    columns = 0
    while True:
        lines.begin()
        try:
            row: list[str] | encoding.Undecodable = next(found)
        except StopIteration:
            return
        except encoding.Undecodable as error:
            # Such lines are not counted in the numbers that name rows.
            yield lines.number + 1, encoding.Undecodable(str(error), lines.size + error.size), lines.end
            continue
        except csv.Error as error:
            row = _lenient(lines, error, columns)
        columns = columns or (len(row) if isinstance(row, list) else 0)
        yield lines.number, row, lines.end


def _lenient(lines: "_Lines", error: csv.Error, columns: int) -> list[str] | encoding.Undecodable:
    """Returns a row that is not strict CSV. If it spans several lines, all but the first are read again as rows.

    In a table with a single column, a text that is never closed extends to the end.
    """
    try:
        if len(lines.taken) == 1 or (lines.ended and columns == 1):
            return next(tables.reader(lines.taken))
    except csv.Error as other:
        error = other
    lines.give_back()
    return encoding.Undecodable(str(error), lines.size)


class _Lines(Iterator[str]):
    """The lines of a file, with those that the current row has taken."""

    def __init__(self, file: IO[bytes], number: int) -> None:
        self._lines = encoding.Lines(file)
        self._back: deque[str] = deque()
        self.number = number
        self.begin()

    def begin(self) -> None:
        """Starts a new row."""
        self.taken: list[str] = []
        self.size = 0
        self.ended = False
        self.end = True

    def __next__(self) -> str:
        try:
            line = self._back.popleft() if self._back else next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        if isinstance(line, encoding.Undecodable):
            raise line
        self.number += 1
        self.taken.append(line)
        self.size += len(line)
        self.end = line.endswith("\n")
        if self.size > opening.RECORD_BYTES:
            raise csv.Error(opening.too_long(self.size))
        return line

    def give_back(self) -> None:
        """Returns all lines of the current row but the first."""
        self._back.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        del self.taken[1:]
        self.size = len(self.taken[0])
        self.end = self.taken[0].endswith("\n")
