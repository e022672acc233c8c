"""`palmetto corpus build` as a user runs it: on real text, killed at any time, with any number of workers."""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet

from palmetto.tokens.store import TokenStore
from tests.references.whole_runs import RECIPE, Runs

pytest.importorskip("rensa", reason="needs the extra `corpus`")

BUILD = """
corpus:
  section_bytes: 8192
  validation_share: 0.1
  build:
    root: raw
    sources:
      web: {paths: [web], weight: 3, filters: gopher}
      code: {paths: [code], weight: 1, kind: code, licence: PSF-2.0}
    contamination: {evaluation: [evaluation]}
"""


@pytest.fixture(scope="session")
def corpora(make_runs: Callable[[Path], Runs], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Makes a folder with raw text and the recipe mix.yaml, and builds its corpus.

    The sources are Python's topics as web pages, two of them in two copies, and some of its modules as code. One
    question of the evaluation set occurs in a page.
    """
    topics = pytest.importorskip("pydoc_data.topics", reason="this Python comes without its topics").topics
    runs = make_runs(tmp_path_factory.mktemp("corpora"))
    for folder in ("web", "code", "evaluation"):
        (runs.folder / "raw" / folder).mkdir(parents=True)
    pages = {name: text for name, text in sorted(topics.items()) if len(text.split()) > 60}
    pages |= {f"{name}-copy": f"{pages[name]}\n" for name in list(pages)[:2]}
    lines = [json.dumps({"text": text, "url": f"https://example.org/{name}"}) for name, text in pages.items()]
    for number in range(4):
        (runs.folder / "raw" / "web" / f"{number}.jsonl").write_text("\n".join(lines[number::4]) + "\n")
    library = Path(os.__file__).parent
    for name in ("argparse", "ast", "bdb", "calendar", "csv", "difflib", "inspect", "typing"):
        shutil.copy(library / f"{name}.py", runs.folder / "raw" / "code" / f"{name}.py")
    leaked = " ".join(list(pages.values())[5].split()[:40])
    examples = [
        {"question": leaked, "answer": "yes"},
        {"question": "How many leaves does a palmetto have?", "answer": "9"},
    ]
    (runs.folder / "raw" / "evaluation" / "quiz.jsonl").write_text("".join(json.dumps(e) + "\n" for e in examples))
    (runs.folder / "mix.yaml").write_text(
        RECIPE.replace("corpus: {section_bytes: 8192, validation_share: 0.1}\n", BUILD)
    )
    runs("corpus", "build", "mix.yaml", "--out", "whole", "--workers", 1)
    return runs


def digests(folder: Path) -> dict[str, str]:
    """Returns the digests of all that a build has made, except its notes and its lock."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] not in ("stages", ".lock")
    }


def test_the_mixture_has_its_shares(corpora: Runs) -> None:
    sheet = json.loads((corpora.folder / "whole" / "datasheet.json").read_text())
    assert sheet["sources"]["web"]["wanted"] == pytest.approx(0.75, abs=1e-5)
    assert sheet["sources"]["web"]["share"] == pytest.approx(0.75, abs=0.1)
    manifest = json.loads((corpora.folder / "whole" / "manifest.json").read_text())
    reasons = {row["reason"] for row in sheet["dropped"]}
    assert "contamination" in reasons
    assert any("duplicate" in reason for reason in reasons)
    rows = sum(parquet.read_metadata(corpora.folder / "whole" / file["file"]).num_rows for file in manifest["files"])
    assert rows == sheet["documents"] == sum(file["documents"] for file in manifest["files"])
    first, last = manifest["stages"][0], manifest["stages"][-1]
    gone = sum(row["documents"] for row in sheet["dropped"])
    came, went = (sum(number for number, _ in pairs.values()) for pairs in (first["before"], last["after"]))
    assert came - gone == went == rows
    read, kept = (sum(size for _, size in pairs.values()) for pairs in (first["before"], last["after"]))
    put, cut, gone = (
        sum(row[key] for row in sheet[rows])
        for key, rows in (("put_in", "cut"), ("bytes", "cut"), ("bytes", "dropped"))
    )
    assert read + put == kept + gone + cut
    assert kept == sheet["bytes"]


