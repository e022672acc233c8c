"""Tests that stages build on each other's notes, count, resume, and give the same bytes on any engine."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from palmetto.corpus import tables
from palmetto.corpus.counts import Counts
from palmetto.corpus.engine import Engine, LocalEngine
from palmetto.corpus.reading.extraction import document_id
from palmetto.corpus.stage import NOTES, View, count, run


@dataclass(frozen=True)
class Without:
    """Drops documents that contain a word; cuts out another word."""

    word: str
    cut: str = "\0"
    version: int = 1
    seconds: float = 0

    @property
    def name(self) -> str:
        return f"without {self.word}"

    @property
    def identity(self) -> dict[str, Any]:
        return {"version": self.version, "word": self.word, "cut": self.cut}

    def prepare(self, view: View, engine: Engine, folder: Path) -> None:
        """Does nothing."""

    def annotate(self, documents: pa.Table, shard: str, folder: Path) -> pa.Table:
        time.sleep(self.seconds)
        texts = documents["text"].to_pylist()
        edits = [
            [{"start": text.index(self.cut), "end": text.index(self.cut) + len(self.cut), "text": "_"}]
            if self.cut in text
            else None
            for text in texts
        ]
        return pa.table(
            {
                "dropped": pa.array([self.word if self.word in text else None for text in texts], pa.string()),
                "edits": pa.array(edits, tables.EDITS),
                "length": pa.array([len(text) for text in texts], pa.int64()),
            }
        )


def view(folder: Path, shards: int = 3) -> View:
    texts = ["one apple", "two pears", "three apples and a pear", "no fruit, 배", ""]
    names = []
    for number in range(shards):
        ids = [document_id("web", f"{number}/{place}") for place in range(len(texts))]
        columns = [ids, ["web"] * len(ids), ids, texts, *([[None] * len(ids)] * 3)]
        names.append(f"web/{number:06}-0000")
        tables.write(folder / f"{names[-1]}.parquet", pa.table(columns, schema=tables.DOCUMENTS))
    return View(folder, tuple(names))


def do(documents: View, work: Path, engine: Engine, *stages: Without) -> tuple[View, list[Counts], list[str]]:
    before, said, counts = "start", list[str](), list[Counts]()
    for stage in stages:
        done = run(stage, documents, before, work, engine, said.append)
        documents, before = documents.after(done.folder), done.digest
        counts.append(done.counts)
    return documents, counts, said


def notes(work: Path) -> dict[str, bytes]:
    return {str(f.relative_to(work)): f.read_bytes() for f in sorted(work.glob(f"*/{NOTES}/**/*.parquet"))}


def test_a_stage_sees_what_those_before_have_left(tmp_path: Path) -> None:
    stages = Without("apple", cut="two "), Without("배", cut="_pe")
    after, counts, _ = do(view(tmp_path / "texts"), tmp_path / "work", LocalEngine(1), *stages)
    assert [after.read(shard)["text"].to_pylist() for shard in after.shards] == [["_ars", ""]] * 3
    assert [after.read(shard)["length"].to_pylist() for shard in after.shards] == [[6, 0]] * 3, "the last stage's"
    assert counts[0].before == {"web": (15, 3 * len("one appletwo pearsthree apples and a pearno fruit, 배".encode()))}
    assert counts[0].dropped == {"web": {"apple": (6, 3 * 32)}}
    assert counts[0].cut == {"web": (3, 3 * len("two "), 3)}
    assert counts[1].cut == {"web": (3, 3 * len("_pe"), 3)}
    assert counts[1].before == counts[0].after == {"web": (9, 3 * len("_pearsno fruit, 배".encode()))}
    assert counts[1].after == {"web": (6, 3 * len("_ars"))}


def test_the_same_bytes_from_any_number_of_workers(tmp_path: Path) -> None:
    documents = view(tmp_path / "texts", 7)
    for workers in (1, 3):
        do(documents, tmp_path / str(workers), LocalEngine(workers), Without("apple"), Without("배"))
    assert notes(tmp_path / "1") == notes(tmp_path / "3")
    assert len(notes(tmp_path / "1")) == 14


def test_only_changed_work_is_done_again(tmp_path: Path) -> None:
    documents, work = view(tmp_path / "texts"), tmp_path / "work"
    do(documents, work, LocalEngine(1), Without("apple"), Without("배"))
    times = {f: f.stat().st_mtime_ns for f in work.glob("*/notes/**/*.parquet")}
    _, _, said = do(documents, work, LocalEngine(1), Without("apple"), Without("배"))
    assert all("done already" in line for line in said)
    assert times == {f: f.stat().st_mtime_ns for f in work.glob("*/notes/**/*.parquet")}
    _, _, said = do(documents, work, LocalEngine(1), Without("apple"), Without("배", version=2))
    assert ["done already" in line for line in said] == [True, False]
    _, _, said = do(documents, work, LocalEngine(1), Without("apple", cut="n"), Without("배", version=2))
    assert ["done already" in line for line in said] == [False, False], "a stage depends on all before it"
    assert len(list(work.glob("without *"))) == 2, "what was made of other inputs is gone"


PROGRAM = """
import sys
from pathlib import Path
from palmetto.corpus.engine import LocalEngine
from tests.corpus.test_stage import Without, do, view
folder = Path(sys.argv[1])
do(view(folder / "texts", 12), folder / "work", LocalEngine(1), Without("apple", seconds=float(sys.argv[2])))
"""


@pytest.mark.parametrize("shards_done", [1, 5])
def test_a_killed_stage_resumes_to_the_same_bytes(tmp_path: Path, shards_done: int) -> None:
    killed = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), "0.1"])
    deadline = time.monotonic() + 60
    while len(notes(tmp_path / "work")) < shards_done:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    done = notes(tmp_path / "work")
    assert shards_done <= len(done) < 12
    times = {name: (tmp_path / "work" / name).stat().st_mtime_ns for name in done}
    documents = View(tmp_path / "texts", tuple(f"web/{n:06}-0000" for n in range(12)))
    do(documents, tmp_path / "work", LocalEngine(1), Without("apple"))
    do(view(tmp_path / "other", 12), tmp_path / "undisturbed", LocalEngine(1), Without("apple"))
    assert notes(tmp_path / "work") == notes(tmp_path / "undisturbed")
    assert all((tmp_path / "work" / name).stat().st_mtime_ns == time for name, time in times.items())


def test_counts_add_and_survive_json() -> None:
    a = Counts({"web": (2, 20)}, {"web": (1, 10)}, {"web": {"short": (1, 10)}})
    b = Counts({"web": (1, 5), "news": (1, 1)}, {"news": (1, 1)}, {"web": {"short": (1, 5)}})
    total = a + b
    assert total == Counts(
        {"news": (1, 1), "web": (3, 25)}, {"news": (1, 1), "web": (1, 10)}, {"web": {"short": (2, 15)}}
    )
    assert Counts.of(total.values()) == total
    assert total.line() == "4 documents of 26 bytes → 2 of 11; dropped: short 2"
    cut = Counts({"web": (2, 20)}, {"web": (2, 17)}, {}, {"web": (1, 5, 2)})
    assert Counts.of((cut + cut).values()).cut == {"web": (2, 10, 4)}
    assert cut.line() == "2 documents of 20 bytes → 2 of 17; cut within documents: 5 bytes, for 2 put in"


def test_cuts_of_older_notes_are_what_is_missing() -> None:
    counts = Counts({"web": (3, 30), "code": (1, 5)}, {"web": (2, 12), "code": (1, 7)}, {"web": {"short": (1, 10)}})
    older = {name: pairs for name, pairs in counts.values().items() if name != "cut"}
    assert Counts.of(older).cut == {"code": (0, 0, 2), "web": (0, 8, 0)}


@pytest.mark.parametrize("text", ["배 apple pears", "apples"])
def test_only_cuts_within_what_stays_are_counted(text: str) -> None:
    documents = pa.table({"source": ["web"] * 2, "text": pa.array([text] * 2, pa.large_string())})
    edit = [{"start": 0, "end": 1, "text": "<X>"}]
    notes = pa.table({"dropped": pa.array([None, "why"], pa.string()), "edits": pa.array([edit, edit], tables.EDITS)})
    size, cut = len(text.encode()), len(text[0].encode())
    counts = count(documents, notes)
    assert counts.cut == {"web": (1, cut, 3)}
    assert counts.after == {"web": (1, size - cut + 3)}
    assert counts.dropped == {"web": {"why": (1, size)}}
