"""Sources that several tests of reading share."""

import gzip
from pathlib import Path

import pytest


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Writes several sources of several kinds, with something wrong in each."""
    root = tmp_path / "root"
    for name, content in {
        "books/a.txt": b"A book.\n" * 400,
        "books/b.txt": b"\x7fELF" + bytes(200),
        "books/c.txt": b" \n",
        "books/d.pdf": b"%PDF",
        "books/.e.txt": b"hidden",
        "books/pg1.txt": b"Header\n*** START OF THE PROJECT GUTENBERG EBOOK A ***\nBook.\n"
        b"*** END OF THIS PROJECT GUTENBERG EBOOK",
        "web/a.jsonl.gz": gzip.compress(
            b"".join(b'{"text": "page %d", "url": "u%d"}\n' % (i, i) for i in range(300)), mtime=0
        ),
        "web/b.jsonl": b'{"text": "good"}\nbroken\n{"text": "lone \\ud83d"}\n{"text": ""}\n',
        "code/a.jsonl": b'{"repo": "r", "path": "x.py", "license": "MIT", "text": "x = 1"}\n'
        b'{"repo": "r", "path": "x.md", "license": "MIT", "text": "words"}\n',
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root