@pytest.mark.slow
def test_the_manifest_reports_cuts_limits_and_skipped_files(corpora: Runs) -> None:
    (corpora.folder / "raw" / "evaluation" / "notes.txt").write_text("no set")
    changes = ["corpus.build.sources.web.filters=c4", "corpus.build.duplicates.span=30"]
    _, said = corpora("corpus", "build", "mix.yaml", "--out", "told", "--workers", 1, *changes)
    assert re.search(r"^filters: .*cut within documents: [\d,]+ bytes$", said, re.MULTILINE)
    assert re.search(r"^repeated spans: .*cut within documents: [\d,]+ bytes", said, re.MULTILINE)
    assert "evaluation: passed over, not a kind of set that is read: evaluation/notes.txt" in said
    assert re.search(r"mixture: \w+ is scarcest for its weight", said)
    sheet = json.loads((corpora.folder / "told" / "datasheet.json").read_text())
    assert {row["stage"] for row in sheet["cut"]} >= {"filters", "repeated spans"}
    assert {"source": "(evaluation)", "name": "evaluation/notes.txt", "reason": "not a kind of set that is read"} in (
        sheet["passed_over"]
    )
    (corpora.folder / "raw" / "evaluation" / "notes.txt").unlink()


@pytest.mark.slow
def test_another_number_of_workers_gives_the_same_bytes(corpora: Runs) -> None:
    corpora("corpus", "build", "mix.yaml", "--out", "two", "--workers", 2)
    assert digests(corpora.folder / "two") == digests(corpora.folder / "whole")


@pytest.mark.slow
def test_another_recipe_replaces_the_old_corpus(corpora: Runs) -> None:
    less = ["corpus.build.sources.code.weight=0.001", "corpus.build.contamination=null"]
    corpora("corpus", "build", "mix.yaml", "--out", "changed", "--workers", 1)
    corpora("corpus", "build", "mix.yaml", "--out", "changed", "--workers", 1, *less)
    manifest = json.loads((corpora.folder / "changed" / "manifest.json").read_text())
    assert {file["file"] for file in manifest["files"]} == {
        name for name in digests(corpora.folder / "changed") if name.startswith("documents/")
    }
    assert not list((corpora.folder / "changed" / "contamination").glob("**/*.jsonl"))
    (corpora.folder / "changed" / manifest["files"][0]["file"]).unlink()
    corpora("corpus", "build", "mix.yaml", "--out", "changed", "--workers", 1)
    assert digests(corpora.folder / "changed") == digests(corpora.folder / "whole")


@pytest.mark.slow
def test_foreign_files_stay_and_old_corpora_are_rebuilt(corpora: Runs) -> None:
    folder = corpora.folder / "old"
    shutil.copytree(corpora.folder / "whole", folder)
    (folder / "stages" / "made.json").unlink()
    mine = [folder / name for name in ("notes.txt", "contamination/mine.jsonl", "stages/filters-mine/x", "stages/y")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    less = ["corpus.build.sources.code.weight=0.001", "corpus.build.contamination=null"]
    corpora("corpus", "build", "mix.yaml", "--out", "old", "--workers", 1, *less)
    assert not (folder / "contamination" / "evaluation" / "quiz.jsonl").exists()
    corpora("corpus", "build", "mix.yaml", "--out", "old", "--workers", 1)
    assert all(path.read_text() == "mine" for path in mine)
    for path in mine:
        path.unlink()
    assert digests(folder) == digests(corpora.folder / "whole")


def test_a_folder_with_sources_is_refused(corpora: Runs) -> None:
    before = digests(corpora.folder / "raw")
    for out in (".", "raw", "raw/web", "raw/code/corpus"):
        _, error = corpora("corpus", "build", "mix.yaml", "--out", out, expect=2)
        assert re.search("lies inside|would be built inside", error.strip().splitlines()[-1])
    assert digests(corpora.folder / "raw") == before
    assert not (corpora.folder / ".lock").exists()


def test_a_finished_build_does_nothing(corpora: Runs) -> None:
    def times() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in (corpora.folder / "whole").rglob("*.parquet")}

    before = times()
    corpora("corpus", "build", "mix.yaml", "--out", "whole")
    assert times() == before


