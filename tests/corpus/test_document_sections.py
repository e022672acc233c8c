"""Tests that long documents are cut into sections that join to the text."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from palmetto.corpus import documents
from palmetto.corpus.documents import Document
from tests.references.sources import texts


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("\n\n\r é")), st.integers(1, 20))
def test_sections_join_to_the_text_and_end_at_line_breaks(text: str, section_bytes: int) -> None:
    sections = documents.cut(text, section_bytes)
    assert "".join(sections) == text
    for section in sections[:-1]:
        data = section.encode("utf-8", "surrogatepass")
        assert data.endswith(b"\n")
        assert len(data) > section_bytes
        assert b"\n" not in data[section_bytes:-1]


def test_a_long_document_is_several(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1234567\n" * 5)
    assert list(documents.read(str(tmp_path), 10)) == [
        Document("1234567\n1234567\n", "a.txt#1"),
        Document("1234567\n1234567\n", "a.txt#2"),
        Document("1234567\n", "a.txt#3"),
    ]


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("  é"), max_size=60), st.integers(1, 20))
def test_a_line_is_cut_at_spaces_or_between_characters(text: str, section_bytes: int) -> None:
    sections = documents.cut_anywhere(text, section_bytes)
    assert "".join(sections) == text
    for section in sections:
        assert 0 < len(section.encode("utf-8", "surrogatepass")) <= max(4, section_bytes)
    for section in sections[:-1]:
        assert section.endswith(" ") or " " not in section


def test_a_source_of_one_line_is_several_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three four")
    assert texts(tmp_path) == ["one two three four"]
    assert list(documents.read(str(tmp_path), 9)) == [
        Document("one two ", "a.txt#1"),
        Document("three ", "a.txt#2"),
        Document("four", "a.txt#3"),
    ]
    # Beside other text, a long line stays whole.
    (tmp_path / "b.txt").write_text("more")
    assert list(documents.read(str(tmp_path), 9)) == [
        Document("one two three four", "a.txt"),
        Document("more", "b.txt"),
    ]
