"""Files with one JSON value a line, which grow by whole lines."""

import json
import os
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from palmetto.errors import UserError
from palmetto.files import naming, present


class JsonLines:
    """Appends to a file with one JSON object a line.

    The file is opened by the first `append` or `sync`, which cuts off a last line that kill -9 left incomplete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _file(self) -> IO[bytes]:
        present(self.path)  # refuses to write through a broken link
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab")
        whole = _whole_length(self.path)
        if whole < file.tell():
            file.truncate(whole)
        return file

    def append(self, value: dict[str, Any]) -> None:
        """Writes one line and hands it to the operating system (it survives the process, not yet a power cut)."""
        line = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        with naming(self.path, len(line)):
            self._file.write(line)
            self._file.flush()

    def sync(self) -> None:
        """Makes every line appended so far durable."""
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Makes every line durable and closes the file, if it was opened; the next line opens it again."""
        if "_file" in vars(self):
            self.sync()
            self._file.close()
            del self._file


def read_json_lines(path: Path) -> list[Any]:
    """Reads the values of a JSON-lines file, without an incomplete last line.

    The file is read once, so that another process may append to it. Raises UserError that names a line that is not
    JSON.
    """
    if not present(path):
        return []
    values = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            raise UserError(f"{path}: line {number} is not JSON") from None
    return values


def _whole_length(path: Path) -> int:
    """Returns the number of bytes up to and including the last newline."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1
