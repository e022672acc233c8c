"""Tests the text of the running Python."""

import sys

import pytest

from palmetto.corpus.reading import python_text


def test_reads_the_library_and_nothing_installed_or_tested() -> None:
    names = [name for name, _ in python_text.texts()]
    assert {"argparse.py", "json/decoder.py", "email/message.py"} <= set(names)
    assert not [name for name in names if python_text.EXCLUDED_FOLDERS & set(name.split("/")[:-1])]
    assert "pydoc_data/topics.py" not in names
    assert len(names) == len(set(names))


def test_order_and_text_are_the_same_every_time() -> None:
    first = list(python_text.texts())
    assert first == list(python_text.texts())
    sources = [name for name, _ in first if not name.startswith("pydoc_data/topics.py:")]
    assert sources == sorted(sources)
    assert dict(first)["this.py"].startswith('s = """Gur Mra bs Clguba')


def test_documentation_topics_are_documents_of_their_own() -> None:
    topics = pytest.importorskip("pydoc_data.topics").topics
    texts = dict(python_text.texts())
    assert {name.split(":", 1)[1] for name in texts if ":" in name} == set(topics)
    assert texts["pydoc_data/topics.py:assert"] == topics["assert"]


def test_a_python_without_topics_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert not [name for name, _ in python_text.texts() if "topics" in name]
