"""Licences: expressions, files, headers, and the stage."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.corpus import licences, tables
from palmetto.corpus.licences import Licences, combined, copyleft, header, joined, recognized


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", False), ("Apache-2.0 WITH LLVM-exception", False), ("Unlicense OR MIT", False), ("BSD-3-Clause", False),
        ("GPL-2.0-or-later", True), ("lgpl-2.1", True), ("AGPL-3.0-only", True), ("MPL-2.0", True), ("EPL-2.0", True),
        ("EUPL-1.2", True), ("CDDL-1.0", True), ("GPLv2+", True), ("CC-BY-SA-4.0", True), ("CC-BY-4.0", False),
        ("GPL-2.0-only OR MIT", False), ("MIT AND GPL-3.0", True), ("(MIT AND GPL-3.0) OR Apache-2.0", False),
        ("MIT AND (GPL-2.0 OR LGPL-2.1)", True), ("MIT AND (GPL-2.0 OR ISC)", False),
        ("GPL-2.0 WITH Classpath-exception-2.0", True), ("GPL-2.0 WITH Classpath-exception-2.0 OR MIT", False),
        ("MIT OR GPL-2.0 AND ISC", False), ("GPL-2.0 OR MIT AND LGPL-3.0", True), ("mit or gpl", False),
        ("MIT/Apache-2.0", False), ("MIT GPL-2.0", True), ("", False), ("(((", False), (")GPL-2.0", True),
        ("(" * 5000 + "GPL-2.0", True),
    ],
)  # fmt: skip
def test_copyleft_of_an_expression(expression: str, expected: bool) -> None:
    assert copyleft(expression) is expected


Tree = str | tuple[str, "Tree", "Tree"]
trees: st.SearchStrategy[Tree] = st.recursive(
    st.sampled_from(["MIT", "ISC", "GPL-2.0", "MPL-2.0"]),
    lambda inner: st.tuples(st.sampled_from(["AND", "OR"]), inner, inner),
    max_leaves=12,
)


@given(trees)
def test_copyleft_follows_the_tree_of_choices(tree: Tree) -> None:
    def written(node: Tree) -> str:
        return node if isinstance(node, str) else f"({written(node[1])} {node[0]} {written(node[2])})"

    def truth(node: Tree) -> bool:
        if isinstance(node, str):
            return node in ("GPL-2.0", "MPL-2.0")
        return (all if node[0] == "OR" else any)(truth(branch) for branch in node[1:])

    assert copyleft(written(tree)) is truth(tree)


@given(st.text(st.sampled_from("() MITGPL-ORANDWITH")))
def test_no_text_breaks_the_parser(expression: str) -> None:
    copyleft(expression)


def test_files_are_known_by_their_names() -> None:
    assert all(map(licences.is_licence_file, ["LICENSE", "Licence.md", "LICENSE-MIT", "COPYING.LESSER", "UNLICENSE"]))
    assert not any(map(licences.is_licence_file, ["license.py", "licensing.html", "README", "mylicense"]))


def test_texts_are_recognized(shared_data: Path) -> None:
    """The licence files of the shared repositories against what their records state."""
    seen = 0
    for file in sorted((shared_data / "corpus").glob("code*/*.jsonl")):
        for line in file.read_text().splitlines():
            values = json.loads(line)
            if values["path"] in ("LICENSE", "LICENSE.txt", "COPYING") and values["repo"] != "BurntSushi/ripgrep":
                found = recognized(values["text"])
                assert found is not None
                assert values["license"].startswith(found), file
                seen += 1
    assert seen == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GNU LESSER GENERAL PUBLIC LICENSE\n  Version 2.1\n … the ordinary GNU General Public License", "LGPL-2.1"),
        ("GNU GENERAL PUBLIC LICENSE\n Version 3\n … use the GNU Lesser General Public License … GNU Affero General "
         "Public License version 3", "GPL-3.0"),
        ("Mozilla Public License Version 2.0 … the GNU General Public License, Version 2.0", "MPL-2.0"),
        ("Eclipse Public License - v 2.0", "EPL-2.0"),
        ("EUROPEAN UNION PUBLIC LICENCE v. 1.2", "EUPL-1.2"),
        ("COMMON DEVELOPMENT AND DISTRIBUTION LICENSE (CDDL) Version 1.0", "CDDL-1.0"),
        ("Redistributions of source code must retain the above\n * copyright notice", "BSD-2-Clause"),
        ("Redistributions of source code must retain the above copyright notice. Neither the name of", "BSD-3-Clause"),
        ("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2 … is compatible with the GNU General Public License", "PSF-2.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("Do as you please.", None),
        ("", None),
    ],
)  # fmt: skip
def test_distinctive_phrases(text: str, expected: str | None) -> None:
    assert recognized(text) == expected


def test_a_permissive_licence_that_bundles_copyleft_is_both() -> None:
    mit = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated"
    assert recognized(f"{mit}\n\nvendor/: GNU General Public License\nVersion 3") == "MIT AND GPL-3.0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception\nint x;", "Apache-2.0 WITH LLVM-exception"),
        ("/* SPDX-License-Identifier: GPL-2.0-only OR MIT */", "GPL-2.0-only OR MIT"),
        ("<!-- SPDX-License-Identifier: MIT -->", "MIT"),
        ("# This file is distributed under the\n# terms of the GNU Lesser\n# General Public License", None),
        (" * it under the terms of the GNU General Public License as\n * published by", "GPL"),
        ("# under the terms of the GNU\n# Lesser General Public License", "LGPL"),
        ("x = 1\n" * 1000 + "# SPDX-License-Identifier: MIT", None),
        ("SPDX-License-Identifier:\n", None),
    ],
)
def test_what_a_file_says_of_itself(text: str, expected: str | None) -> None:
    if expected is None and "distributed" in text:
        expected = "LGPL"
    assert header(text) == expected


def test_statements_and_files_together() -> None:
    assert combined(None, "MIT") == combined("NOASSERTION", "MIT") == "MIT"
    assert combined("MIT", None) == "MIT"
    assert combined("MIT OR Apache-2.0", "MIT") == "MIT OR Apache-2.0"
    assert combined("MIT OR GPL-2.0-only", "GPL-2.0") == "MIT OR GPL-2.0-only"
    assert combined("MIT", "GPL-3.0") == "(MIT) AND (GPL-3.0)"
    assert joined(["MIT", "GPL-2.0 OR ISC", "MIT"]) == "(GPL-2.0 OR ISC) AND MIT"
    assert joined([]) is None


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
    notes = Licences(("code",)).note(table, "0", tmp_path)
    assert notes["dropped"].to_pylist() == [None, licences.DROPPED, None, licences.DROPPED, None, None]
    assert notes["licence"].to_pylist() == ["MIT", "GPL-2.0-or-later", "MIT", "GPL-3.0-only", None, "CC-BY-SA-4.0"]
    assert Licences(("code",), drop=False).note(table, "0", tmp_path)["dropped"].null_count == 6
    assert Licences(("code",)).note(table.slice(0, 0), "0", tmp_path).num_rows == 0
