"""How much of each source is taken: shares of tokens by weight, no document twice (PaLM, arXiv 2204.02311, section 3).

What is taken is shuffled as one (tokens/packing.py), so that the batch of any step, a function of the step alone, has
the mixture in expectation.
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
REASON = "beyond its part of the mixture"


def parts(available: dict[str, int], weights: dict[str, float], budget: int | None, short: str) -> dict[str, int]:
    """Tokens to take of each source.

    available: tokens of each. budget: of all; None: the largest that fits. short: "refuse" a budget in which a source
    would repeat (UserError names the largest that fits), or "redistribute": take all of it, and share out the rest.
    """
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}
    scarcest = min(shares, key=lambda name: available[name] / shares[name])
    largest = int(available[scarcest] / shares[scarcest])
    if budget is None:
        budget = largest if short == "refuse" else sum(available.values())
    if short == "refuse":
        if budget > largest:
            raise UserError(f"corpus.build.mixture.tokens={budget}: {scarcest} would repeat: its part is "
                            f"{shares[scarcest]:.1%}, and it has {available[scarcest]:,} tokens; {largest} would do, "
                            "or corpus.build.mixture.short=redistribute")  # fmt: skip
        return {name: int(budget * share) for name, share in shares.items()}
    if budget > (whole := sum(available.values())):
        raise UserError(f"corpus.build.mixture.tokens={budget}: all sources together have {whole:,} tokens; "
                        f"{whole} would do")  # fmt: skip
    return _redistributed(available, shares, budget)


def _redistributed(available: dict[str, int], shares: dict[str, float], budget: int) -> dict[str, int]:
    """Sources that have less than their part are taken whole, the others by weight, until none has."""
    whole: set[str] = set()
    while True:
        left = budget - sum(available[name] for name in whole)
        weight = sum(share for name, share in shares.items() if name not in whole)
        scarce = {name for name, share in shares.items()
                  if name not in whole and available[name] <= left * share / weight}  # fmt: skip
        if not scarce:
            return {name: available[name] if name in whole else int(left * share / weight)
                    for name, share in shares.items()}  # fmt: skip
        whole |= scarce


@dataclass(frozen=True)
class Mixture:
    """Drops what is beyond each source's part: documents are taken by the order of their ids, which are hashes."""

    weights: tuple[tuple[str, float], ...]
    budget: int | None
    short: str
    name: str = "mixture"

    @property
    def identity(self) -> dict[str, Any]:
        """Weights, budget and what if a source is short."""
        return {"version": 1, "weights": self.weights, "budget": self.budget, "short": self.short}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Finds how far each source is taken. Ids and tokens are read twice; held are those of one 65,536th of them."""
        path = folder / "parts.json"
        if path.exists():
            return
        sums = {name: np.zeros(_BUCKETS, np.int64) for name, _ in self.weights}
        for shard, found in zip(view.shards, engine.map(partial(_by_bucket, view), view.shards), strict=True):
            sums[_source(shard)][found.ranks] += found.tokens
        available = {name: int(of_source.sum()) for name, of_source in sums.items()}
        for name, tokens_there in available.items():
            if not tokens_there:
                raise UserError(f"corpus.build.sources.{name}: nothing of it is left; leave it out, or loosen what "
                                "dropped it (the lines above)")  # fmt: skip
        wanted = parts(available, dict(self.weights), self.budget, self.short)
        ends = _ends(view, engine, sums, wanted)
        write_json(path, {"available": available, "wanted": wanted, "ends": {k: str(end) for k, end in ends.items()}})

    def note(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Keeps documents whose rank is before their source's end."""
        ends = {name: int(end) for name, end in read_json(folder / "parts.json")["ends"].items()}
        end = ends[_source(shard)]
        kept = [int(document_id[:16], 16) < end for document_id in documents["id"].to_pylist()]
        return pa.table({"dropped": pa.array([None if keep else REASON for keep in kept], pa.string())})


class _Ranked(NamedTuple):
    """Tokens by rank, the first 64 bits of an id, or by bucket, the first 16."""

    ranks: Ranks
    tokens: npt.NDArray[np.int64]


def _source(shard: str) -> str:
    return shard.partition("/")[0]


def _ranked(view: View, shard: str) -> _Ranked:
    documents = view.read(shard, ["id", "tokens"])
    ranks = np.array([int(document_id[:16], 16) for document_id in documents["id"].to_pylist()], np.uint64)
    return _Ranked(ranks, documents["tokens"].to_numpy())


def _by_bucket(view: View, shard: str) -> _Ranked:
    """Each bucket once, with the sum of its tokens."""
    ranks, tokens = _ranked(view, shard)
    buckets, inverse = np.unique(ranks >> np.uint64(48), return_inverse=True)
    sums = np.zeros(len(buckets), np.int64)
    np.add.at(sums, inverse, tokens)
    return _Ranked(buckets, sums)


def _within(view: View, buckets: dict[str, int], shard: str) -> _Ranked:
    """The documents of one bucket of the shard's source."""
    ranks, tokens = _ranked(view, shard)
    there = (ranks >> np.uint64(48)) == buckets[_source(shard)]
    return _Ranked(ranks[there], tokens[there])


def _ends(view: View, engine: Engine, sums: dict[str, npt.NDArray[np.int64]], wanted: dict[str, int]) -> dict[str, int]:
    """The rank of the first document that is not taken, by source: those before it come nearest to what is wanted."""
    cut = {}
    for name, of_source in sums.items():
        before = np.concatenate([[0], np.cumsum(of_source)])
        bucket = int(np.searchsorted(before, wanted[name], "right")) - 1
        cut[name] = bucket, wanted[name] - int(before[min(bucket, _BUCKETS)])
    inside: dict[str, list[_Ranked]] = {name: [] for name in sums}
    within = partial(_within, view, {name: bucket for name, (bucket, _) in cut.items()})
    for shard, found in zip(view.shards, engine.map(within, view.shards), strict=True):
        inside[_source(shard)].append(found)
    ends = {}
    for name, (bucket, room) in cut.items():
        ranks, tokens = (np.concatenate(of_all) for of_all in zip(*inside[name], strict=True))
        order = np.argsort(ranks, kind="stable")
        taken = np.concatenate([[0], np.cumsum(tokens[order])])
        count = int(np.argmin(np.abs(taken - room)))
        ends[name] = int(ranks[order[count]]) if count < len(order) else min((bucket + 1) << 48, _ALL)
    return ends
