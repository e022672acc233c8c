"""Tests that mailboxes and messages are read."""

import gzip
from email.message import EmailMessage
from pathlib import Path

import pytest

from palmetto.corpus.reading import opening
from palmetto.corpus.reading.finding import Problem
from palmetto.corpus.reading.records import Dropped, Record
from tests.references.reading_of import reading_of


def message(subject: str | None, text: str | None, subtype: str = "plain", charset: str = "utf-8") -> EmailMessage:
    new = EmailMessage()
    new["From"] = "Anna <anna@a.example>"
    new["To"] = "bob@b.example"
    if subject is not None:
        new["Subject"] = subject
    if text is not None:
        new.set_content(text, subtype=subtype, charset=charset)
    return new


def box(*messages: EmailMessage | bytes) -> bytes:
    return b"".join(
        b"From anna@a.example Mon Nov  1 00:00:00 2021\n" + (m if isinstance(m, bytes) else m.as_bytes()) + b"\n"
        for m in messages
    )


def test_a_mailbox(tmp_path: Path) -> None:
    both = message("둘 다", "plain words\n")
    both.add_alternative("<p>html words</p>", subtype="html")
    both.add_attachment(b"\x89PNG", "image", "png", filename="a.png")
    picture = message("picture", None)
    picture.add_attachment(b"\x89PNG", "image", "png", filename="a.png")
    undeclared = b"Subject: old\nContent-Type: text/plain\n\n" + "한글로 쓴 오래된 편지입니다.\n".encode("cp949")
    broken = b"Subject: broken\nContent-Type: text/plain; charset=utf-8\n\n" + "정보".encode()[:-1] + b" and so on\n"
    (tmp_path / "a.mbox").write_bytes(
        box(
            message("안녕 hello", "> quoted\nanswer\n>From here\n"),
            both,
            message(None, "<html><body><nav>x</nav><p>Only HTML.</p></body></html>", "html"),
            picture,
            message("Привет", "Как дела?\n", charset="koi8-r"),
            undeclared,
            broken,
            b"Subject: a\nContent-Type: text/plain; charset=no-such\n\n>From here on\n",
        )
    )
    assert reading_of(tmp_path / "a.mbox") == [
        Record("a.mbox:1", "안녕 hello\n\n> quoted\nanswer\nFrom here\n\n"),
        Record("a.mbox:2", "둘 다\n\nplain words\n"),
        Record("a.mbox:3", "Only HTML."),
        Dropped("a.mbox:4", "a message without text", len(picture.as_bytes()) + 1),
        Record("a.mbox:5", "Привет\n\nКак дела?\n\n"),
        Record("a.mbox:6", "old\n\n한글로 쓴 오래된 편지입니다.\n\n"),
        Problem("s", "a.mbox:7", "broken UTF-8 at byte 3"),
        Record("a.mbox:8", "a\n\nFrom here on\n\n"),
    ]


def test_one_message(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(message("S", "one\n\nFrom the beginning\n>From me\n").as_bytes())
    assert reading_of(tmp_path / "a.eml") == [Record("a.eml:1", "S\n\none\n\nFrom the beginning\n>From me\n")]


def test_files_that_are_no_mail_are_problems(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(bytes(range(256)) * 20)
    (problem,) = reading_of(tmp_path / "a.mbox")
    assert isinstance(problem, Problem)


def test_a_message_that_cannot_be_read_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = b"Subject: deep\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (i, i) for i in range(2000)
    )
    messages: list[EmailMessage | bytes] = [message("one", "first\n"), deep + b"\nx\n", message("two", "second\n")]
    (tmp_path / "a.mbox").write_bytes(box(*messages))
    first, problem, second = reading_of(tmp_path / "a.mbox")
    assert isinstance(problem, Problem)
    assert problem.size > len(deep)
    assert [each.text for each in (first, second) if isinstance(each, Record)] == [
        "one\n\nfirst\n\n",
        "two\n\nsecond\n\n",
    ]
    monkeypatch.setattr(opening, "RECORD_BYTES", 1000)
    assert [type(item) for item in reading_of(tmp_path / "a.mbox")] == [Record, Problem, Record]


def test_a_damaged_member_costs_its_messages(tmp_path: Path) -> None:
    members = [
        bytearray(gzip.compress(box(*(message(f"{i}", f"{i * j}\n" * 50) for j in range(1, 20))), mtime=0))
        for i in range(3)
    ]
    members[1][12:60] = bytes(48)
    (tmp_path / "a.mbox.gz").write_bytes(b"".join(members))
    items = reading_of(tmp_path / "a.mbox.gz")
    assert [item.text.split()[0] for item in items if isinstance(item, Record)] == ["0"] * 19 + ["2"] * 19
    assert sum(isinstance(item, Problem) for item in items) == 1


def test_mail_in_utf8_that_declares_another_charset(tmp_path: Path) -> None:
    head = b"Subject: s\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n"
    (tmp_path / "a.eml").write_bytes(head + "Grüße aus Köln\n".encode())
    assert reading_of(tmp_path / "a.eml") == [Record("a.eml:1", "s\n\nGrüße aus Köln\n")]
