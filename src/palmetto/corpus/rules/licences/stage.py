"""Defines the stage that drops copyleft code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from palmetto.corpus.engine import Engine
from palmetto.corpus.rules.licences.expressions import copyleft
from palmetto.corpus.rules.licences.headers import HINT, header
from palmetto.corpus.stage import View

DROPPED = "copyleft licence"


@dataclass(frozen=True)
class Licences:
    """The stage that drops copyleft code; the column `licence` is that of a file's header, else its repository's.

    code: the sources of code. Code without a stated licence stays, as in PaLM, with a null.
    """

    code: tuple[str, ...]
    drop: bool = True

    name = "licences"

    @property
    def identity(self) -> dict[str, Any]:
        """The parameters."""
        return {"version": 2, "code": sorted(self.code), "drop": self.drop}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Does nothing, because licence files were read with the code."""

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """Returns `dropped` and `licence` of each document."""
        licences = documents["licence"].to_pylist()
        dropped: list[str | None] = [None] * len(licences)
        hints = pc.match_substring_regex(documents["text"], HINT).to_pylist()
        for row, source in enumerate(documents["source"].to_pylist()):
            if source in self.code:
                if hints[row]:
                    licences[row] = header(documents["text"][row].as_py()) or licences[row]
                if self.drop and licences[row] is not None and copyleft(licences[row]):
                    dropped[row] = DROPPED
        return pa.table({"dropped": pa.array(dropped, pa.string()), "licence": pa.array(licences, pa.string())})
