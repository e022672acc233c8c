"""Tests that a file's licence follows from the files around it, however its path is given."""

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from palmetto.corpus.reading.dispatch import read
from palmetto.corpus.reading.finding import find
from palmetto.corpus.reading.records import Record
from palmetto.corpus.rules.licences.expressions import UNRECOGNIZED, copyleft
from palmetto.recipe.corpus import Source

GPL = "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n"
MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated\n"

FILES = {
    "text/LICENSE": GPL,
    "short/LICENSE": "Released under the GPLv3.\n",
    "named/gpl-3.0.txt": "",
    "copyright/COPYRIGHT": GPL,
    "folder/license/LICENSE": GPL,
    "reuse/LICENSES/LGPL-3.0-only.txt": "the text\n",
    "debian/debian/copyright": "Format: x\n\nFiles: *\nLicense: GPL-3+\n",
    "readme/README.md": "# Tool\n\nThis project is licensed under the GNU GPL v3.\n",
    "section/README": "Tool\n\nLicense\n-------\nGPLv2\n",
    "npm/package.json": '{"license": "AGPL-3.0"}',
    "crate/Cargo.toml": '[package]\nlicense = "GPL-3.0"\n',
    "wheel/pyproject.toml": '[project]\nlicense = "MPL-2.0"\n',
    "odd/LICENSE": GPL,
    "odd/src/LICENSE": "Do as you please.\n",
    "vendor/LICENSE": MIT,
    "vendor/src/README.md": "# Part\nThis plugin is released under the GPL.\n",
    "linked/LICENSE": "../gpl2-text/COPYING\n",
    "two/COPYING": GPL,
    "two/package.json": '{"license": "MIT"}',
}
"""The files of repositories under copyleft; each repository has src/a.py besides."""
FREE = {
    "mit/LICENSE": MIT,
    "mit/README.md": "# Tool\nA parser of texts such as the GPL. Its icons are released under CC-BY-SA 3.0.\n",
    "inner/LICENSE": GPL,
    "inner/src/LICENSE": MIT,
    "dual/LICENSE-MIT": MIT,
    "dual/LICENSE-APACHE": "Apache License\nVersion 2.0, January 2004\n",
    "choice/LICENSE": f"You may choose either the MIT license or the GPL version 3.\n{MIT}\n{GPL}",
    "manifest/LICENSE-MIT": MIT,
    "manifest/COPYING": GPL,
    "manifest/Cargo.toml": '[package]\nlicense = "MIT OR GPL-3.0"\n',
    "list/COPYING": GPL,
    "list/REUSE.toml": 'version = 1\n[[annotations]]\npath = "**"\nSPDX-License-Identifier = "GPL-3.0-only"\n'
    '[[annotations]]\npath = "src/**"\nSPDX-License-Identifier = "MIT"\n',
    "none/notes.md": "GPL\n",
}
WAYS = ("{0}", "{0}/**/*.py", "{0}/*/src", "{0}/*/src/a.py")


def repositories() -> Iterator[tuple[str, str]]:
    for name, text in {**FILES, **FREE}.items():
        yield f"repos/{name}", text
        yield f"repos/{name.split('/')[0]}/src/a.py", "x = 1\n"


def judged(paths: list[str], root: str | None) -> dict[str, str | None]:
    """Returns the licence of each repository's file."""
    source = Source.model_validate({"paths": paths, "kind": "code"})
    items = [item for file in find(source, root, "code").files for item in read(file, source)]
    return {item.name.split("repos/")[1].split("/")[0]: item.licence for item in items if isinstance(item, Record)}


def check(found: dict[str, str | None]) -> None:
    right = {name.split("/")[0]: True for name in FILES} | {name.split("/")[0]: False for name in FREE}
    assert {name: copyleft(licence or "") for name, licence in found.items()} == right


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("absolute", [False, True])
def test_licences_around_files(way: str, absolute: bool, tmp_path: Path) -> None:
    for name, text in repositories():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    paths = [way.format(tmp_path / "repos" if absolute else "repos")]
    check(judged(paths, None if absolute else str(tmp_path)))


@pytest.mark.parametrize("way", WAYS[:2])
def test_licences_around_files_at_an_address(way: str) -> None:
    system = fsspec.filesystem("memory")
    for name, text in repositories():
        system.pipe(f"/corpus/{name}", text.encode())
    try:
        check(judged([way.format("repos")], "memory://corpus"))
    finally:
        system.store.clear()


def test_a_licence_not_understood_is_reported_beside_others(tmp_path: Path) -> None:
    for name, text in repositories():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "repos/none/LICENSE").write_text("Ask us first.\n")
    found = judged(["repos"], str(tmp_path))
    assert found["odd"] == f"GPL-3.0 AND {UNRECOGNIZED}"
    assert found["none"] == UNRECOGNIZED


def test_no_licence_above_the_root_counts(tmp_path: Path) -> None:
    (tmp_path / "root/repos/r").mkdir(parents=True)
    (tmp_path / "root/repos/r/a.py").write_text("x = 1\n")
    (tmp_path / "LICENSE").write_text(GPL)
    assert judged(["repos"], str(tmp_path / "root")) == {"r": None}
    (tmp_path / "root/LICENSE").write_text(MIT)
    assert judged(["repos/r/a.py"], str(tmp_path / "root")) == {"r": "MIT"}


def test_a_checkout_ends_the_search_outside_the_root(tmp_path: Path) -> None:
    (tmp_path / "repos/r/src").mkdir(parents=True)
    (tmp_path / "repos/r/.git").mkdir()
    (tmp_path / "repos/r/src/a.py").write_text("x = 1\n")
    (tmp_path / "repos/LICENSE").write_text(GPL)
    assert judged([str(tmp_path / "repos/r/src")], None) == {"r": None}
    (tmp_path / "repos/r/LICENSE").write_text(MIT)
    assert judged([str(tmp_path / "repos/r/src")], None) == {"r": "MIT"}


def test_a_link_to_nothing_says_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "repos/r").mkdir(parents=True)
    (tmp_path / "repos/r/a.py").write_text("x = 1\n")
    os.symlink("../../common/gpl-2.0.txt", tmp_path / "repos/r/LICENSE")
    assert judged(["repos"], str(tmp_path)) == {"r": "GPL-2.0"}


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    fill = {"a/src/a.py": "x = 1\n", "a/COPYING": GPL}
    for name, text in fill.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "a" / "LICENSE")
    source = Source(paths=("a",), kind="code")
    (file,) = (each for each in find(source, str(tmp_path), "s").files if each.kind == "code")
    (record,) = read(file, source)
    assert isinstance(record, Record)
    assert record.licence is not None
    assert copyleft(record.licence)


def test_a_changed_licence_changes_what_a_file_is_known_by(tmp_path: Path) -> None:
    (tmp_path / "repos/r/src").mkdir(parents=True)
    (tmp_path / "repos/r/src/a.py").write_text("x = 1\n")
    source = Source.model_validate({"paths": ["repos/**/*.py"], "kind": "code"})
    (before,) = find(source, str(tmp_path), "code").files
    (tmp_path / "repos/r/package.json").write_text('{"license": "MIT"}')
    (after,) = find(source, str(tmp_path), "code").files
    assert before.changed != after.changed
