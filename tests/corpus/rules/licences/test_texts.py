"""Tests that licences are recognized by their texts and notices."""

import json
from pathlib import Path

import pytest

from palmetto.corpus.rules.licences.expressions import copyleft
from palmetto.corpus.rules.licences.texts import recognized

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated"


def test_texts_are_recognized(shared_data: Path) -> None:
    """Compares the licence files of the shared repositories with what their records state."""
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
        (
            "GNU GENERAL PUBLIC LICENSE\n Version 3\n … use the GNU Lesser General Public License … GNU Affero General "
            "Public License version 3",
            "GPL-3.0",
        ),
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
)
def test_distinctive_phrases(text: str, expected: str | None) -> None:
    assert recognized(text) == expected


def test_a_permissive_licence_that_bundles_copyleft_is_both() -> None:
    assert recognized(f"{MIT}\n\nvendor/: GNU General Public License\nVersion 3") == "MIT AND GPL-3.0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This library is released under the GPLv3. See the site of the FSF.", "GPL-3.0"),
        ("Attribution-NonCommercial-ShareAlike 4.0 International\n\n====", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Legal Code\n\nAttribution-ShareAlike 3.0 Unported", "CC-BY-SA-3.0"),
        (
            "The kernel is provided under:\n\n\tSPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note",
            "GPL-2.0 WITH Linux-syscall-note",
        ),
        ("../others/gpl2-or-later/COPYING", "GPL-2.0-or-later"),
        ("Eclipse Public License, see the foundation's site", "EPL"),
        ("LGPL", "LGPL"),
    ],
)
def test_notices_in_place_of_a_licence(text: str, expected: str) -> None:
    assert recognized(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        f"You may choose either the MIT license or the GPL.\n\n{MIT}\n\nGNU GENERAL PUBLIC LICENSE\nVersion 2",
        f"{MIT}\n\nAlternatively, this software may be distributed under the terms of the GNU General Public License.",
        "Dual licensed under the MIT and GPL licenses.",
        "You can use it under the same terms as Perl itself.",
    ],
)
def test_a_choice_that_a_sentence_leaves(text: str) -> None:
    found = recognized(text)
    assert found is not None
    assert not copyleft(found)


def test_later_versions_are_no_choice() -> None:
    text = "Under the terms of the GNU General Public License, either version 2, or (at your option) any later version."
    found = recognized(text)
    assert found is not None
    assert copyleft(found)
