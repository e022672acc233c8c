"""Tests which files state a licence."""

import pytest

from palmetto.corpus.rules.licences import file_lists, files, readme


def test_files_are_known_by_their_names() -> None:
    assert all(map(files.is_licence_file, ["LICENSE", "Licence.md", "LICENSE-MIT", "COPYING.LESSER", "UNLICENSE"]))
    assert not any(map(files.is_licence_file, ["license.py", "licensing.html", "README", "mylicense"]))
    assert all(
        map(
            files.is_licence_file, ["GPL.txt", "gpl-3.0.txt", "COPYRIGHT", "MIT-LICENSE.txt", "lgpl-2.1", "LICENSE.GPL"]
        )
    )
    assert not any(map(files.is_licence_file, ["gpl.py", "copyright.c", "mit.js", "copyrights.csv", "AUTHORS"]))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/LICENSE", ("a", "text")),
        ("a/license/LICENSE", ("a", "text")),
        ("a/LICENSES/GPL-3.0-only.txt", ("a", "text")),
        ("a/LICENSES/GPL-3.0", ("a", "text")),
        ("a/license/check.py", None),
        ("debian/copyright", (".", "list")),
        ("REUSE.toml", (".", "list")),
        ("a/b/Cargo.toml", ("a/b", "manifest")),
        ("README", (".", "readme")),
        ("a/readme.py", None),
    ],
)
def test_the_folder_that_a_file_speaks_for(path: str, expected: tuple[str, str] | None) -> None:
    assert files.place(path) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Tool\n\n## License\n\nGPLv2\n", "GPL-2.0"),
        ("Tool\n====\n\nLicence\n-------\n\nAGPL-3.0, see COPYING.\n\nMore\n----\nMIT", "AGPL-3.0"),
        ("# Tool\nThis library is distributed under the terms of the LGPL.\n", "LGPL"),
        (
            "# Tool\n[![License: GPL v3](https://img.shields.io/x.svg)](https://www.gnu.org/licenses/gpl-3.0)\n",
            "GPL-3.0",
        ),
        ("# Tool\n## License\nDual licensed under MIT or GPL-2.0.\n", "MIT OR GPL-2.0"),
        ("# Tool\nIt uses foo, which is licensed under the GPL.\n", None),
        ("# Tool\nIt finds out where the GPL is used.\n", None),
        ("# Tool\n## License\nSee LICENSE.\n", None),
    ],
)
def test_readme(text: str, expected: str | None) -> None:
    assert readme.stated(text) == expected


def test_lists_say_which_files_have_which_licence() -> None:
    debian = (
        "Format: x\n\nFiles: *\nLicense: MIT\n\nFiles: src/a.c tools/*\nLicense: GPL-2+\n The text.\n\n"
        "License: GPL-2+\n Text"
    )
    reuse = (
        'version = 1\n[[annotations]]\npath = "**"\nSPDX-License-Identifier = "MIT"\n'
        '[[annotations]]\npath = ["src/*.c", "tools/**"]\nSPDX-License-Identifier = "GPL-2.0-only"\n'
    )
    for path, text in (("debian/copyright", debian), ("REUSE.toml", reuse)):
        statement = files.statement(path, "list", text)
        licences = [statement.of(each) for each in ("x.c", "src/a.c", "tools/b/c.py", "src/d/a.c")]
        assert [licence is not None and licence.startswith("GPL") for licence in licences] == [False, True, True, False]
    words = file_lists.read(
        "copyright", "It is free software under the terms of the GNU General Public License version 2."
    )
    assert [licence for _, licence in words] == ["GPL-2.0"]
    assert file_lists.read("REUSE.toml", "no toml at all [") == ()
