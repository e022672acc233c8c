"""Tests that planted near duplicates are dropped, and nothing else, for any order, shards and restarts."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from palmetto.corpus.duplicates import keyed, levenshtein
from palmetto.corpus.duplicates.near import NearDuplicates
from palmetto.files import sha256
from tests.references.views import Backwards, Document, make_view, notes_of

STAGE = NearDuplicates(0.8, 128, 0.9, ("code",))
CODE_ALONE = NearDuplicates(None, 128, 0.9, ("code",))


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def jaccard(a: str, b: str) -> float:
    return len(shingles_of(a) & shingles_of(b)) / len(shingles_of(a) | shingles_of(b))


def planted(random: np.random.Generator, edits: int, unspaced: bool) -> tuple[str, str]:
    """Returns a text, and a copy with other words at `edits` places."""
    letters = np.array([chr(0x4E00 + i) for i in range(3000)] if unspaced else [f"w{i}" for i in range(3000)])
    words = random.choice(letters, 200)
    copy = words.copy()
    copy[random.choice(200, edits, replace=False)] = "新" if unspaced else "new"
    return " ".join(words), " ".join(copy)


@pytest.fixture(scope="module")
def corpus() -> dict[str, Document]:
    """Returns pairs of texts, a0 and b0, from equal to quite different; also in Chinese characters, and code."""
    random = np.random.default_rng(0)
    documents = {}
    for number in range(150):
        for source, unspaced in (("web", False), ("wiki", True), ("code", False)):
            text, copy = planted(random, number % 15, unspaced)
            if unspaced:
                text, copy = text.replace(" ", ""), copy.replace(" ", "")
            documents[f"{source}a{number}"] = (source, text)
            documents[f"{source}b{number}"] = (source, copy)
    return documents


def partner(name: str) -> str:
    return name.replace("a", "b") if "a" in name else name.replace("b", "a")


def test_planted_ones_are_found_and_no_others(corpus: dict[str, Document], tmp_path: Path) -> None:
    notes = notes_of(STAGE, make_view(tmp_path / "texts", [corpus]), tmp_path)
    found = above = 0
    for number in range(150):
        for source in ("web", "wiki", "code"):
            one, other = f"{source}a{number}", f"{source}b{number}"
            a, b = corpus[one][1], corpus[other][1]
            if source == "code":
                alike = Levenshtein.normalized_similarity(a, b) >= 0.9
            else:
                alike = jaccard(*(" ".join(text) if source == "wiki" else text for text in (a, b))) >= 0.8
            dropped = notes[one]["dropped"], notes[other]["dropped"]
            if dropped != (None, None):
                assert alike
                assert sorted(dropped, key=str) == [None, "near duplicate"]
                kept, gone = (one, other) if dropped[1] else (other, one)
                assert (len(corpus[kept][1].encode()), gone) >= (len(corpus[gone][1].encode()), kept)
                assert notes[gone]["duplicate_of"] == kept
            above += alike
            found += dropped != (None, None)
    assert above > 200
    assert found / above > 0.98


def test_order_cuts_partitions_and_order_of_work_do_not_matter(
    corpus: dict[str, Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = dict(list(corpus.items())[:240])
    whole = notes_of(STAGE, make_view(tmp_path / "one", [chosen]), tmp_path / "work")
    names = list(chosen)
    np.random.default_rng(1).shuffle(names)
    cut = [{name: chosen[name] for name in names[start::3]} for start in range(3)]
    monkeypatch.setattr(keyed, "_PARTITION_BYTES", 20_000)
    assert notes_of(STAGE, make_view(tmp_path / "three", [*cut, {}]), tmp_path / "parts", Backwards()) == whole
    assert len(list((tmp_path / "parts").glob("*/pairs/*.npy"))) > 2


def test_every_file_of_an_ended_process_serves(corpus: dict[str, Document], tmp_path: Path) -> None:
    chosen = dict(list(corpus.items())[:60])
    view = make_view(tmp_path / "texts", [chosen])
    notes_of(STAGE, view, tmp_path / "work")

    def digests() -> dict[str, str]:
        return {str(file.relative_to(tmp_path)): sha256(file) for file in (tmp_path / "work").rglob("*.*")}

    whole = digests()
    for lost in ("bands", "pairs", "members", "sets", "edges", "repeats.npy", "notes"):
        (folder,) = (tmp_path / "work").glob("near duplicates-*")
        (folder / "done.json").unlink()
        gone = folder / lost
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        notes_of(STAGE, view, tmp_path / "work")
        assert digests() == whole


def scattered(text: str, part: float, random: np.random.Generator, *, evenly: bool) -> str:
    """Returns a copy in which this share of the characters is replaced, dropped or preceded by another."""
    count = int(part * len(text))
    places = np.linspace(0, len(text) - 1, count).astype(int) if evenly else random.choice(len(text), count, False)
    letters = list(text)
    for place, kind, letter in zip(places, random.integers(0, 3, count), random.integers(97, 123, count), strict=True):
        letters[place] = (chr(letter), "", chr(letter) + letters[place])[kind]
    return "".join(letters)


@pytest.mark.parametrize(("evenly", "least"), [(False, 0.96), (True, 0.9)])
def test_code_with_scattered_edits_is_found(evenly: bool, least: float, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    library = sorted(Path(os.__file__).parent.glob("*.py"))
    texts = [text for path in library if 2000 < len(text := path.read_text()) < 20_000][:50]
    documents: dict[str, Document] = {}
    for number, text in enumerate(texts):
        documents[f"a{number}"] = ("code", text)
        documents[f"b{number}"] = ("code", scattered(text, 0.095, random, evenly=evenly))
    alike = [n for n, text in enumerate(texts) if Levenshtein.normalized_similarity(text, documents[f"b{n}"][1]) >= 0.9]
    notes = notes_of(CODE_ALONE, make_view(tmp_path / "texts", [documents]), tmp_path)
    found = [n for n in alike if {notes[f"a{n}"]["dropped"], notes[f"b{n}"]["dropped"]} == {None, "near duplicate"}]
    assert len(alike) == len(texts)
    assert len(found) >= least * len(alike)


@pytest.mark.parametrize("source", ["web", "code"])
def test_a_chain_is_one_and_its_longest_stays(source: str, tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(300)]
    chain = {f"d{i}": (source, " ".join([f"new{j}" for j in range(10 * i)] + words[10 * i :])) for i in range(15)}
    assert jaccard(chain["d0"][1], chain["d14"][1]) < 0.5
    notes = notes_of(STAGE, make_view(tmp_path / "texts", [chain]), tmp_path)
    longest = max(chain, key=lambda name: (len(chain[name][1]), [-ord(letter) for letter in name]))
    assert {name: note["duplicate_of"] for name, note in notes.items()} == {
        name: None if name == longest else longest for name in chain
    }


def test_many_copies_of_one_text_are_one(tmp_path: Path) -> None:
    text = " ".join(f"w{i}" for i in range(50))
    copies = {f"{i:04}": ("web", text) for i in range(1000)}
    notes = notes_of(STAGE, make_view(tmp_path / "texts", [copies]), tmp_path)
    assert [name for name, note in notes.items() if note["dropped"] is None] == ["0000"]


def test_short_texts_and_those_without_words(tmp_path: Path) -> None:
    texts = ["one two", "One, two!", "two one", "...", "...", "", "한국", "한국."]
    documents = {f"{i}": ("web", text) for i, text in enumerate(texts)}
    notes = notes_of(STAGE, make_view(tmp_path / "texts", [documents]), tmp_path)
    assert [note["duplicate_of"] for note in notes.values()] == ["1", None, None, None, None, None, "7", None]


@pytest.mark.parametrize(("stage", "kind"), [(CODE_ALONE, "code"), (NearDuplicates(0.8), "web")])
def test_a_threshold_of_null_leaves_its_kind(
    stage: NearDuplicates, kind: str, corpus: dict[str, Document], tmp_path: Path
) -> None:
    chosen = {name: corpus[name] for name in (f"{kind}a0", f"{kind}b0", "wikia0")}
    assert notes_of(stage, make_view(tmp_path / "a", [chosen]), tmp_path)[f"{kind}b0"]["duplicate_of"] == f"{kind}a0"
    other = {"code": NearDuplicates(0.8, 128, None, ("code",)), "web": NearDuplicates(None)}[kind]
    assert not any(note["dropped"] for note in notes_of(other, make_view(tmp_path / "b", [chosen]), tmp_path).values())


def test_prose_is_not_compared_with_code(tmp_path: Path) -> None:
    text = " ".join(f"w{i}" for i in range(50))
    documents = {"a": ("web", text), "b": ("code", text)}
    notes = notes_of(STAGE, make_view(tmp_path / "texts", [documents]), tmp_path)
    assert not any(note["dropped"] for note in notes.values())


@pytest.mark.parametrize("size", [1000, 60_000])
def test_code_is_decided_by_edits(size: int) -> None:
    lines = [f"x{i} = f({i % 7})" for i in range(size // 10)]
    text = "\n".join(lines)
    assert levenshtein.similar(text, text, 1.0)
    changed = "\n".join([*lines[:-20], *("another line" for _ in range(20))])
    assert levenshtein.similar(text, changed, 0.7)
    assert not levenshtein.similar(text, changed[: len(changed) // 2], 0.9)


def test_code_of_many_characters_is_compared_by_line() -> None:
    lines = [f"x{i} = f({i % 7})" for i in range(20_000)]
    changed = lines.copy()
    changed[::20] = ["pass"] * 1000
    assert levenshtein.similar("\n".join(lines), "\n".join(changed), 0.95)
    assert not levenshtein.similar("\n".join(lines), "\n".join(changed), 0.96)
