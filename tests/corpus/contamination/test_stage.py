"""Compares contamination with a plain implementation for any scripts, shards and action."""

import json
import tempfile
import unicodedata
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.corpus import tables
from palmetto.corpus.contamination import Contamination, Example, grams, index
from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.reading.extraction import document_id
from palmetto.corpus.stage import View, run
from palmetto.errors import UserError

UNSPACED = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "THAI", "LAO ", "KHMER", "MYANMAR", "TIBETAN")
Gram = tuple[str, ...]


def plain_units(text: str) -> list[str]:
    """Returns the words, and the characters of unspaced scripts."""
    found, word = [], ""
    for character in unicodedata.normalize("NFKC", text.casefold()):
        counts = unicodedata.category(character)[0] in "LMN"
        unspaced = counts and unicodedata.name(character).startswith(UNSPACED) and not character.isdigit()
        if counts and not unspaced:
            word += character
            continue
        found += [word] if word else []
        found += [character] if unspaced else []
        word = ""
    return found + ([word] if word else [])


def plain_grams(text: str, length: int = 8) -> set[Gram]:
    units = plain_units(text)
    return {tuple(units[i : i + length]) for i in range(len(units) - length + 1)}


def plain_shares(example: Example, texts: list[str]) -> dict[str, Fraction | None]:
    """Returns the share of each part's grams that occur in any of the texts."""
    parts = {"question": example.question, "prompt": example.prompt, "target": example.target}
    longest = max(len(plain_units(part)) for part in parts.values())
    shares: dict[str, Fraction | None] = {}
    for name, part in parts.items():
        length = len(plain_units(part))
        if length >= 8 or 0 < length == longest:
            wanted = plain_grams(part, min(8, length))
            seen = {gram for text in texts for gram in plain_grams(text, min(8, length))}
            shares[name] = Fraction(len(wanted & seen), len(wanted))
        else:
            shares[name] = None
    return shares


def contaminated(example: Example, texts: list[str]) -> bool:
    return any(share is not None and share >= Fraction(7, 10) for share in plain_shares(example, texts).values())


# Few words, so that grams coincide by chance; some are equal once folded, some are mixed, some are no words at all.
_LATIN = ("a", "b", "A", "don't", "é", "e\u0301", "ß", "SS", "ﬁ")
_OTHER = ("Ж", "ж", "한국", "東京", "\u1100\u1161", "が", "か\u3099", "ไทย", "x東y", "ｱ")
_SIGNS = ("7", "７", "—", "()", "\u0301", "😀")
WORDS = st.sampled_from([*_LATIN, *_OTHER, *_SIGNS])
TEXTS = st.lists(WORDS, max_size=25).map(" ".join) | st.lists(WORDS, max_size=25).map("".join)
EXAMPLES = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=4)


@given(TEXTS | st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]), max_size=30), TEXTS)
def test_units_are_the_plain_ones(first: str, second: str) -> None:
    numbers, starts = grams.units([first, second])
    assert starts.tolist() == [0, len(plain_units(first)), len(plain_units(first)) + len(plain_units(second))]
    named = dict(zip(plain_units(first) + plain_units(second), numbers.tolist(), strict=True))
    assert [named[unit] for unit in plain_units(first) + plain_units(second)] == numbers.tolist()
    assert len(set(named.values())) == len(named)


@given(st.lists(st.lists(WORDS, max_size=40).map(" ".join), max_size=6), st.integers(30, 60))
def test_units_do_not_depend_on_pieces(texts: list[str], size: int) -> None:
    expected = grams.units(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grams, "_PIECE", size)
        patch.setattr(grams, "_LONGEST", 2 * size)
        found = grams.units(texts)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_very_long_word_is_read() -> None:
    numbers, starts = grams.units(["x" * 3_000_000 + " y", "y"])
    assert starts[-1] - starts[1] == 1
    assert numbers[-1] == numbers[-2]


def stage_of(folder: Path, examples: list[tuple[str, str, str]], action: Literal["flag", "drop"]) -> Contamination:
    lines = [json.dumps({"question": q, "prompt": p, "target": t}) for q, p, t in examples]
    (folder / "set.jsonl").write_text("\n".join(lines))
    return Contamination((str(folder / "set.jsonl"),), action)


def shards(folder: Path, texts: list[str], size: int) -> View:
    names = []
    for first in range(0, len(texts), size):
        some = texts[first : first + size]
        columns = {
            "id": [document_id("s", str(first + i)) for i in range(len(some))],
            "source": ["s"] * len(some),
            "name": [str(first + i) for i in range(len(some))],
            "text": some,
            **dict.fromkeys(("url", "licence", "language"), [None] * len(some)),
        }
        names.append(f"s/{first:06}")
        tables.write(folder / "texts" / f"{names[-1]}.parquet", pa.table(columns, schema=tables.DOCUMENTS))
    return View(folder / "texts", tuple(names))


def work(folder: Path, stage: Contamination, texts: list[str], size: int) -> tuple[list[Any], list[Any], Path]:
    """Returns the notes of all documents, the verdicts, and the stage's folder."""
    view = shards(folder, texts, size)
    done = run(stage, view, "", folder / "work", LocalEngine(1), lambda line: None)
    notes = [
        row for shard in view.shards for row in tables.read(done.folder / "notes" / f"{shard}.parquet").to_pylist()
    ]
    verdicts = [json.loads(line) for line in (done.folder / "verdicts" / "set.jsonl").read_text().splitlines()]
    return notes, verdicts, done.folder


def rounded(shares: dict[str, Fraction | None]) -> dict[str, float | None]:
    return {name: None if share is None else round(float(share), 4) for name, share in shares.items()}


