"""Tests that every cut passage can be read elsewhere, and that nothing left repeats."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palmetto.corpus import tables
from palmetto.corpus.duplicates import keyed
from palmetto.corpus.duplicates.spans import RepeatedSpans
from palmetto.corpus.text.rolling import Hashes
from tests.corpus.duplicates.test_shingles import plain_words
from tests.references.views import Backwards, Document, make_view, notes_of

SPAN = 4
Span = tuple[str, ...]


def after(text: str, note: dict[str, Any]) -> str:
    if note["dropped"]:
        assert note["dropped"] == "repeated spans"
        return ""
    return tables.edited(text, note["edits"] or [])


def spans_of(words: list[str]) -> list[Span]:
    return [tuple(words[i : i + SPAN]) for i in range(len(words) - SPAN + 1)]


def plainly(texts: dict[str, str]) -> dict[str, list[str]]:
    """Returns the words that stay of each text, found word by word."""
    firsts: dict[Span, tuple[str, int]] = {}
    places: dict[Span, int] = {}
    words = {name: plain_words(text, "verbatim") for name, text in sorted(texts.items())}
    for name, found in words.items():
        for place, span in enumerate(spans_of(found)):
            firsts.setdefault(span, (name, place))
            places[span] = places.get(span, 0) + 1
    left = {}
    for name, found in words.items():
        stays, goes = set[int](), set[int]()
        for place, span in enumerate(spans_of(found)):
            if places[span] > 1:
                (stays if firsts[span] == (name, place) else goes).update(range(place, place + SPAN))
        left[name] = [word for place, word in enumerate(found) if place in stays or place not in goes]
    return left


def web(texts: dict[str, str]) -> dict[str, Document]:
    return {name: ("web", text) for name, text in texts.items()}


words = st.text("ab", min_size=1, max_size=1) | st.sampled_from(["漢", "字", "한국"])
texts = st.lists(st.lists(words, max_size=14), max_size=4)


@settings(max_examples=40)
@example([list("abbaabab"), list("abbaabab")], 1)
@example([list("aaaaaaaaa")], 1)
@given(texts, st.integers(1, 3))
def test_what_stays_is_what_a_plain_loop_leaves(words: list[list[str]], cuts: int) -> None:
    originals = {f"{number:032x}": " ".join(found) for number, found in enumerate(words)}
    expected = plainly(originals)
    names = list(originals)[::-1]
    shards = [web({name: originals[name] for name in names[cut::cuts]}) for cut in range(cuts)]
    with tempfile.TemporaryDirectory() as folder:
        notes = notes_of(RepeatedSpans(SPAN), make_view(Path(folder, "texts"), shards), Path(folder, "work"))
    left = {name: after(text, notes[name]) for name, text in originals.items()}
    assert {name: plain_words(text, "verbatim") for name, text in left.items()} == expected
    # Every span that occurred more than once, and so everything cut, can still be read.
    came = Counter(span for text in originals.values() for span in spans_of(plain_words(text, "verbatim")))
    still = {span for text in left.values() for span in spans_of(plain_words(text, "verbatim"))}
    assert {span for span, count in came.items() if count > 1} <= still


def long(seed: int, length: int) -> list[str]:
    return [f"w{i}" for i in np.random.default_rng(seed).integers(0, 1 << 30, length)]


def test_boilerplate_is_kept_once_whatever_the_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, footer = " ".join(long(1, 80)), " ".join(long(2, 60))
    bodies = {f"{i:032x}": "\n".join(long(10 + i, 100)) for i in range(8)}
    documents = web({name: f"{header}.\n\n{body}\n\n{footer}" for name, body in bodies.items()})
    notes = notes_of(RepeatedSpans(50), make_view(tmp_path / "one", [documents]), tmp_path / "work")
    left = {name: after(documents[name][1], note) for name, note in notes.items()}
    first = min(bodies)
    assert left.pop(first) == documents[first][1]
    assert left == {name: f"{bodies[name]}\n\n" for name in left}
    monkeypatch.setattr(keyed, "_PARTITION_BYTES", 4096)
    names = list(documents)
    cut = [{name: documents[name] for name in names[start::3]} for start in (2, 1, 0)]
    assert notes_of(RepeatedSpans(50), make_view(tmp_path / "three", cut), tmp_path / "parts", Backwards()) == notes
    assert len(list((tmp_path / "parts").glob("*/firsts/*.npy"))) > 2


def test_a_copy_is_dropped_and_a_short_repetition_stays(tmp_path: Path) -> None:
    text = " ".join(long(0, 60))
    documents = web({"a": text, "b": text.replace(" ", "\n"), "c": " ".join(text.split()[:49]), "d": ""})
    notes = notes_of(RepeatedSpans(50), make_view(tmp_path / "texts", [documents]), tmp_path)
    assert [note["dropped"] for note in notes.values()] == [None, "repeated spans", None, None]
    assert notes["a"]["edits"] is notes["c"]["edits"] is None


def test_unspaced_scripts_count_characters_and_seams_make_no_word(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    passage = "".join(chr(0x4E00 + i) for i in random.integers(0, 5000, 60))
    documents = web({"a": f"始{passage}終", "b": f"one{passage}two", "c": f"前{passage}。"})
    notes = notes_of(RepeatedSpans(50), make_view(tmp_path / "texts", [documents]), tmp_path)
    left = [after(documents[name][1], note) for name, note in notes.items()]
    assert left == [documents["a"][1], "one two", "前。"]


def test_punctuation_and_case_tell_passages_apart(tmp_path: Path) -> None:
    text = " ".join(long(0, 60))
    documents = web({"a": text, "b": text.upper(), "c": text.replace(" ", ", ")})
    notes = notes_of(RepeatedSpans(50), make_view(tmp_path / "texts", [documents]), tmp_path)
    assert not any(note["dropped"] or note["edits"] for note in notes.values())


def test_a_collision_of_hashes_cuts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from palmetto.corpus.duplicates import shingles

    def colliding(found: shingles.Words, size: int) -> tuple[Hashes, shingles.Places, shingles.Places]:
        hashes, texts, places = shingles_windows(found, size)
        return hashes % np.uint64(2), texts, places

    shingles_windows = shingles.windows
    monkeypatch.setattr(shingles, "windows", colliding)
    documents = web({f"{i}": " ".join(long(i, 60)) for i in range(5)})
    notes = notes_of(RepeatedSpans(50), make_view(tmp_path / "texts", [documents]), tmp_path)
    assert not any(note["dropped"] or note["edits"] for note in notes.values())
