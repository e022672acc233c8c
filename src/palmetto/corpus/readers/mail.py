"""Mail: mailboxes (.mbox) and single messages (.eml)."""

import email
import email.policy
import re
from collections.abc import Iterator
from typing import IO

from palmetto.corpus import encoding, markup
from palmetto.corpus.finding import File, Problem
from palmetto.corpus.opening import Opened
from palmetto.corpus.records import Dropped, Item, Record
from palmetto.recipe.corpus import Source

_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)


def read_mail(stream: Opened, file: File, source: Source) -> Iterator[Item]:
    """A document a message: its subject and its text, quoted replies included; no other headers, no attachments."""
    for number, data in enumerate(_messages(stream.file), 1):
        name = f"{file.name}:{number}"
        try:
            text = _text(data)
        except encoding.Undecodable as error:
            yield Problem(file.source, name, str(error))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            # The standard library's parser of headers trips over some that are malformed.
            yield Problem(file.source, name, f"no message that can be read ({error})")
        else:
            if text is None:
                yield Dropped(name, "a message without text", len(data))
            else:
                yield Record(name, text, None, source.licence, source.language)


def _messages(file: IO[bytes]) -> Iterator[bytes]:
    """Messages begin with a line `From …` after an empty one; a file that does not is one message."""
    lines: list[bytes] = []
    empty, box = True, False
    for line in file:
        if empty and line.startswith(b"From ") and (box or not lines):
            if lines:
                yield _QUOTED_FROM.sub(rb"\1", b"".join(lines))
            lines, box = [], True
        else:
            lines.append(line)
        empty = not line.strip()
    if lines:
        data = b"".join(lines)
        yield _QUOTED_FROM.sub(rb"\1", data) if box else data


def _text(data: bytes) -> str | None:
    message = email.message_from_bytes(data, policy=email.policy.default)
    part = message.get_body(("plain", "html"))
    if part is None:
        return None
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes), "a part that is no multipart"
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
