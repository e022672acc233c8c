"""Reads the text of the running Python installation: real text that every machine has."""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

# Third-party packages, and tests: much of their text is generated tables, and some is deliberately broken.
EXCLUDED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})

# One huge Python literal, whose entries are read as documents.
_TOPICS = "pydoc_data/topics.py"


def texts() -> Iterator[tuple[str, str]]:
    """Yields (name, text) of each source file of the standard library, then of each documentation topic, sorted.

    Names are relative to the library folder. Bytes that are not UTF-8 become surrogate escapes.
    """
    root = Path(sysconfig.get_path("stdlib"))
    for name in _source_files(root):
        if name != _TOPICS:
            yield name, (root / name).read_bytes().decode("utf-8", "surrogateescape")
    for topic, text in sorted(_topics().items()):
        yield f"{_TOPICS}:{topic}", text


def _source_files(root: Path) -> list[str]:
    """Returns the relative names of the .py files under `root`, sorted, with / as separator."""
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in EXCLUDED_FOLDERS]
        names += [(Path(folder) / file).relative_to(root).as_posix() for file in files if file.endswith(".py")]
    return sorted(names)


def _topics() -> dict[str, str]:
    """Returns Python's documentation by topic; it is empty in distributions without it."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return {}
    return dict(topics)
