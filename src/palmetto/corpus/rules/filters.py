"""Defines the stage that drops what is not running text, by Gopher's rules and C4's (gopher.py and c4.py list them)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus import tables
from palmetto.corpus.engine import Engine
from palmetto.corpus.reading.listing import irregular
from palmetto.corpus.rules import c4, gopher
from palmetto.corpus.stage import View
from palmetto.corpus.text.rolling import Hashes
from palmetto.corpus.text.words import LONGEST, batches
from palmetto.errors import UserError
from palmetto.recipe.corpus import Build
from palmetto.recipe.corpus import Filters as Settings

_VERSION = 1


@dataclass(frozen=True)
class Filters:
    """The stage that judges prose; sources that are not in `rules`, or whose rules are "none", are not changed.

    A text of more than words.LONGEST characters is dropped, as no page or book is so long. rules: "gopher", "c4" or
    "both", by source. bad_words: for C4's rule, in any case; empty to disable it.
    """

    settings: Settings
    rules: Mapping[str, str]
    bad_words: tuple[str, ...] = ()
    name: str = field(default="filters", init=False)

    @classmethod
    def of(cls, build: Build) -> "Filters":
        """Returns the recipe's stage; raises UserError if its list of bad words cannot be read."""
        rules = {
            name: source.filters or build.filters.rules
            for name, source in build.sources.items()
            if source.kind == "prose"
        }
        return cls(build.filters, rules, _bad_words(build))

    @property
    def identity(self) -> dict[str, Any]:
        """The rules and their parameters."""
        settings = self.settings.model_dump(include={"minimum_words", "maximum_words"})
        return {"version": _VERSION, "rules": dict(self.rules), "bad_words": self.bad_words, **settings}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Does nothing, because each document is judged by itself."""

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Drops each document for the first rule that it breaks, Gopher's before C4's; `edits` are the lines that
        C4's rules cut.
        """
        reasons = np.full(len(documents), None, object)
        edits = pa.nulls(len(documents), tables.EDITS)
        names = documents["source"].to_pylist()
        for rules in ("gopher", "c4", "both"):
            rows = np.flatnonzero([self.rules.get(name) == rules for name in names])
            if not len(rows):
                continue
            chosen = documents.select(["text", "language"]).take(rows)
            found, cut = self._judge(chosen, rules)
            reasons[rows] = found
            back = np.full(len(documents), -1)
            back[rows] = np.arange(len(rows))
            cut = cut.take(pa.array(back, mask=back < 0))
            edits = pc.if_else(pa.array(back >= 0), cut, edits)
        dropped = pa.array(reasons, pa.string())
        stays = pc.is_null(dropped)
        return pa.table({"dropped": dropped, "edits": pc.if_else(stays, edits, pa.scalar(None, tables.EDITS))})

    def _judge(self, documents: pa.Table, rules: str) -> tuple[npt.NDArray[np.object_], pa.Array]:
        """Returns the reasons and the edits of documents that have the same rules."""
        languages = documents["language"].to_pylist()
        too_long = pc.greater(pc.utf8_length(documents["text"]), LONGEST).combine_chunks()
        texts_of = pc.if_else(too_long, "", documents["text"].combine_chunks())
        bad_words = _hashes(self.bad_words)
        reasons, edits = [], []
        for start, texts in batches(pa.chunked_array([texts_of])):
            stop = start + len(texts)
            tokens, lines = texts.tokens(), texts.lines()
            here = too_long.slice(start, len(texts)).to_numpy(zero_copy_only=False)
            verdicts: gopher.Verdicts = [("too many characters", here)]
            cut = pa.nulls(len(texts), tables.EDITS)
            if rules != "c4":
                verdicts += gopher.judge(texts, tokens, lines, languages[start:stop], self.settings)
            if rules != "gopher":
                of_c4, spans = c4.judge(texts_of.slice(start, len(texts)), texts, tokens, lines, bad_words)
                verdicts += of_c4
                cut = c4.edits(texts, spans)
            first = np.full(len(texts), None, object)
            for reason, broken in reversed(verdicts):
                first[broken] = reason
            reasons.append(first)
            edits.append(cut)
        return np.concatenate(reasons), pa.concat_arrays(edits)


def _bad_words(build: Build) -> tuple[str, ...]:
    if build.filters.bad_words is None:
        return ()
    path = Path(build.root or ".") / os.path.expanduser(build.filters.bad_words)
    if what := irregular(str(path)):
        raise UserError(f"corpus.build.filters.bad_words: {path}: {what}; it is read several times")
    try:
        return tuple(sorted({line.strip() for line in path.read_text().splitlines() if line.strip()}))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"corpus.build.filters.bad_words: {path}: cannot be read ({error})") from None


def _hashes(words: tuple[str, ...]) -> Hashes:
    if not words:
        return np.zeros(0, np.uint64)
    _, texts = next(batches(pa.chunked_array([pa.array(words, pa.large_string())])))
    return np.sort(texts.hash(texts.bounds[:-1], texts.bounds[1:] - 1))
