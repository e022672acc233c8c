"""The ledger, which holds a line for every step ever taken, exact to the bit and chained by hashes.

Two runs of the same recipe on the same text write the same bytes. A line is a JSON object; `chain` is the first 16 hex
digits of the SHA-256 over the chain of the line before and the other fields, so that a changed byte is found and its
step named.
"""

import hashlib
import json
import os
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from palmetto.errors import UserError
from palmetto.files import present
from palmetto.json_lines import JsonLines


class Line(NamedTuple):
    """Holds the record of one step; the losses and norms are written as hex floats, so that no bit is lost."""

    step: int
    attempt: int
    loss: float
    grad_norm: float
    parameter_norm: float
    z: float
    learning_rate: float
    sequences: int
    batch: str
    """The first 16 hex digits of the SHA-256 of the batch's int32 tokens."""
    applied: bool
    """True if the update was applied; a NaN or Inf leaves parameters and optimizer unchanged."""
    loss_scale: float | None = None
    """The factor of the loss; None unless activations are float16."""
    parameters: str | None = None
    """The digest of the parameters after the step, every `digest_every` steps."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields that are not None, with losses and norms as hex strings."""
        fields = {key: value for key, value in self._asdict().items() if value is not None}
        return fields | {key: fields[key].hex() for key in _HEX}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Line":
        """Returns the line that `to_json` gave; raises TypeError if a field has another type."""
        fields = {key: values[key] for key in cls._fields if key in values}
        line = cls(**fields | {key: float.fromhex(values[key]) for key in _HEX})
        if tuple(map(type, line)) not in _TYPES:
            raise TypeError
        return line


_HEX = ("loss", "grad_norm", "parameter_norm", "z")
_TYPES = {
    (int, int, float, float, float, float, float, int, str, bool, scale, digest)
    for scale in (float, type(None))
    for digest in (str, type(None))
}
"""The combinations of types that the fields of a line may have."""
START = "0" * 16
"""The chain before the first line."""


class LedgerAltered(UserError):
    """Signals that a line of the ledger is not what was written; `step` is the step that it should record."""

    def __init__(self, path: Path, number: int, step: int, what: str) -> None:
        super().__init__(f"{path}: line {number}, step {step}: {what}")
        self.step = step


class LedgerTorn(LedgerAltered):
    """Signals that the last line is incomplete, because a process was killed while writing it or is writing it now."""


class Ledger:
    """Reads and checks ledger.jsonl, then appends to it."""

    def __init__(self, path: Path, lines: list[Line], chains: list[str]) -> None:
        """lines: the lines of the file. chains: the hash after each."""
        self._path, self._lines, self._chains = path, lines, chains
        self._file = JsonLines(path)
        self._waiting = deque[tuple[Line, Future[str] | None]]()

    @classmethod
    def open(cls, path: Path) -> "Ledger":
        """Reads the file except a torn last line, which the first append cuts off.

        Raises LedgerAltered if a line is not what was written.
        """
        return cls(path, *read(path))

    @property
    def lines(self) -> list[Line]:
        """Returns every line so far."""
        self.settle()
        return self._lines

    @property
    def chain(self) -> str:
        """Returns the hash that covers every line so far."""
        self.settle()
        return self._chains[-1] if self._chains else START

    def has(self, attempt: int, step: int, chain: str) -> bool:
        """Returns whether the ledger has a line of this attempt and step with this chain."""
        written = zip(self.lines, self._chains, strict=True)
        return any((line.attempt, line.step, link) == (attempt, step, chain) for line, link in written)

    def chain_at(self, attempt: int, step: int) -> str:
        """Returns the hash that covers every line up to that of a step, which must exist."""
        written = zip(reversed(self.lines), reversed(self._chains), strict=True)
        return next(link for line, link in written if (line.attempt, line.step) == (attempt, step))

    def append(self, line: Line, parameters: Future[str] | None = None) -> None:
        """Queues a line, which is written after all lines before it and once the digest of its parameters is done.

        A written line survives a kill of the process, and a power failure once `sync` was called.
        """
        self._waiting.append((line, parameters))
        while self._waiting and ((digest := self._waiting[0][1]) is None or digest.done()):
            self._write(*self._waiting.popleft())

    def settle(self) -> None:
        """Writes the lines that wait for a digest, and waits for those digests."""
        while self._waiting:
            self._write(*self._waiting.popleft())

    def _write(self, line: Line, parameters: Future[str] | None) -> None:
        line = line._replace(parameters=parameters.result()) if parameters else line
        fields = line.to_json()
        chain = _link(self._chains[-1] if self._chains else START, json.dumps(fields))
        self._file.append(fields | {"chain": chain})
        self._chains.append(chain)
        self._lines.append(line)

    def cut(self, keep: int) -> None:
        """Removes all but the first `keep` lines."""
        self.sync()
        self.close()
        with self._path.open("rb") as file:
            length = sum(len(file.readline()) for _ in range(keep))
        os.truncate(self._path, length)
        del self._lines[keep:], self._chains[keep:]

    def sync(self) -> None:
        """Makes every line durable."""
        self.settle()
        self._file.sync()

    def close(self) -> None:
        """Writes the lines that wait, makes them durable and closes the file."""
        self.settle()
        self._file.close()


