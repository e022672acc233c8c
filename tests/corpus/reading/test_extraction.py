"""Tests that extraction writes every document and reports everything else."""

import errno
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palmetto.corpus import documents, tables
from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.reading.extraction import document_id, extract
from palmetto.errors import RunStopped, UserError
from palmetto.recipe.corpus import Build
from tests.references.extractions import SOURCES, done

LINES = b"".join(b'{"text": "page %d"}\n' % (i * 7919) for i in range(4000))


def test_documents_counts_and_what_is_wrong(mixed: Path, tmp_path: Path) -> None:
    extracted, said = done(mixed, tmp_path / "out", SOURCES, failures=0.4)
    table = extracted.view.read(extracted.view.shards[0])
    assert table.schema.equals(tables.DOCUMENTS)
    assert table.select(["name", "text", "language"]).to_pylist() == [
        {"name": "books/a.txt", "text": "A book.\n" * 400, "language": "en"},
        {"name": "books/pg1.txt", "text": "Book.\n", "language": "en"},
    ]
    assert table["id"][0].as_py() == document_id("books", "books/a.txt")
    assert [(problem.source, problem.name, problem.reason.split(" (")[0]) for problem in extracted.problems] == [
        ("books", "books/b.txt", "binary"),
        ("web", "web/b.jsonl:2", "not JSON"),
        ("web", "web/b.jsonl:3", "half a surrogate pair in it"),
    ]
    assert [(each.name, each.reason) for each in extracted.passed] == [
        ("books/.e.txt", "hidden"),
        ("books/d.pdf", "not a kind of file that is read"),
    ]
    counts = extracted.done.counts
    frame = (mixed / "books" / "pg1.txt").stat().st_size - len("Book.\n")
    assert extracted.frames == {"books": (1, frame), "web": (0, 0), "code": (0, 0)}
    assert counts.before["books"] == (3, 3200 + 2 + len("Book.\n") + frame)
    assert counts.after == {
        "books": (2, 3206),
        "web": (301, sum(len(f"page {i}") for i in range(300)) + 4),
        "code": (1, 5),
    }
    assert counts.dropped == {
        "books": {"empty": (1, 2)},
        "code": {"not one of the 24 languages": (1, 5)},
        "web": {"empty": (1, 0)},
    }
    assert any(line.startswith("not read: web/b.jsonl:2 (not JSON") for line in said)
    assert any(
        "2 files and folders: hidden 1, not a kind of file that is read 1; books/.e.txt, books/d.pdf" in line
        for line in said
    )
    assert any("of 1 books" in line for line in said)


def test_too_many_failures_stop_it(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RunStopped, match=r"^books: 1 of 4 could not be read, 25\.0%, .*failures=0\.01; .*books/b\.txt \(binary\)"
    ):
        done(mixed, tmp_path / "out", SOURCES)
    # When the build continues, all of them are named again.
    extracted, _ = done(mixed, tmp_path / "out", SOURCES, failures=0.4)
    assert len(extracted.problems) == 3


def test_a_source_without_documents(mixed: Path, tmp_path: Path) -> None:
    (mixed / "empty").mkdir()
    (mixed / "empty" / "a.txt").write_text("\n")
    with pytest.raises(RunStopped, match=r"^empty: no documents in empty; empty 1$"):
        done(mixed, tmp_path / "out", {"empty": {"paths": ["empty"]}})
    (mixed / "empty" / "a.txt").unlink()
    with pytest.raises(UserError, match=r"no file to read in empty; .*found nothing"):
        done(mixed, tmp_path / "out", {"empty": {"paths": ["empty"]}})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-9000], r"bytes of its files could not be read, \d\d\.\d%"),
        (
            "a.jsonl",
            LINES[:4000] + b'{"text": "' + b"x" * 9000 + b"\n",
            r"bytes of its records could not be read, \d\d",
        ),
        ("a.warc", b"no archive" * 9, r"1 of 2 files could not be read, 50\.0%"),
    ],
)
def test_lost_bytes_and_files_count(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / name).write_bytes(content)
    (tmp_path / "web" / "good.jsonl").write_bytes(LINES[:2000])
    sources = {"web": {"paths": ["web"]}}
    with pytest.raises(RunStopped, match=message):
        done(tmp_path, tmp_path / "out", sources, failures=0.1)
    extracted, said = done(tmp_path, tmp_path / "out", sources, failures=0.9)
    assert sum(problem.size for problem in extracted.problems) > 0
    assert any(line.startswith("not read: ") and " bytes" in line for line in said)


