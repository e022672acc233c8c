"""The stage that keeps copyleft code out."""

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
    """The stage that keeps copyleft code out. Notes `licence`: a file's own header, if it has none its repository's.

    code: the sources of code. Code that says nothing of its licence stays, as in PaLM, with a null.
    """

    code: tuple[str, ...]
    drop: bool = True

    name = "licences"

    @property
    def identity(self) -> dict[str, Any]:
        return {"version": 2, "code": sorted(self.code), "drop": self.drop}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Nothing: licence files have been read with the code."""

    def note(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        """`dropped` and `licence`, a row a document."""
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
