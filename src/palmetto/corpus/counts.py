"""What a stage did: documents and bytes in and out, and why some went."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Pair = tuple[int, int]
"""Documents and bytes of text."""


def _add(a: Pair, b: Pair) -> Pair:
    return a[0] + b[0], a[1] + b[1]


@dataclass
class Counts:
    """Of one stage, by source: what came, what went on, and what was dropped for which reason."""

    before: dict[str, Pair] = field(default_factory=dict)
    after: dict[str, Pair] = field(default_factory=dict)
    dropped: dict[str, dict[str, Pair]] = field(default_factory=dict)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            _merge(self.before, other.before),
            _merge(self.after, other.after),
            {
                source: _merge(self.dropped.get(source, {}), other.dropped.get(source, {}))
                for source in sorted({*self.dropped, *other.dropped})
            },
        )

    def values(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"before": self.before, "after": self.after, "dropped": self.dropped}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Counts":
        """The inverse of `values`, also of what JSON made of it."""

        def pairs(named: dict[str, Any]) -> dict[str, Pair]:
            return {name: (pair[0], pair[1]) for name, pair in named.items()}

        dropped = {source: pairs(reasons) for source, reasons in values["dropped"].items()}
        return cls(pairs(values["before"]), pairs(values["after"]), dropped)

    @classmethod
    def sum(cls, counts: Iterable["Counts"]) -> "Counts":
        """Of many shards."""
        total = cls()
        for each in counts:
            total += each
        return total

    def line(self) -> str:
        """All sources together, in a line."""
        came, went = total(self.before), total(self.after)
        reasons: dict[str, Pair] = {}
        for named in self.dropped.values():
            reasons = _merge(reasons, named)
        text = f"{came[0]:,} documents of {came[1]:,} bytes → {went[0]:,} of {went[1]:,}"
        if reasons:
            listed = sorted(reasons.items(), key=lambda item: (-item[1][0], item[0]))
            text += "; dropped: " + ", ".join(f"{reason} {count:,}" for reason, (count, _) in listed)
        return text


def total(pairs: dict[str, Pair]) -> Pair:
    """Of all sources."""
    summed = (0, 0)
    for pair in pairs.values():
        summed = _add(summed, pair)
    return summed


def _merge(a: dict[str, Pair], b: dict[str, Pair]) -> dict[str, Pair]:
    return {name: _add(a.get(name, (0, 0)), b.get(name, (0, 0))) for name in sorted({*a, *b})}
