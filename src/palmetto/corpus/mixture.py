"""Chooses how much of each source is taken: shares of tokens by weight, no document twice.

PaLM (arXiv 2204.02311), section 3. The documents taken are shuffled together (tokens/packing.py), so every batch, a
function of the step alone, has the mixture in expectation.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from palmetto.corpus.engine import Engine
from palmetto.corpus.stage import View
from palmetto.errors import UserError
from palmetto.files import read_json, write_json

Ranks = npt.NDArray[np.uint64]
_BUCKETS = 1 << 16
_ALL = 1 << 64
PARTS = "parts.json"
REASON = "beyond its part of the mixture"
"""The reason noted on documents that are left out."""
LEAST = 0.01
"""The smallest share of the available tokens that a mixture limited by one source may use without an explicit budget.
"""
_LOOK = 1 << 16
"""The approximate number of documents that are tried after the first that does not fit."""


def parts(available: dict[str, int], weights: dict[str, float], budget: int | None, short: str) -> dict[str, int]:
    """Returns the number of tokens to take of each source.

    available: the tokens of each source. budget: the tokens of the mixture; None for the most that fits. short: with
    "refuse", a budget in which a source would repeat raises UserError, which names the largest that fits; with
    "redistribute", such a source is taken whole and the rest is divided among the others.
    """
    shares = _shares(weights)
    scarcest, largest = limit(available, weights)
    if budget is None and short == "refuse":
        budget = largest
        if largest < LEAST * (whole := sum(available.values())):
            raise UserError(
                f"corpus.build.sources.{scarcest}: limits the mixture to {largest:,} of "
                f"the {whole:,} tokens that are left: it has {available[scarcest]:,}, and its part is "
                f"{shares[scarcest]:.1%}; give it more text or less weight, take what it has "
                "(corpus.build.mixture.short=redistribute), or ask for so little "
                f"(corpus.build.mixture.tokens={largest})"
            )
    if budget is None:
        budget = sum(available.values())
    if short == "refuse":
        if budget > largest:
            raise UserError(
                f"corpus.build.mixture.tokens={budget}: {scarcest} would repeat: its part is "
                f"{shares[scarcest]:.1%}, and it has {available[scarcest]:,} tokens; {largest} would do, "
                "or corpus.build.mixture.short=redistribute"
            )
        exact = {name: budget * share for name, share in shares.items()}
        # In the largest mixture, a source that falls short by less than a token is taken whole despite rounding.
        return {
            name: available[name] if budget == largest and available[name] - part < 1 else int(part)
            for name, part in exact.items()
        }
    if budget > (whole := sum(available.values())):
        raise UserError(
            f"corpus.build.mixture.tokens={budget}: all sources together have {whole:,} tokens; {whole} would do"
        )
    return _redistributed(available, shares, budget)


def limit(available: dict[str, int], weights: dict[str, float]) -> tuple[str, int]:
    """Returns the source that is scarcest for its weight, and the largest mixture in which it does not repeat."""
    shares = _shares(weights)
    scarcest = min(shares, key=lambda name: available[name] / shares[name])
    return scarcest, int(available[scarcest] / shares[scarcest])


def _shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _redistributed(available: dict[str, int], shares: dict[str, float], budget: int) -> dict[str, int]:
    """Takes sources with less than their part whole and divides the rest by weight, until no source falls short."""
    whole: set[str] = set()
    while True:
        left = budget - sum(available[name] for name in whole)
        weight = sum(share for name, share in shares.items() if name not in whole)
        wanted = {name: left * share / weight for name, share in shares.items() if name not in whole}
        scarce = {name for name, part in wanted.items() if available[name] <= part}
        if not scarce:
            return {name: int(wanted[name]) if name in wanted else available[name] for name in shares}
        whole |= scarce


@dataclass(frozen=True)
class Mixture:
    """The stage that drops what exceeds each source's part.

    Documents are taken in the order of their ids, which are hashes, while they fit. After the first that does not fit,
    those of the next 65,536 or so that still fit are taken too.
    """

    weights: tuple[tuple[str, float], ...]
    budget: int | None
    short: str
    name: str = "mixture"

    @property
    def identity(self) -> dict[str, Any]:
        """The weights, the budget and the rule for a source that falls short."""
        return {"version": 2, "weights": self.weights, "budget": self.budget, "short": self.short}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Finds which documents of each source fit.

        Ids and tokens are read twice; at any time only those of a few of 65,536 ranges of ids are in memory.
        """
        path = folder / PARTS
        if path.exists():
            return
        sums = {name: _Sums(np.zeros(_BUCKETS, np.int64), np.zeros(_BUCKETS, np.int64)) for name, _ in self.weights}
        for shard, found in zip(view.shards, engine.map(partial(_by_bucket, view), view.shards), strict=True):
            of_source = sums[_source(shard)]
            of_source.tokens[found.buckets] += found.tokens
            of_source.documents[found.buckets] += found.documents
        available = {name: int(of_source.tokens.sum()) for name, of_source in sums.items()}
        for name, tokens_there in available.items():
            if not tokens_there:
                raise UserError(
                    f"corpus.build.sources.{name}: nothing of it is left; leave it out, or loosen the rules that "
                    "dropped it (the lines above)"
                )
        wanted = parts(available, dict(self.weights), self.budget, self.short)
        limited = self.budget is None and self.short == "refuse" and sum(wanted.values()) < sum(available.values())
        taken = _taken(view, engine, sums, wanted)
        write_json(
            path,
            {
                "available": available,
                "wanted": wanted,
                "limited_by": limit(available, dict(self.weights))[0] if limited else None,
                "ends": {name: str(of_source.end) for name, of_source in taken.items()},
                "beyond": {name: [str(rank) for rank in of_source.beyond] for name, of_source in taken.items()},
            },
        )

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Keeps the documents whose rank is before their source's end, and the later ones that still fit."""
        values, source = read_json(folder / PARTS), _source(shard)
        end, beyond = int(values["ends"][source]), {int(rank) for rank in values["beyond"][source]}
        ranks = [int(document_id[:16], 16) for document_id in documents["id"].to_pylist()]
        dropped = [None if rank < end or rank in beyond else REASON for rank in ranks]
        return pa.table({"dropped": pa.array(dropped, pa.string())})


