"""Defines the stage that masks personal data."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus import tables
from palmetto.corpus.engine import Engine
from palmetto.corpus.rules.personal_data.finding import KINDS, find
from palmetto.corpus.stage import View
from palmetto.recipe.corpus import Build

_VERSION = 2
MASKED = pa.map_(pa.string(), pa.int32())
"""The number of times that each kind was masked."""


@dataclass(frozen=True)
class PersonalData:
    """The stage that replaces personal data by <EMAIL>, <PHONE>, <IP>, <KEY>, <SECRET>, <CARD>, <IBAN> and <ID>.

    kinds: the kind of each source. In code, whose numbers have other meanings, only mail addresses, IP addresses, keys
    and secrets are masked.
    """

    kinds: dict[str, str]
    name: str = field(default="personal data", init=False)

    @classmethod
    def of(cls, build: Build) -> "PersonalData":
        """Returns the recipe's stage."""
        return cls({name: source.kind for name, source in build.sources.items()})

    @property
    def identity(self) -> dict[str, Any]:
        """The kinds of the sources."""
        return {"version": _VERSION, "kinds": self.kinds}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Does nothing, because each document is searched by itself."""

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Adds `edits`, and `masked`, how often each kind was masked; drops nothing."""
        texts = documents["text"].combine_chunks()
        hinted = {
            hint: pc.match_substring_regex(texts, hint).to_numpy(zero_copy_only=False)
            for hint in dict.fromkeys(kind.hint for kind in KINDS)
        }
        hints = [hinted[kind.hint] for kind in KINDS]
        sources = documents["source"].to_pylist()
        edits: list[list[dict[str, Any]] | None] = [None] * len(documents)
        masked: list[list[tuple[str, int]] | None] = [None] * len(documents)
        for row in np.flatnonzero(np.any(hints, axis=0)) if len(documents) else ():
            code = self.kinds.get(sources[row]) == "code"
            kinds = [kind for kind, hint in zip(KINDS, hints, strict=True) if hint[row] and (kind.in_code or not code)]
            found = sorted(find(texts[row].as_py(), kinds))
            if found:
                edits[row] = [{"start": start, "end": end, "text": f"<{kind.upper()}>"} for start, end, kind in found]
                masked[row] = sorted(Counter(kind for _, _, kind in found).items())
        return pa.table(
            {
                "dropped": pa.nulls(len(documents), pa.string()),
                "edits": pa.array(edits, tables.EDITS),
                "masked": pa.array(masked, MASKED),
            }
        )