@pytest.mark.slow
def test_what_is_damaged_is_made_again(corpora: Runs) -> None:
    folder = corpora.folder / "damaged"
    shutil.copytree(corpora.folder / "whole", folder)
    first, *_, last = sorted((folder / "documents").rglob("*.parquet"))
    (marks,) = (folder / "contamination").rglob("*.jsonl")
    first.write_bytes(first.read_bytes()[:-100])
    data = bytearray(last.read_bytes())
    data[len(data) // 3] ^= 1
    last.write_bytes(data)
    marks.write_text("other\n")
    (folder / "vocabulary.model").unlink()
    _, said = corpora("corpus", "build", "mix.yaml", "--out", "damaged", "--workers", 1)
    names = [path.relative_to(folder).as_posix() for path in (marks, first, last)]
    assert f"damaged or missing, made again: {', '.join(names)}, vocabulary.model\n" in said
    assert digests(folder) == digests(corpora.folder / "whole")


@pytest.mark.slow
def test_a_damaged_file_of_a_stage_is_named(corpora: Runs) -> None:
    folder = corpora.folder / "notes"
    shutil.copytree(corpora.folder / "whole", folder)
    damaged = next((folder / "stages").glob("language-*/notes/**/*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    less = "corpus.build.sources.code.weight=0.001"
    _, error = corpora("corpus", "build", "mix.yaml", "--out", "notes", "--workers", 1, less, expect=2)
    assert f"{damaged.relative_to(corpora.folder)}: damaged (" in error.splitlines()[-1]
    shutil.rmtree(next((folder / "stages").glob("language-*")))
    corpora("corpus", "build", "mix.yaml", "--out", "notes", "--workers", 1)
    assert digests(folder) == digests(corpora.folder / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("notes", [0, 3, 7, 12, 18, 24])
def test_a_killed_build_resumes_to_the_same_bytes(corpora: Runs, notes: int) -> None:
    """notes: the number of parquet files at which the build is killed, so that each case is another stage."""
    folder = corpora.folder / f"killed-{notes}"
    process = corpora.start("corpus", "build", "mix.yaml", "--out", folder.name, "--workers", 1)
    deadline = time.monotonic() + 120
    while len(list(folder.rglob("*.parquet"))) < notes and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    corpora("corpus", "build", "mix.yaml", "--out", folder.name, "--workers", 1)
    assert digests(folder) == digests(corpora.folder / "whole")


@pytest.mark.slow
def test_a_run_builds_its_corpus(corpora: Runs) -> None:
    corpora("train", "mix.yaml", "--run", "trained", "--until", 2)
    run = corpora.folder / "trained"
    assert digests(run / "corpus") == digests(corpora.folder / "whole")
    assert (run / "vocabulary.model").read_bytes() == (run / "corpus" / "vocabulary.model").read_bytes()
    packed = sum(TokenStore.open(run / "tokens" / f"{half}.bin").header.tokens for half in ("train", "validation"))
    assert packed == json.loads((run / "corpus" / "datasheet.json").read_text())["tokens"]
    shutil.rmtree(corpora.folder / "trained" / "corpus")
    corpora("train", "mix.yaml", "--run", "trained", "--until", 3)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("corpus.build.sources.web.paths=[wed]", r"corpus\.build\.sources\.web\.paths.*wed.*(web)?"),
        ("corpus.build.mixture.tokens=999999999", r"corpus\.build\.mixture\.tokens=999999999: \w+ would repeat"),
        ("corpus.build.mixture.tokns=3", r"corpus\.build\.mixture\.tokns: no such key.*corpus\.build\.mixture\.tokens"),
        ("corpus.build=null", r"has no corpus\.build"),
    ],
)
def test_an_invalid_corpus_is_refused_in_one_line(corpora: Runs, override: str, line: str) -> None:
    _, error = corpora("corpus", "build", "mix.yaml", "--out", "refused", override, expect=2)
    last = error.strip().splitlines()[-1]
    assert re.search(line, last), last
    assert "Traceback" not in error
