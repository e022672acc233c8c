"""Decodes bytes: strict UTF-8, else what a byte order mark says, else a guess that must pass a check.

A wrong guess is worse than none: the resulting mojibake passes every later filter. So a guess is decoded strictly and
checked, and text that fails is refused, named and counted.
"""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO

from palmetto.corpus.extras import need
from palmetto.corpus.reading import opening

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its first half
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FIRSTS = {sign[:1] for sign, _ in _MARKS}
_WIDER = {
    "euc-kr": "cp949",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
}
"""Encodings that are usually meant by the name of the standard that they extend."""
_OTHERS = ("cp1252", "cp850", "mac_roman")
"""Encodings that are tried if the guess fails; the detector does not know the last two."""
_CONTROL = bytes([*range(0x09), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F])
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{1,2}|[\xf0-\xf4][\x80-\xbf]{1,3}")
"""Matches characters of UTF-8 of more than one byte, also truncated ones."""
_HIGH = re.compile(rb"[\x80-\xff]+")
_ESCAPE, _KOREAN = b"\x1b$", b"\x1b$)C"
_TWO_BYTES = re.compile(r"(?:x-)?(?:gb|big5|euc|shift|sjis|ms|windows-(?:31j|949)|cp9|ks|uhc|johab)", re.IGNORECASE)
_ODD_PLACE = re.compile(r"(?<=[^\W\d_])[^\x00-\x7f’‘\u00ad‐‑–—·…](?=[^\W\d_])")
_SAMPLE = 1 << 18
_TOLERATED = 0.02
_FEW = 8


class Undecodable(ValueError):
    """Raised for bytes that are not text; the reason is short enough for a report."""

    def __init__(self, reason: str = "", size: int = 0) -> None:
        super().__init__(reason)
        self.size = size
        """The number of bytes, for a line."""


def mark(data: bytes) -> tuple[int, str] | None:
    """Returns the length and the encoding of the byte order mark at the beginning of data, or None."""
    if data[:1] not in _FIRSTS:
        return None
    for sign, name in _MARKS:
        if data.startswith(sign):
            return len(sign), name
    return None


def decode(data: bytes) -> str:
    """Returns the text of bytes in any encoding; a byte order mark is removed, nothing else is changed.

    Raises Undecodable: "binary", "broken UTF-8 at byte N", "no encoding fits".
    """
    if found := mark(data):
        length, name = found
        return _strictly(data[length:], name)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return _guessed(data, error.start)
    return _looked_at(data, text)


def keep(data: bytes) -> str:
    """Returns the text of bytes in UTF-8, UTF-16 or UTF-32, without losing any byte.

    In other text, bytes that are not UTF-8 are kept as surrogate escapes. UTF-8's byte order mark is kept too. Raises
    Undecodable: "binary", "broken UTF-16 at byte N".
    """
    found = mark(data)
    if found and found[1] != "utf-8":
        return _strictly(data[found[0] :], found[1])
    try:
        text = data.decode()
    except UnicodeDecodeError:
        wide = _wide_or_binary(data)
        return data.decode("utf-8", "surrogateescape") if wide is None else wide
    return _looked_at(data, text)


def _looked_at(data: bytes, text: str) -> str:
    """Returns a text that is strict UTF-8, decoded anew if it is in another encoding; raises Undecodable."""
    # Text may have a few stray control characters, but not a tenth.
    strange = _controls(data) * 10 > len(data)
    if b"\0" in data and (wide := _wide(data, 0.03 if strange else 0.3)) is not None:
        return wide
    if _ESCAPE in data and (escaped := _try(data, "iso2022_kr" if _KOREAN in data else "iso2022_jp_2")) is not None:
        return escaped
    if strange:
        raise Undecodable("binary")
    return text


def utf8_despite(data: bytes, charset: str) -> str | None:
    """Returns the text of bytes that are UTF-8 although another charset is declared, or None if they are not.

    Text in another encoding is hardly ever valid UTF-8: with one byte per character, never by people's writing; with
    two bytes, only a few characters, such as "模目" in GBK.
    """
    wide = charset.lower().replace("-", "").startswith(("utf16", "utf32", "ucs"))
    characters = sum(1 for _ in _MULTIBYTE.finditer(data[:_SAMPLE]))
    if wide and b"\0" in data:
        return None
    fewest = 0 if wide else _FEW if _TWO_BYTES.match(charset) else 1
    return _try(data, "utf-8") if characters >= fewest else None


class Lines(Iterator["str | Undecodable"]):
    """Iterates over the lines of a file with their line breaks, each line in its own encoding.

    A line that is undecodable or too long is yielded as an Undecodable. UTF-16 and UTF-32, where a line-break byte does
    not end a line, are recognized by the byte order mark of the file.
    """

    def __init__(self, file: IO[bytes], decode: Callable[[bytes], str] = decode) -> None:
        self._decode = decode
        self._lines: Iterator[bytes | int] = opening.lines(file)
        self._first = next(self._lines, b"")
        if isinstance(self._first, bytes) and (found := mark(self._first)) and found[1] != "utf-8":
            length, name = found
            self._decode = lambda line: _strictly(line, name)
            self._lines = _wide_lines(file, self._first[length:], "\n".encode(name))
            self._first = b""

    def __next__(self) -> "str | Undecodable":
        line, self._first = self._first or next(self._lines), b""
        if isinstance(line, int):
            return Undecodable(opening.too_long(line), line)
        try:
            return self._decode(line)
        except Undecodable as error:
            return Undecodable(str(error), len(line))


