"""A corpus's manifest as the datasheet asks for it."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from palmetto.corpus.rules.licences.expressions import unrecognized

WITHIN = {
    "extraction": "header and footer of a book's edition",
    "filters": "lines, by C4's rules",
    "personal data": "masked",
    "repeated spans": "passages that occur before",
}
"""The parts that each stage cuts within documents that stay."""


class Sheet:
    """What can be said of a corpus. `manifest`: of `palmetto.corpus.build`."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self.sources: list[str] = list(manifest["recipe"]["sources"])
        self.available: dict[str, int] = manifest["mixture"]["available"]
        self.not_read: list[dict[str, Any]] = manifest["not_read"]
        self.contamination: dict[str, dict[str, int]] = manifest.get("contamination", {})

    def of(self, source: str, quantity: str) -> int:
        """Documents, bytes or tokens that are taken of a source."""
        return sum(counts[quantity] for counts in self.manifest["languages"].get(source, {}).values())

    def total(self, quantity: str) -> int:
        """Of all sources."""
        return sum(self.of(source, quantity) for source in self.sources)

    def share(self, source: str) -> float:
        """Of the tokens."""
        return self.of(source, "tokens") / max(1, self.total("tokens"))

    def wanted(self, source: str) -> float:
        """The share that the weights ask for."""
        wanted = self.manifest["mixture"]["wanted"]
        return wanted[source] / max(1, sum(wanted.values()))

    @cached_property
    def languages(self) -> dict[str, dict[str, int]]:
        """Tokens by language, then source; most first, "" for what is not known."""
        found: dict[str, dict[str, int]] = {}
        for source, of_source in self.manifest["languages"].items():
            for language, counts in of_source.items():
                found.setdefault(language, {})[source] = counts["tokens"]
        return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])))

    @property
    def read(self) -> int:
        """Bytes of text that were read."""
        return sum(size for _, size in self.manifest["stages"][0]["before"].values())

    @property
    def flow(self) -> list[tuple[str, dict[str, int]]]:
        """Bytes by source, as read and after each stage that changed them."""
        stages = self.manifest["stages"]
        found = [("read", {source: size for source, (_, size) in stages[0]["before"].items()})]
        for stage in stages:
            after = {source: size for source, (_, size) in stage["after"].items()}
            if after != found[-1][1]:
                found.append((stage["name"], after))
        return found

    @property
    def dropped(self) -> list[tuple[str, str, str, int, int, float]]:
        """Stage, source, reason, documents, bytes, and the bytes' share of what was read of the source; by stages."""
        had = {source: size for source, (_, size) in self.manifest["stages"][0]["before"].items()}
        return [
            (stage["name"], source, reason, count, size, size / max(1, had[source]))
            for stage in self.manifest["stages"]
            for source, reasons in stage["dropped"].items()
            for reason, (count, size) in sorted(reasons.items(), key=lambda item: -item[1][0])
        ]

    @property
    def cut(self) -> Iterator[tuple[str, str, str, int, int, int, float]]:
        """Stage, source, what was cut within documents that stay, those documents, bytes cut, bytes put in their place,
        and the bytes cut as a share of what was read of the source; by stages."""
        had = {source: size for source, (_, size) in self.manifest["stages"][0]["before"].items()}
        for stage in self.manifest["stages"]:
            for source, (count, size, put) in stage.get("cut", {}).items():
                what = WITHIN.get(stage["name"], "parts of texts")
                yield stage["name"], source, what, count, size, put, size / max(1, had[source])

    @property
    def balance(self) -> tuple[int, int, int]:
        """Bytes in documents that were left out, bytes cut within others, and bytes put in: with what is in the corpus,
        all that was read."""
        cuts = list(self.cut)
        return sum(row[4] for row in self.dropped), sum(row[4] for row in cuts), sum(row[5] for row in cuts)

    @property
    def limit(self) -> str | None:
        """The source that is scarcest for its weight, where it decides how large the mixture is."""
        limited_by: str | None = self.manifest["mixture"].get("limited_by")
        return limited_by

    @property
    def passed_over(self) -> list[tuple[str, str, str]]:
        """Source, name and reason of files and folders that are nothing to read, evaluation sets' last."""
        passed = [(each["source"], each["name"], each["reason"]) for each in self.manifest.get("passed_over", ())]
        others = self.manifest.get("evaluation_passed_over", ())
        return passed + [("(evaluation)", name, "not a kind of set that is read") for name in others]

    @cached_property
    def licences(self) -> list[tuple[str, int]]:
        """Documents by licence, most first, "" for what is not stated."""
        found: Counter[str] = Counter()
        for of_source in self.manifest["licences"].values():
            found.update({licence: counts["documents"] for licence, counts in of_source.items()})
        return found.most_common()

    @property
    def unrecognized(self) -> int:
        """Documents whose licence is stated but not recognized, wholly or in part: it may be copyleft."""
        return sum(count for licence, count in self.licences if unrecognized(licence))

    def values(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "documents": self.total("documents"),
            "bytes": self.total("bytes"),
            "tokens": self.total("tokens"),
            "sources": {
                source: {
                    "documents": self.of(source, "documents"),
                    "bytes": self.of(source, "bytes"),
                    "tokens": self.of(source, "tokens"),
                    "share": self.share(source),
                    "wanted": self.wanted(source),
                    "tokens_available": self.available[source],
                    "languages": self.manifest["languages"].get(source, {}),
                }
                for source in self.sources
            },
            "limited_by": self.limit,
            "licences": dict(self.licences),
            "licences_not_recognized": self.unrecognized,
            "dropped": [
                dict(zip(("stage", "source", "reason", "documents", "bytes", "share"), row, strict=True))
                for row in self.dropped
            ],
            "cut": [
                dict(zip(("stage", "source", "what", "documents", "bytes", "put_in", "share"), row, strict=True))
                for row in self.cut
            ],
            "passed_over": [dict(zip(("source", "name", "reason"), row, strict=True)) for row in self.passed_over],
            "not_read": self.not_read,
            "contamination": self.contamination,
            "samples": self.manifest["samples"],
        }
