"""Tests the stage that drops copyleft code."""

from pathlib import Path

import pyarrow as pa

from palmetto.corpus import tables
from palmetto.corpus.rules.licences.stage import DROPPED, Licences


def documents(rows: list[tuple[str, str, str | None]]) -> pa.Table:
    names = [str(number) for number in range(len(rows))]
    return pa.table(
        {
            "id": names,
            "source": [source for source, _, _ in rows],
            "name": names,
            "text": [text for _, text, _ in rows],
            "url": [None] * len(rows),
            "licence": [licence for _, _, licence in rows],
            "language": [None] * len(rows),
        },
        schema=tables.DOCUMENTS,
    )


def test_the_stage_drops_copyleft_code_alone(tmp_path: Path) -> None:
    table = documents(
        [
            ("code", "x", "MIT"),
            ("code", "x", "GPL-2.0-or-later"),
            ("code", "// SPDX-License-Identifier: MIT", "GPL-3.0"),
            ("code", "// SPDX-License-Identifier: GPL-3.0-only", "MIT"),
            ("code", "x", None),
            ("books", "the SPDX-License-Identifier: GPL-2.0", "CC-BY-SA-4.0"),
        ]
    )
    notes = Licences(("code",)).annotate(table, "0", tmp_path)
    assert notes["dropped"].to_pylist() == [None, DROPPED, None, DROPPED, None, None]
    assert notes["licence"].to_pylist() == ["MIT", "GPL-2.0-or-later", "MIT", "GPL-3.0-only", None, "CC-BY-SA-4.0"]
    assert Licences(("code",), drop=False).annotate(table, "0", tmp_path)["dropped"].null_count == 6
    assert Licences(("code",)).annotate(table.slice(0, 0), "0", tmp_path).num_rows == 0