def read(path: Path, *, whole: bool = False) -> tuple[list[Line], list[str]]:
    """Returns the lines and the chain after each; raises LedgerAltered if a line is not what was written.

    A torn last line is left out; with `whole` it raises LedgerTorn.
    """
    lines: list[Line] = []
    chains: list[str] = []
    data = path.read_bytes() if present(path) else b""
    texts = data.split(b"\n")
    for number, text in enumerate(texts, 1):
        is_last = number == len(texts)
        if is_last and (not text or not whole):
            break
        step = lines[-1].step + 1 if lines else 1
        try:
            line = Line.from_json(json.loads(text))
            if lines and line.attempt == lines[-1].attempt + 1 and line.step < step:
                step = line.step  # after a rollback
            fields = json.dumps(line.to_json())
            chain = _link(chains[-1] if chains else START, fields)
            if f'{fields[:-1]}, "chain": "{chain}"}}'.encode() != text or is_last:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            if is_last and _is_torn(text):
                raise LedgerTorn(
                    path,
                    number,
                    step,
                    "torn, as by a kill while it was written; training cuts it off and takes the step again",
                ) from None
            raise LedgerAltered(path, number, step, "not the line that was written") from None
        lines.append(line)
        chains.append(chain)
    return lines, chains


def _is_torn(text: bytes) -> bool:
    """Returns whether a last line without a line break is the beginning of a line and nothing else."""
    try:
        _, end = json.JSONDecoder().raw_decode(text.decode())
    except (ValueError, RecursionError):
        return True
    return end == len(text)


def last(path: Path) -> Line | None:
    """Returns the last complete line, or None if there is none; its chain is not checked.

    Raises UserError if it is not a line of a ledger.
    """
    whole = path.read_bytes().rpartition(b"\n")[0] if present(path) else b""
    return _parsed(path, whole, whole.rpartition(b"\n")[2]) if whole else None


def holds(path: Path, attempt: int, step: int, chain: str) -> bool:
    """Returns whether the file has a line of this attempt and step with this chain; the chain itself is not checked."""
    data = path.read_bytes() if present(path) else b""
    end = data.find(f'"chain": "{chain}"}}\n'.encode())
    if end < 0:
        return False
    before = data[: data.find(b"\n", end)]
    line = _parsed(path, before, before.rpartition(b"\n")[2])
    return (line.attempt, line.step) == (attempt, step)


def _parsed(path: Path, before: bytes, text: bytes) -> Line:
    try:
        return Line.from_json(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise UserError(f"{path}: line {before.count(10) + 1}: not the line that was written") from None


def differing(recorded: Line, replayed: Line) -> str | None:
    """Returns the first field except `parameters` in which two lines differ, or None; a NaN equals a NaN."""
    ours, theirs = recorded.to_json(), replayed.to_json()
    return next((key for key in Line._fields if key != "parameters" and ours.get(key) != theirs.get(key)), None)


def batch_digest(windows: np.ndarray) -> str:
    """Returns the first 16 hex digits of the SHA-256 of a batch's tokens as little-endian int32."""
    return hashlib.sha256(windows.astype("<i4").tobytes()).hexdigest()[:16]


def _link(chain: str, fields: str) -> str:
    return hashlib.sha256((chain + fields).encode()).hexdigest()[:16]
