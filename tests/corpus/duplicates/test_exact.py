"""Tests that the same exact duplicates are dropped for any order and any shards."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.corpus.duplicates import keyed
from palmetto.corpus.duplicates.exact import ExactDuplicates, normalized
from tests.references.views import Backwards, make_view, notes_of

texts = st.lists(
    st.sampled_from(["a b", "a  b", " a\nb ", "a B", "ab", "é", "e\u0301", "한국", "한\u3000국", ""]), max_size=12
)


@settings(max_examples=15)
@given(texts, st.randoms(use_true_random=False), st.integers(1, 4))
def test_one_of_equal_texts_stays_by_rule(texts: list[str], random: object, cuts: int) -> None:
    documents = [(f"{number:032x}", ("web", text)) for number, text in enumerate(texts)]
    expected: dict[str, str | None] = {}
    for name, (_, text) in documents:
        equal = [other for other, (_, found) in documents if normalized(found) == normalized(text)]
        kept = max(equal, key=lambda other: (len(dict(documents)[other][1].encode()), -int(other, 16)))
        expected[name] = None if name == kept else kept
    random.shuffle(documents)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        view = make_view(Path(folder, "texts"), [dict(documents[cut::cuts]) for cut in range(cuts)])
        notes = notes_of(ExactDuplicates(), view, Path(folder, "work"))
    assert {name: note["duplicate_of"] for name, note in notes.items()} == expected
    dropped = {name for name, note in notes.items() if note["dropped"] == "exact duplicate"}
    assert dropped == {name for name, kept in expected.items() if kept}


def test_white_space_is_what_python_takes_for_it() -> None:
    for code in [*range(0xD800), *range(0xE000, 0x10000)]:
        assert (normalized(f"a{chr(code)}b") == b"ab") == chr(code).isspace()


def test_partitions_and_the_order_of_work_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = [{f"{10 * number + i:032x}": ("web", f"text {i % 7}") for i in range(10)} for number in range(4)]
    view = make_view(tmp_path / "texts", shards)
    whole = notes_of(ExactDuplicates(), view, tmp_path / "one")
    assert notes_of(ExactDuplicates(), view, tmp_path / "two", Backwards()) == whole
    monkeypatch.setattr(keyed, "_PARTITION_BYTES", 512)
    assert notes_of(ExactDuplicates(), view, tmp_path / "parts") == whole
    assert len(list((tmp_path / "parts").glob("*/repeats/*.npy"))) > 3
    assert sum(note["dropped"] is None for note in whole.values()) == 7
