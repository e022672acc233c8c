"""Derives the datasheet's numbers from a corpus's manifest."""

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
"""The text that each stage cuts within documents that stay."""


class Sheet:
    """The numbers of a datasheet. manifest: as `palmetto.corpus.build` writes it."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self.sources: list[str] = list(manifest["recipe"]["sources"])
        self.available: dict[str, int] = manifest["mixture"]["available"]
        self.not_read: list[dict[str, Any]] = manifest["not_read"]
        self.contamination: dict[str, dict[str, int]] = manifest.get("contamination", {})

    def of(self, source: str, quantity: str) -> int:
        """Returns the documents, bytes or tokens that are taken of a source."""
        return sum(counts[quantity] for counts in self.manifest["languages"].get(source, {}).values())

    def total(self, quantity: str) -> int:
        """Returns the sum over all sources."""
        return sum(self.of(source, quantity) for source in self.sources)

    def share(self, source: str) -> float:
        """Returns the source's share of the tokens."""
        return self.of(source, "tokens") / max(1, self.total("tokens"))

    def wanted(self, source: str) -> float:
        """Returns the source's share of the tokens that the weights ask for."""
        wanted = self.manifest["mixture"]["wanted"]
        return wanted[source] / max(1, sum(wanted.values()))

    @cached_property
    def languages(self) -> dict[str, dict[str, int]]:
        """Tokens by language, then source; the largest language first, "" for unknown."""
        found: dict[str, dict[str, int]] = {}
        for source, of_source in self.manifest["languages"].items():
            for language, counts in of_source.items():
                found.setdefault(language, {})[source] = counts["tokens"]
        return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])))

    @property
    def read(self) -> int:
        """The bytes of text that were read."""
        return sum(size for _, size in self.manifest["stages"][0]["before"].values())

    @property
    def flow(self) -> list[tuple[str, dict[str, int]]]:
        """The bytes by source, as read and after each stage that changed them."""
        stages = self.manifest["stages"]
        found = [("read", {source: size for source, (_, size) in stages[0]["before"].items()})]
        for stage in stages:
            after = {source: size for source, (_, size) in stage["after"].items()}
            if after != found[-1][1]:
                found.append((stage["name"], after))
        return found

    @property
    def dropped(self) -> list[tuple[str, str, str, int, int, float]]:
        """Rows in stage order: stage, source, reason, documents, bytes, and the bytes as a share of those read of
        the source.
        """
        had = {source: size for source, (_, size) in self.manifest["stages"][0]["before"].items()}
        return [
            (stage["name"], source, reason, count, size, size / max(1, had[source]))
            for stage in self.manifest["stages"]
            for source, reasons in stage["dropped"].items()
            for reason, (count, size) in sorted(reasons.items(), key=lambda item: -item[1][0])
        ]

    @property
    def cut(self) -> Iterator[tuple[str, str, str, int, int, int, float]]:
        """Rows in stage order: stage, source, what was cut, documents, bytes cut, bytes put in, and the cut share.

        Only documents that stay are counted; the share is of the bytes read of the source.
        """
        had = {source: size for source, (_, size) in self.manifest["stages"][0]["before"].items()}
        for stage in self.manifest["stages"]:
            for source, (count, size, put) in stage.get("cut", {}).items():
                what = WITHIN.get(stage["name"], "parts of texts")
                yield stage["name"], source, what, count, size, put, size / max(1, had[source])

    @property
    def balance(self) -> tuple[int, int, int]:
        """The bytes in documents that were left out, the bytes cut within others, and the bytes put in.

        The bytes read and put in equal the bytes in the corpus, left out and cut.
        """
        cuts = list(self.cut)
        return sum(row[4] for row in self.dropped), sum(row[4] for row in cuts), sum(row[5] for row in cuts)

    @property
    def limit(self) -> str | None:
        """The source that is scarcest for its weight, if it determines the size of the mixture."""
        limited_by: str | None = self.manifest["mixture"].get("limited_by")
        return limited_by

    @property
    def passed_over(self) -> list[tuple[str, str, str]]:
        """The source, name and reason of files and folders without readable content; those of evaluation sets come
        last.
        """
        passed = [(each["source"], each["name"], each["reason"]) for each in self.manifest.get("passed_over", ())]
        others = self.manifest.get("evaluation_passed_over", ())
        return passed + [("(evaluation)", name, "not a kind of set that is read") for name in others]

    @cached_property
    def licences(self) -> list[tuple[str, int]]:
        """The documents by licence, the most frequent first; "" if none is stated."""
        found: Counter[str] = Counter()
        for of_source in self.manifest["licences"].values():
            found.update({licence: counts["documents"] for licence, counts in of_source.items()})
        return found.most_common()

    @property
    def unrecognized(self) -> int:
        """The documents whose stated licence is not fully recognized and may therefore be copyleft."""
        return sum(count for licence, count in self.licences if unrecognized(licence))

    def values(self) -> dict[str, Any]:
        """Returns the datasheet as JSON values."""
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
