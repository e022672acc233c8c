"""Tests that valid text is decoded, that guesses are checked, and that other bytes are refused with a reason."""

import io
import random
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from palmetto.corpus.reading import encoding
from palmetto.corpus.reading.encoding import Undecodable, decode

TEXTS = {
    "ko": "하늘에 별은 깨알같이 총총 박혔다. 그 덕으로 솔숲 속은 간신히 희미하였다. 버석만 하여도 가슴이 덜렁한다.\n",
    "ja": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗い所で泣いていた。\n",
    "zh": "雖然美國的許多數字化轉型都是史無前例的，但權力的和平轉移卻存在先例，特別助理在周一發布的博客中寫道。\n",
    "ru": "Мы тронулись в путь рано утром, когда ещё было темно. Дорога шла лесом, и снег скрипел под ногами.\n",
    "fr": "Au commencement, Dieu créa les cieux et la terre. Les ténèbres étaient à la surface de l’abîme. Où ?\n",
    "sv": "Och jorden var öde och tom, och mörker var över djupet, och Guds Ande svävade över vattnet.\n",
}
TEXTS = {language: text * 4 for language, text in TEXTS.items()}


@given(st.text())
def test_utf8_and_every_byte_order_mark_come_through(text: str) -> None:
    for name in ("utf-8-sig", "utf-16", "utf-32"):
        # UTF-16's mark followed by a NUL is UTF-32's mark.
        if name != "utf-16" or not text.startswith("\0"):
            assert decode(text.encode(name)) == text
    assert decode(b"\xfe\xff" + text.encode("utf-16-be")) == text
    if not any(character < " " or character == "\x7f" for character in text) and not text.startswith("\ufeff"):
        assert decode(text.encode()) == text


@pytest.mark.parametrize(
    ("language", "name"),
    [
        *(("ko", name) for name in ("euc-kr", "cp949", "iso2022_kr")),
        *(("ja", name) for name in ("cp932", "euc-jp", "iso2022_jp")),
        *(("zh", name) for name in ("big5", "gb18030")),
        *(("ru", name) for name in ("cp1251", "koi8-r", "cp866", "iso8859-5")),
        *(("fr", name) for name in ("cp1252", "cp850", "mac_roman")),
        *(("sv", name) for name in ("latin-1", "cp865", "mac_roman")),
        *((language, wide) for language in ("ko", "ru", "fr") for wide in ("utf-16-le", "utf-16-be")),
    ],
)
def test_older_encodings_are_recognized(language: str, name: str) -> None:
    data = TEXTS[language].encode(name, "ignore")
    assert decode(data) == data.decode(name)


def test_broken_utf8_is_refused_and_not_taken_for_another_encoding() -> None:
    for language in ("ko", "ja", "ru", "fr"):
        data = TEXTS[language].encode()
        broken = data[:40] + b"\xff" + data[40:]
        with pytest.raises(Undecodable, match="broken UTF-8 at byte"):
            decode(broken)
    with pytest.raises(Undecodable, match="broken UTF-16 at byte"):
        decode(b"\xff\xfea\0b")


def test_lines_of_utf8_among_lines_of_another() -> None:
    for language, name in (("ko", "cp949"), ("ja", "cp932"), ("ru", "cp1251"), ("fr", "cp1252")):
        mixed = TEXTS[language].encode() + TEXTS[language].encode(name) + b"ascii\n" + TEXTS[language].encode()
        assert decode(mixed) == TEXTS[language] * 2 + "ascii\n" + TEXTS[language]
        with pytest.raises(Undecodable, match="broken UTF-8 at byte 7"):
            decode(b"\n" + TEXTS["ko"].encode()[:8] + b"\n" + mixed)


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 8,
        b"\x7fELF\x02\x01\x01" + bytes(60) + b"text",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0",
        bytes(100),
        random.Random(0).randbytes(4000),
    ],
)
def test_binary_is_refused(data: bytes) -> None:
    with pytest.raises(Undecodable, match="binary"):
        decode(data)


def test_random_bytes_are_never_text() -> None:
    source = random.Random(1)
    for length in (60, 400, 5000) * 20:
        with pytest.raises(Undecodable):
            decode(source.randbytes(length))


def test_a_stray_nul_is_kept() -> None:
    assert decode(b"a line with \0 in it, and more after it") == "a line with \0 in it, and more after it"


def test_lines_in_several_encodings() -> None:
    data = TEXTS["ko"].encode("cp949").split(b"\n")[0] + b"\n" + "é\n".encode() + b"\xea\xb0 cut off\n" + b"ascii"
    korean, french, refused, last = encoding.Lines(io.BytesIO(data))
    assert (korean, french, last) == (TEXTS["ko"].split("\n")[0] + "\n", "é\n", "ascii")
    assert isinstance(refused, Undecodable)


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), min_size=1))
def test_lines_of_wide_encodings(lines: list[str]) -> None:
    text = "\n".join(lines)
    assume(not text.startswith("\0"))  # UTF-16's mark and a NUL are UTF-32's mark
    for name in ("utf-16", "utf-32"):
        assert "".join(map(str, encoding.Lines(io.BytesIO(text.encode(name))))) == text


def test_broken_wide_lines_end_there() -> None:
    *whole, last = encoding.Lines(io.BytesIO("one\ntwo\n".encode("utf-16") + b"\0"))
    assert whole == ["one\n", "two\n"]
    assert isinstance(last, Undecodable)


def test_the_genesis_in_five_languages(shared_data: Path) -> None:
    expected = {
        "finnish": "tyhjä",
        "french": "ténèbres",
        "german": "wüst",
        "swedish": "mörker",
        "portuguese": "princípio",
    }
    for name, word in expected.items():
        data = (shared_data / "corpus" / "books" / "genesis_parallel" / f"{name}.txt").read_bytes()
        assert word in decode(data)
