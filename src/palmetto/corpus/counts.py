"""Counts a stage's documents and bytes: in, out, dropped by reason, and cut within documents that stay."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

Pair = tuple[int, int]
"""A number of documents and their bytes of text."""

Numbers = TypeVar("Numbers", bound=tuple[int, ...])
Cut = tuple[int, int, int]
"""The number of documents that stay and were cut, the bytes cut out of them, and the bytes put in their place."""


@dataclass
class Counts:
    """Counts of one stage, by source: what came in, what went on, what was dropped (by reason), and what was cut.

    The bytes balance: those that came in or were put in equal those that went on, were dropped or were cut.
    """

    before: dict[str, Pair] = field(default_factory=dict)
    after: dict[str, Pair] = field(default_factory=dict)
    dropped: dict[str, dict[str, Pair]] = field(default_factory=dict)
    cut: dict[str, Cut] = field(default_factory=dict)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            _merge(self.before, other.before),
            _merge(self.after, other.after),
            {
                source: _merge(self.dropped.get(source, {}), other.dropped.get(source, {}))
                for source in sorted({*self.dropped, *other.dropped})
            },
            _merge(self.cut, other.cut),
        )

    def values(self) -> dict[str, Any]:
        """Returns the counts as JSON values."""
        return {"before": self.before, "after": self.after, "dropped": self.dropped, "cut": self.cut}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Counts":
        """Returns the counts of `values`, also after a round trip through JSON; missing cuts are inferred."""

        def pairs(named: dict[str, Any]) -> dict[str, Pair]:
            return {name: (pair[0], pair[1]) for name, pair in named.items()}

        dropped = {source: pairs(reasons) for source, reasons in values["dropped"].items()}
        counts = cls(pairs(values["before"]), pairs(values["after"]), dropped)
        counts.cut = (
            _missing(counts)
            if "cut" not in values
            else {source: (cut[0], cut[1], cut[2]) for source, cut in values["cut"].items()}
        )
        return counts

    @classmethod
    def sum(cls, counts: Iterable["Counts"]) -> "Counts":
        """Returns the sum over many shards."""
        total = cls()
        for each in counts:
            total += each
        return total

    def line(self) -> str:
        """Returns a summary of all sources in one line."""
        came, went = total(self.before), total(self.after)
        reasons: dict[str, Pair] = {}
        for named in self.dropped.values():
            reasons = _merge(reasons, named)
        text = f"{came[0]:,} documents of {came[1]:,} bytes → {went[0]:,} of {went[1]:,}"
        if reasons:
            listed = sorted(reasons.items(), key=lambda item: (-item[1][0], item[0]))
            text += "; dropped: " + ", ".join(f"{reason} {count:,}" for reason, (count, _) in listed)
        if self.cut:
            _, cut, put = map(sum, zip(*self.cut.values(), strict=True))
            text += f"; cut within documents: {cut:,} bytes" + (f", for {put:,} put in" if put else "")
        return text


def total(pairs: dict[str, Pair]) -> Pair:
    """Returns the sum over all sources."""
    return sum(count for count, _ in pairs.values()), sum(size for _, size in pairs.values())


def _missing(counts: Counts) -> dict[str, Cut]:
    """Returns cuts for a stage that did not count them: the bytes that neither went on nor were dropped."""
    missing = {}
    for source, (_, came) in counts.before.items():
        gone = sum(size for _, size in counts.dropped.get(source, {}).values())
        if size := came - gone - counts.after.get(source, (0, 0))[1]:
            missing[source] = (0, max(size, 0), max(-size, 0))
    return missing


def _merge(a: dict[str, Numbers], b: dict[str, Numbers]) -> dict[str, Numbers]:
    merged = dict(a)
    for name, numbers in b.items():
        merged[name] = cast(Numbers, tuple(map(sum, zip(merged[name], numbers, strict=True)))) if name in a else numbers
    return dict(sorted(merged.items()))