def test_an_error_of_the_user_comes_through_workers(mixed: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (mixed / "web" / f"{name}.csv").write_text("Q,A\nx,y\n")
    with pytest.raises(UserError, match=r"a\.csv: no column `text`"):
        done(
            mixed,
            tmp_path / "out",
            {"web": {"paths": ["web/*.csv"]}, "books": {"paths": ["books"]}},
            workers=2,
            failures=0.4,
        )


def test_copies_of_a_book_share_their_sections(tmp_path: Path) -> None:
    """Of two copies with different prefaces, near duplicates leave one, except for the beginnings."""
    import random

    pytest.importorskip("rensa", reason="needs the extra `corpus`")
    from palmetto.corpus.duplicates.near import NearDuplicates
    from palmetto.corpus.stage import run

    words = random.Random(0)
    body = "\n\n".join(" ".join(f"w{words.randrange(9999)}" for _ in range(80)) for _ in range(600))
    prefaces = [" ".join(f"p{words.randrange(9999)}" for _ in range(number)) for number in (300, 900)]
    (tmp_path / "root").mkdir()
    for number, preface in enumerate(prefaces):
        (tmp_path / "root" / f"{number}.txt").write_text(f"{preface}\n\n{body}")
    recipe = Build.model_validate({"root": str(tmp_path / "root"), "sources": {"books": {"paths": ["."]}}})
    found = extract(recipe, 32768, tmp_path / "work", LocalEngine(1), lambda line: None)
    done = run(NearDuplicates(0.8), found.view, "", tmp_path / "work", LocalEngine(1), lambda line: None)
    before, after = (counts["books"][1] for counts in (done.counts.before, done.counts.after))
    assert before > 2 * len(body)
    assert after < 1.15 * len(body)


def test_unreadable_files_are_named(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.open

    def denied(path: Path, *others: Any, **named: Any) -> Any:
        # chmod would not stop root, as whom the tests may run.
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *others, **named)

    (mixed / "books" / "self.txt").symlink_to("self.txt")
    monkeypatch.setattr(Path, "open", denied)
    extracted, _ = done(mixed, tmp_path / "out", {"books": {"paths": ["books"]}}, failures=0.99)
    assert [(problem.name, problem.reason) for problem in extracted.problems] == [
        ("books/self.txt", os.strerror(errno.ELOOP)),
        ("books/a.txt", "no permission to read it"),
        ("books/b.txt", "binary"),
    ]


def test_files_of_unknown_size_far_away(tmp_path: Path) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/far/a.txt", b"far away")
    system.pipe("/far/b.jsonl.gz", gzip.compress(b'{"text": "and packed"}\n'))
    info = system.info
    try:
        for without_size in (False, True):
            if without_size:
                system.find = lambda *_, **__: {
                    name: {**info(name), "size": None} for name in ("/far/a.txt", "/far/b.jsonl.gz")
                }
            extracted, _ = done(tmp_path, tmp_path / str(without_size), {"far": {"paths": ["memory://far"]}})
            texts = [text for shard in extracted.view.shards for text in extracted.view.read(shard)["text"].to_pylist()]
            assert texts == ["far away", "and packed"]
            assert len(extracted.view.shards) == (2 if without_size else 1)
    finally:
        vars(system).pop("find", None)
        system.store.clear()


def test_long_prose_comes_in_sections_and_code_whole(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(100))
    for name in ("book.txt", "code.py"):
        (tmp_path / name).write_text(text)
    (tmp_path / "wide.txt").write_text("x" * 1000)
    sources = {"books": {"paths": ["book.txt", "wide.txt"]}, "code": {"paths": ["code.py"], "kind": "code"}}
    extracted, _ = done(tmp_path, tmp_path / "out", sources, section_bytes=300)
    rows = [row for shard in extracted.view.shards for row in extracted.view.read(shard).to_pylist()]
    *book, wide, code = [(row["name"], row["text"]) for row in rows]
    assert [name for name, _ in book] == [f"book.txt#{number}" for number in range(1, len(book) + 1)]
    assert "".join(section for _, section in book) == text
    assert all(75 <= len(section) <= 300 and section.endswith("\n") for _, section in book)
    assert all(documents.cut(section, 300) == [section] for _, section in book), "a run cuts no further"
    assert (wide[0], code) == ("wide.txt", ("code.py", text))
    expected = {"books": (len(book) + 1, len(text) + 1000), "code": (1, len(text))}
    assert extracted.done.counts.before == extracted.done.counts.after == expected


def test_a_build_over_the_shared_corpus(shared_data: Path, tmp_path: Path) -> None:
    sources = {
        "books": {"paths": ["books"]},
        "code": {"paths": ["code", "code_gpl"], "kind": "code"},
        "conversations": {"paths": ["conversations"], "kind": "dialogue", "text": ["text", "Q", "A"]},
        "wikipedia": {
            "paths": ["wikipedia/pud_*.jsonl", "wikipedia/enwiki_1000_short.jsonl"],
            "text": ["title", "text", "body"],
        },
        "split": {"paths": ["wikipedia/wikisplit_tune.tsv"], "text": ["1"]},
    }
    extracted, _ = done(shared_data / "corpus", tmp_path / "out", sources)
    assert (extracted.problems, extracted.passed) == ((), ())
    assert extracted.frames["books"][0] == 3
    assert extracted.done.counts.after["code"][0] == 782
    assert extracted.done.counts.before["books"][1] > 15_000_000


@pytest.mark.slow
@pytest.mark.parametrize(("name", "wrap"), [("one.jsonl", "%s"), ("one.json", "[%s]")])
def test_a_line_of_200_megabytes_takes_bounded_memory(tmp_path: Path, name: str, wrap: str) -> None:
    words = "so many words in one line "
    (tmp_path / name).write_text(wrap % json.dumps({"text": words * (200_000_000 // len(words))}))
    program = """
import re, sys
from pathlib import Path
from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.reading.extraction import extract
from palmetto.recipe.corpus import Build
build = Build.model_validate({"root": sys.argv[1], "sources": {"web": {"paths": [sys.argv[2]]}}})
extracted = extract(build, 65536, Path(sys.argv[1]) / "out", LocalEngine(1), lambda line: None)
print(extracted.done.counts.after["web"][1], re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""
    command = [sys.executable, "-c", program, str(tmp_path), name]
    size, peak = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert size == 200_000_000 // len(words) * len(words)
    assert peak < 2.5e6, "KiB"
