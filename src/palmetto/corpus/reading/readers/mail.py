"""Reads mail: mailboxes (.mbox) and single messages (.eml)."""

import email
import email.policy
import re
from collections.abc import Iterator
from typing import IO

from palmetto.corpus.reading import encoding, markup, opening
from palmetto.corpus.reading.finding import File, Problem
from palmetto.corpus.reading.opening import Opened
from palmetto.corpus.reading.records import Dropped, Item, Record
from palmetto.recipe.corpus import Source

_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)


def read_mail(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """Yields a document per message: its subject and its text with quoted replies, without other headers and
    attachments.
    """
    number = 0
    for stretch, part in enumerate(stream.stretches()):
        for data in _messages(part, resumed=stretch > 0):
            number += 1
            yield _item(data, f"{file.name}:{number}", file, source)


def _item(data: bytes | int, name: str, file: File, source: Source) -> Item:
    if isinstance(data, int):
        return Problem(file.source, name, opening.too_long(data), data)
    try:
        text = _text(data)
    except encoding.Undecodable as error:
        return Problem(file.source, name, str(error), len(data))
    except Exception as error:
        # The standard library's parser fails on malformed headers and on parts that nest too deeply.
        return Problem(file.source, name, f"no message that can be read ({error})", len(data))
    if text is None:
        return Dropped(name, "a message without text", len(data))
    return Record(name, text, None, source.licence, source.language)


def _messages(file: IO[bytes], resumed: bool) -> Iterator[bytes | int]:
    """Yields the messages of a file; of one that is too long, only its length.

    A message of a mailbox begins with a line `From …` after an empty line; a file without such a beginning is one
    message. resumed: whether damage comes before; then everything before the first such line is skipped.
    """
    lines: list[bytes] = []
    empty, box, size = True, resumed, 0
    outside = resumed
    for line in opening.lines(file):
        if empty and isinstance(line, bytes) and line.startswith(b"From ") and (box or not size):
            if size and not outside:
                yield _message(lines, size, box)
            lines, box, size, outside = [], True, 0, False
        elif isinstance(line, int):
            size += line
        else:
            size += len(line)
            if size <= opening.RECORD_BYTES:
                lines.append(line)
        empty = isinstance(line, bytes) and not line.strip()
    if size and not outside:
        yield _message(lines, size, box)


def _message(lines: list[bytes], size: int, box: bool) -> bytes | int:
    if size > opening.RECORD_BYTES:
        return size
    data = b"".join(lines)
    return _QUOTED_FROM.sub(rb"\1", data) if box else data


def _text(data: bytes) -> str | None:
    message = email.message_from_bytes(data, policy=email.policy.default)
    part = message.get_body(("plain", "html"))
    if part is None:
        return None
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        raise encoding.Undecodable("a text of several parts")
    charset = part.get_content_charset()
    if part.get_content_subtype() == "html":
        body = markup.plain(markup.page(payload, charset), "html")
    else:
        body = _characters(payload, charset)
    subject = str(message["subject"] or "").strip()
    return f"{subject}\n\n{body}" if subject else body


def _characters(payload: bytes, charset: str | None) -> str:
    if charset and charset not in ("us-ascii", "ascii"):
        if (text := encoding.utf8_despite(payload, charset)) is not None:
            return text
        try:
            return payload.decode(charset)
        except (UnicodeDecodeError, LookupError):
            pass
    return encoding.decode(payload)