@settings(max_examples=25)
@given(EXAMPLES, st.lists(TEXTS, min_size=1, max_size=6), st.data())
def test_examples_and_documents_agree_with_the_plain_implementation(
    examples: list[tuple[str, str, str]], texts: list[str], data: st.DataObject
) -> None:
    # Some documents quote an example, completely or in part; others match it by chance.
    quoted = data.draw(st.lists(st.tuples(st.sampled_from([p for e in examples for p in e]), TEXTS), max_size=3))
    texts = texts + [f"{part} {rest}" for part, rest in quoted]
    action: Literal["flag", "drop"] = data.draw(st.sampled_from(("flag", "drop")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = data.draw(st.integers(1, len(texts)))
        notes, verdicts, _ = work(folder, stage_of(folder, examples, action), texts, size)
    parts = [Example("set", str(number), *example) for number, example in enumerate(examples, 1)]
    held = [[f"set:{part.id}" for part in parts if contaminated(part, [text])] for text in texts]
    assert [note["contaminates"] for note in notes] == held
    assert [note["dropped"] for note in notes] == ["contamination" if h and action == "drop" else None for h in held]
    remain = [text for text, h in zip(texts, held, strict=True) if not (h and action == "drop")]
    for part, verdict in zip(parts, verdicts, strict=True):
        assert verdict == {
            "id": part.id,
            "contaminated": contaminated(part, remain),
            "shares": rounded(plain_shares(part, remain)),
            "contaminated_before": contaminated(part, texts),
            "shares_before": rounded(plain_shares(part, texts)),
        }


QUESTION = "How many clips did Natalia sell altogether in April and May of that year"


def test_an_example_spread_over_documents_is_contaminated(tmp_path: Path) -> None:
    """Each of two documents has half of the question, so the example is contaminated and neither holds it."""
    words = QUESTION.split()
    texts = [" ".join(words[:11]), " ".join(words[3:]), "nothing of it"]
    notes, verdicts, folder = work(tmp_path, stage_of(tmp_path, [(QUESTION, "", "72")], "drop"), texts, 1)
    assert [note["dropped"] for note in notes] == [None] * 3
    assert verdicts[0]["contaminated"]
    assert verdicts[0]["shares"] == {"question": 1.0, "prompt": None, "target": None}
    assert json.loads((folder / "contamination.json").read_text()) == {
        "set": {"examples": 1, "contaminated": 1, "contaminated_before": 1}
    }


def test_an_example_is_clean_once_its_documents_are_dropped(tmp_path: Path) -> None:
    texts = [f"Q: {QUESTION}? A: 72", "How many clips did Natalia sell altogether in the end", "72"]
    notes, verdicts, _ = work(tmp_path, stage_of(tmp_path, [(QUESTION, "", "72")], "drop"), texts, 2)
    assert [note["dropped"] for note in notes] == ["contamination", None, None]
    assert (verdicts[0]["contaminated_before"], verdicts[0]["contaminated"]) == (True, False)
    assert verdicts[0]["shares"]["question"] == round(1 / 7, 4)


def test_seventy_percent_is_enough_and_less_is_not(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(17)]  # ten grams
    for seen, verdict in ((14, True), (13, False)):
        folder = tmp_path / str(seen)
        folder.mkdir()
        stage = stage_of(folder, [(" ".join(words), "", "")], "flag")
        notes, verdicts, _ = work(folder, stage, [" ".join(words[:seen])], 1)
        assert verdicts[0]["contaminated"] is verdict
        assert notes[0]["contaminates"] == (["set:1"] if verdict else [])
        assert notes[0]["dropped"] is None


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (
            "우리나라의 수도는 어디이고 그 인구는 모두 몇 명쯤 되는가",
            "답하라: 우리나라의 수도는 어디이고, 그 인구는 모두 몇 명쯤 되는가?",
        ),
        ("日本の首都はどこですか", "問題。日本の首都は、どこですか？東京です。"),
        ("ประเทศไทยมีเมืองหลวงชื่ออะไร", "คำถาม: ประเทศไทยมีเมืองหลวงชื่ออะไร?"),
        (
            "Где находится столица древнего Карфагена и как называется она сегодня",
            "«ГДЕ НАХОДИТСЯ столица древнего Карфагена, и как называется она сегодня?»",
        ),
        ("那人打开水龙头", "后来那人打开水龙头。"),  # seven characters: the whole of it
    ],
)
def test_scripts(tmp_path: Path, question: str, text: str) -> None:
    stage = stage_of(tmp_path, [(question, "", "")], "drop")
    notes, verdicts, _ = work(tmp_path, stage, [text, text[: len(text) // 2]], 2)
    assert [note["dropped"] for note in notes] == ["contamination", None]
    assert verdicts[0]["contaminated_before"]


def test_identity_is_what_the_sets_hold(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = stage_of(tmp_path / "a", [("x", "", "")], "drop")
    moved = stage_of(tmp_path / "b", [("x", "", "")], "drop")
    assert first.identity == moved.identity
    assert stage_of(tmp_path / "b", [("y", "", "")], "drop").identity != first.identity
    both = Contamination((*first.evaluation, *moved.evaluation))
    with pytest.raises(UserError, match="are both named set; give the folder above them"):
        _ = both.identity


def test_a_finished_search_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_of(tmp_path, [(QUESTION, "", "72")], "drop")
    texts = [QUESTION, "other", "words"]
    *_, folder = work(tmp_path, stage, texts, 1)
    verdicts = (folder / "verdicts" / "set.jsonl").read_bytes()
    for name in ("done.json", "contamination.json", "verdicts/set.jsonl"):
        (folder / name).unlink()
    monkeypatch.setattr(index.Index, "find", None)
    work(tmp_path, stage, texts, 1)
    assert (folder / "verdicts" / "set.jsonl").read_bytes() == verdicts
