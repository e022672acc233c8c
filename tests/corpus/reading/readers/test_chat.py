"""Tests that chat logs become dialogue."""

from pathlib import Path

from palmetto.corpus.reading.readers.chat import dialogue
from palmetto.corpus.reading.records import Record
from tests.references.reading_of import reading_of

LOG = """--- Log opened Mon Nov 01 00:00:00 2021
[00:01] <@anna> hello \x0304there\x03
00:02:33 <민수> 안녕하세요
2021-11-01T00:03:00Z <bob_> see <this> 10:30
[00:04] * bob_ waves
00:05 -!- carol [~c@host] has joined #palmetto
*** dave has quit IRC
a line that went over
"""


def test_who_said_what() -> None:
    assert dialogue(LOG) == (
        "anna: hello there\n민수: 안녕하세요\nbob_: see <this> 10:30\n* bob_ waves\na line that went over\n"
    )


def test_other_texts_are_no_log() -> None:
    assert dialogue("") is None
    assert dialogue("Q: a question\nA: an answer\n") is None
    assert dialogue("* a list\n* of items\n") is None
    assert dialogue("<p> some HTML\nthat goes on\nand on\n") is None


def test_only_of_dialogue(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(LOG)
    (spoken,), (plain,) = reading_of(tmp_path / "a.log", kind="dialogue"), reading_of(tmp_path / "a.log")
    assert isinstance(spoken, Record)
    assert isinstance(plain, Record)
    assert (spoken.text, plain.text) == (dialogue(LOG), LOG)