class _Sums(NamedTuple):
    """Tokens and documents by bucket, the first 16 bits of an id."""

    tokens: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]


class _Buckets(NamedTuple):
    """Tokens and documents of one shard, for the buckets that occur in it."""

    buckets: Ranks
    tokens: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]


class _Ranked(NamedTuple):
    """Tokens by rank, the first 64 bits of an id."""

    ranks: Ranks
    tokens: npt.NDArray[np.int64]


class _Taken(NamedTuple):
    """The rank of the first document that does not fit, and the later ranks that do."""

    end: int
    beyond: tuple[int, ...]


def _source(shard: str) -> str:
    return shard.partition("/")[0]


def _ranked(view: View, shard: str) -> _Ranked:
    documents = view.read(shard, ["id", "tokens"])
    ranks = np.array([int(document_id[:16], 16) for document_id in documents["id"].to_pylist()], np.uint64)
    return _Ranked(ranks, documents["tokens"].to_numpy())


def _by_bucket(view: View, shard: str) -> _Buckets:
    """Returns each bucket of the shard once, with the sum of its tokens."""
    ranks, tokens = _ranked(view, shard)
    buckets, inverse, documents = np.unique(ranks >> np.uint64(48), return_inverse=True, return_counts=True)
    sums = np.zeros(len(buckets), np.int64)
    np.add.at(sums, inverse, tokens)
    return _Buckets(buckets, sums, documents)


def _within(view: View, ranges: dict[str, tuple[int, int]], shard: str) -> _Ranked:
    """Returns the documents of the shard in its source's range of buckets."""
    ranks, tokens = _ranked(view, shard)
    first, after = ranges[_source(shard)]
    buckets = ranks >> np.uint64(48)
    there = (first <= buckets) & (buckets < after)
    return _Ranked(ranks[there], tokens[there])


def _taken(view: View, engine: Engine, sums: dict[str, _Sums], wanted: dict[str, int]) -> dict[str, _Taken]:
    """Returns the documents of each source that fit into the tokens wanted of it."""
    ranges, rooms = {}, {}
    for name, of_source in sums.items():
        before = np.concatenate([[0], np.cumsum(of_source.tokens)])
        first = int(np.searchsorted(before, wanted[name], "right")) - 1
        rooms[name] = wanted[name] - int(before[first])
        looked_at = np.cumsum(of_source.documents[first + 1 :])
        ranges[name] = first, first + 2 + int(np.searchsorted(looked_at, _LOOK))
    inside: dict[str, list[_Ranked]] = {name: [] for name in sums}
    within = partial(_within, view, ranges)
    for shard, found in zip(view.shards, engine.map(within, view.shards), strict=True):
        inside[_source(shard)].append(found)
    return {name: _fill(inside[name], rooms[name]) for name in sums}


def _fill(parts_of: list[_Ranked], room: int) -> _Taken:
    """Takes documents in the order of their ranks while there is room, then each later one that still fits."""
    ranks, tokens = (np.concatenate(of_all) for of_all in zip(*parts_of, strict=True))
    order = np.argsort(ranks, kind="stable")
    ranks, tokens = ranks[order], tokens[order]
    taken = np.cumsum(tokens)
    count = int(np.searchsorted(taken, room, "right"))
    if count == len(ranks):
        return _Taken(_ALL, ())
    left = room - int(taken[count - 1] if count else 0)
    beyond = []
    for rank, size in zip(ranks[count + 1 :].tolist(), tokens[count + 1 :].tolist(), strict=True):
        if size <= left:
            beyond.append(rank)
            left -= size
    return _Taken(int(ranks[count]), tuple(beyond))
