"""The report of a drill: what it did, what the run did, and whether the promise held."""

from collections.abc import Callable, Iterable
from typing import Any

Digests = dict[str, str]
"""Digests in hex by the name of what is digested: {"parameters": …, "optimizer": …, "ledger": …}."""

_SHOWN = 16
"""The hex digits of a digest that are shown to people."""


class PromiseBroken(Exception):
    """Raised if a run breaks its promise; the message says what happened instead."""


class Undecided(Exception):
    """Raised if the machine was too busy to tell whether a run keeps its promise."""


class Report:
    """The report of one drill. It is told line by line as the drill runs, and kept as values."""

    def __init__(self, drill: str, promise: str, tell: Callable[[str], None]) -> None:
        self.drill, self.promise = drill, promise
        self.story: list[dict[str, Any]] = []
        self.digests: dict[str, Digests] = {}
        self.checks: list[str] = []
        self.broken: str | None = None
        """The reason why the promise is broken, known at the end of the drill."""
        self.undecided: str | None = None
        """The reason why there is no verdict, known at the end of the drill."""
        self._tell = tell
        tell(f"drill {drill}\nthe promise: {promise}\n")

    def do(self, text: str) -> None:
        """Reports what the drill does next."""
        self.story.append({"do": text, "said": [], "found": []})
        self._tell(f"· {text}")

    def quote(self, lines: Iterable[str]) -> None:
        """Quotes lines of the run's output."""
        for line in lines:
            self.story[-1]["said"].append(line)
            self._tell(f"    | {line}")

    def quote_events(self, events: Iterable[dict[str, Any]]) -> None:
        """Quotes events of the run's log."""
        self.quote(event["text"] for event in events)

    def found(self, text: str) -> None:
        """Reports what the drill found."""
        self.story[-1]["found"].append(text)
        self._tell(f"    {text}")

    def compare(self, rows: dict[str, Digests]) -> None:
        """Shows a table of digests, with a row for each state and a column for each thing digested."""
        self.digests = rows
        width = max(map(len, rows))
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        self._tell("\n" + _row("", columns, width))
        for name, row in rows.items():
            self._tell(_row(name, [row.get(column, "none") for column in columns], width))
        self._tell("")

    def check(self, claim: str, held: bool, otherwise: str) -> None:
        """Records a claim that holds. Raises PromiseBroken, with `otherwise`, if it does not hold."""
        if not held:
            raise PromiseBroken(f"{claim}? No: {otherwise}")
        self.checks.append(claim)
        self._tell(f"✓ {claim}")

    def check_same(self, disturbed: str, undisturbed: str) -> None:
        """Checks that two rows of the table are equal in every column."""
        ours, theirs = self.digests[disturbed], self.digests[undisturbed]
        differing = [column for column in ours | theirs if ours.get(column) != theirs.get(column)]
        claim = f"{disturbed} as {undisturbed}: the same {_listed(ours)}"
        self.check(claim, not differing, f"not the same {_listed(differing)}")

    def conclude(self, broken: str | None, undecided: str | None = None) -> None:
        """Records the verdict and reports it in one line."""
        self.broken, self.undecided = broken, undecided
        self._tell(f"\n✗ {broken}" if broken else f"\n? {undecided}" if undecided else "\nthe promise held")

    def values(self) -> dict[str, Any]:
        """Returns the whole report as plain values."""
        return {
            "drill": self.drill,
            "promise": self.promise,
            "held": None if self.undecided else self.broken is None,
            "broken": self.broken,
            "undecided": self.undecided,
            "story": self.story,
            "digests": self.digests,
            "checks": self.checks,
        }


def _listed(words: Iterable[str]) -> str:
    """Returns words as in "a, b and c"."""
    return " and ".join(", ".join(words).rsplit(", ", 1))


def _row(name: str, cells: Iterable[str], width: int) -> str:
    return "  ".join([f"  {name:{width}}", *(f"{cell[:_SHOWN]:{_SHOWN}}" for cell in cells)]).rstrip()
