"""What a drill did, what the run did about it, and whether the promise held: told as it happens, and kept as values."""

from collections.abc import Callable, Iterable
from typing import Any

Digests = dict[str, str]
"""What of → SHA-256 in hex, as {"parameters": …, "optimizer": …, "ledger": …}."""

_SHOWN = 16
"""Hex digits of a digest that people are shown."""


class PromiseBroken(Exception):
    """The run did not do what it promises; the message says what instead."""


class Undecided(Exception):
    """The machine was too busy to tell whether the run does what it promises."""


class Report:
    """The story of one drill, told by `do`, `said`, `logged` and `found` as it goes, then by `compare` and `check`."""

    def __init__(self, drill: str, promise: str, tell: Callable[[str], None]) -> None:
        self.drill, self.promise = drill, promise
        self.story: list[dict[str, Any]] = []
        self.digests: dict[str, Digests] = {}
        self.checks: list[str] = []
        self.broken: str | None = None
        """What failed, once the drill is over."""
        self.undecided: str | None = None
        """Why nothing can be said of the promise, once the drill is over."""
        self._tell = tell
        tell(f"drill {drill}\nthe promise: {promise}\n")

    def do(self, text: str) -> None:
        """Tells what the drill does next."""
        self.story.append({"do": text, "said": [], "found": []})
        self._tell(f"· {text}")

    def said(self, lines: Iterable[str]) -> None:
        """Quotes what the run itself said meanwhile."""
        for line in lines:
            self.story[-1]["said"].append(line)
            self._tell(f"    | {line}")

    def logged(self, events: Iterable[dict[str, Any]]) -> None:
        """Quotes the run's event log."""
        self.said(event["text"] for event in events)

    def found(self, text: str) -> None:
        """Tells what the drill saw of it."""
        self.story[-1]["found"].append(text)
        self._tell(f"    {text}")

    def compare(self, rows: dict[str, Digests]) -> None:
        """Sets digests side by side: a row for each state, a column for each thing digested."""
        self.digests = rows
        width = max(map(len, rows))
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        self._tell("\n" + _row("", columns, width))
        for name, row in rows.items():
            self._tell(_row(name, [row.get(column, "none") for column in columns], width))
        self._tell("")

    def check(self, claim: str, held: bool, otherwise: str) -> None:
        """Records a claim that holds; raises PromiseBroken with what is so `otherwise`."""
        if not held:
            raise PromiseBroken(f"{claim}? No: {otherwise}")
        self.checks.append(claim)
        self._tell(f"✓ {claim}")

    def check_same(self, disturbed: str, undisturbed: str) -> None:
        """Claims that two rows of the comparison are equal in every column."""
        ours, theirs = self.digests[disturbed], self.digests[undisturbed]
        differing = [column for column in ours | theirs if ours.get(column) != theirs.get(column)]
        self.check(f"{disturbed} as {undisturbed}: the same {_listed(ours)}", not differing,
                   f"not the same {_listed(differing)}")  # fmt: skip

    def conclude(self, broken: str | None, undecided: str | None = None) -> None:
        """The verdict, in one line."""
        self.broken, self.undecided = broken, undecided
        self._tell(f"\n✗ {broken}" if broken else f"\n? {undecided}" if undecided else "\nthe promise held")

    def values(self) -> dict[str, Any]:
        """All of it, for programs."""
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
    """a, b and c."""
    return " and ".join(", ".join(words).rsplit(", ", 1))


def _row(name: str, cells: Iterable[str], width: int) -> str:
    return "  ".join([f"  {name:{width}}", *(f"{cell[:_SHOWN]:{_SHOWN}}" for cell in cells)]).rstrip()