def _wide_lines(file: IO[bytes], data: bytes, end: bytes) -> Iterator[bytes | int]:
    """Yields lines as `opening.lines` does, for characters as wide as `end`, the line break."""
    start = searched = 0
    dropped = 0
    while True:
        found = data.find(end, searched)
        if found >= 0 and (found - start) % len(end):
            searched = found + 1
            continue
        if found >= 0:
            found += len(end)
            size = dropped + found - start
            yield size if size > opening.RECORD_BYTES else data[start:found]
            start, searched, dropped = found, found, 0
            continue
        if len(data) - start > opening.RECORD_BYTES:
            whole = (len(data) - start) // len(end) * len(end)
            dropped, start = dropped + whole, start + whole
        searched = max(0, len(data) - start - len(end))
        data, start = data[start:], 0
        if not (more := file.read(1 << 20)):
            break
        data += more
    if data or dropped:
        yield dropped + len(data) if dropped else data


def _controls(data: bytes) -> int:
    return len(data) - len(data.translate(None, _CONTROL))


def _strictly(data: bytes, name: str) -> str:
    try:
        return data.decode(name)
    except UnicodeDecodeError as error:
        standard = name.upper().removesuffix("-LE").removesuffix("-BE")
        raise Undecodable(f"broken {standard} at byte {error.start}") from None


def _try(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except (UnicodeDecodeError, LookupError):
        return None


def _wide_or_binary(data: bytes) -> str | None:
    """Returns the text of UTF-16 without a byte order mark, or None for other text; raises Undecodable: "binary"."""
    if b"\0" in data:
        if (wide := _wide(data, 0.03)) is not None:
            return wide
        raise Undecodable("binary")
    if _controls(data[:_SAMPLE]) * 100 > min(len(data), _SAMPLE):
        raise Undecodable("binary")
    return None


def _guessed(data: bytes, broken: int) -> str:
    if (wide := _wide_or_binary(data)) is not None:
        return wide
    if _mostly_utf8(data):
        return _mixed(data, broken)
    guess = need("resiliparse.parse.encoding").detect_encoding(data, html5_compatible=False)
    for name in dict.fromkeys((_WIDER.get(guess, guess), *_OTHERS)):
        if name is not None and (text := _try(data, name)) is not None and _plausible(text):
            return text
    raise Undecodable("no encoding fits")


def _mostly_utf8(data: bytes) -> bool:
    """Returns whether most of the non-ASCII bytes are UTF-8: then the data is broken or mixed UTF-8."""
    return sum(map(len, _MULTIBYTE.findall(data))) * 2 > sum(map(len, _HIGH.findall(data)))


def _mixed(data: bytes, broken: int) -> str:
    """Returns the text of UTF-8 lines mixed with lines of one other encoding, as when files were joined.

    Raises Undecodable if it is not such a mixture.
    """
    lines = data.split(b"\n")
    texts = [_try(line, "utf-8") for line in lines]
    others = [line for line, text in zip(lines, texts, strict=True) if text is None]
    try:
        if any(map(_mostly_utf8, others)):
            raise Undecodable
        guessed = iter(_guessed(b"\n".join(others), 0).split("\n"))
    except Undecodable:
        raise Undecodable(f"broken UTF-8 at byte {broken}") from None
    return "\n".join(next(guessed) if text is None else text for text in texts)


def _wide(data: bytes, share: float) -> str | None:
    """Returns the text of UTF-16 without a byte order mark, or None.

    In Latin text every other byte is NUL, in other scripts those of spaces and line breaks.
    """
    if len(data) % 2:
        return None
    zeros = [data[start:_SAMPLE:2].count(0) for start in (0, 1)]
    places = min(len(data), _SAMPLE) / 2
    name = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    if max(zeros) < max(5 * min(zeros), share * places, _FEW):
        return None
    text = _try(data, name)
    return text if text is not None and _plausible(text) else None


def _plausible(text: str) -> bool:
    """Returns whether people would write this text: few meaningless characters, and few symbols or capitals inside
    words.
    """
    sample = text[:_SAMPLE]
    characters = Counter(sample)
    unusual = sum(count for character, count in characters.items() if character > "\x7f")
    if not unusual:
        return True
    nonsense = sum(
        count
        for character, count in characters.items()
        if character > "\x7f" and unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs")
    )
    odd = 0
    for found in _ODD_PLACE.finditer(sample):
        before, here, after = sample[found.start() - 1], found.group(), sample[found.end()]
        odd += before.islower() and after.islower() and (here.isupper() or unicodedata.category(here)[0] in "PSNZ")
    return nonsense + odd <= _TOLERATED * unusual
