"""Tests that languages are identified from samples, and that only kept languages stay."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from palmetto.corpus.rules.language import SAMPLE, SAMPLES, Language, identify
from palmetto.corpus.text import scripts
from palmetto.recipe.corpus import Build, Source

TEXTS = {
    "en": "The wind was cold, but the sky was clear and there were many stars.",
    "de": "Der Wind war kalt, aber der Himmel war klar und es gab viele Sterne.",
    "ko": "바람이 차가웠지만 하늘은 맑았고 별이 많았다.",
    "ja": "風は冷たかったが、空は晴れていて星が多かった。",
    "zh": "风很冷，但是天空很晴朗，有很多星星。",
    "ru": "Ветер был холодный, но небо было ясное, и звёзд было много.",
    "th": "ลมหนาวแต่ท้องฟ้าแจ่มใสและมีดาวมากมาย",
    "el": "Ο αέρας ήταν κρύος, αλλά ο ουρανός ήταν καθαρός.",
    "he": "הרוח הייתה קרה, אבל השמיים היו בהירים והיו הרבה כוכבים.",
    "hi": "हवा ठंडी थी लेकिन आसमान साफ था और बहुत सारे तारे थे।",
}


def documents(*rows: tuple[str, str | None, str]) -> pa.Table:
    """Returns a table of (text, stated language, source) rows."""
    texts, languages, sources = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "source": pa.array(sources, pa.string()),
            "text": pa.array(texts, pa.large_string()),
            "language": pa.array(languages, pa.string()),
        }
    )


@pytest.mark.parametrize("language", TEXTS)
def test_identify(language: str) -> None:
    found, confidence = identify(TEXTS[language])
    assert found == language
    assert confidence is not None
    assert 0.5 < confidence <= 1


def test_text_without_letters() -> None:
    assert identify("123 — 456 !!! ١٢٣") == (None, None)
    assert identify("") == (None, None)


def test_names_in_latin_do_not_make_korean_english() -> None:
    assert identify("Kori Schulman 오바마 대통령 특별 보좌관은 Washington 에서 말했다.")[0] == "ko"
    assert identify("The Korean word 바람 means wind, and 하늘 means the sky above.")[0] == "en"


def test_a_long_text_is_looked_at_in_three_places() -> None:
    filler = "12 34 56 " * 1000
    middle = filler + TEXTS["de"] * 10 + filler
    assert identify(middle)[0] == "de"
    assert identify("0" * SAMPLE * (SAMPLES + 1) + TEXTS["ru"])[0] == "ru"


def test_stated_languages_stay_and_others_are_dropped() -> None:
    table = documents(
        (TEXTS["en"], None, "web"),
        (TEXTS["en"], "xx", "web"),
        (TEXTS["ko"], None, "web"),
        ("print(1)", "python", "code"),
        ("123", None, "web"),
    )
    kinds = {"web": "prose", "code": "code"}
    note = Language(kinds).annotate(table, "", Path())
    assert note["language"].to_pylist() == ["en", "xx", "ko", "python", None]
    assert note["dropped"].null_count == 5
    assert [value is None for value in note["confidence"].to_pylist()] == [False, True, False, True, True]
    kept = Language(kinds, ("en", "ko")).annotate(table, "", Path())
    refused = "language not kept"
    assert kept["dropped"].to_pylist() == [None, refused, None, None, refused]
    assert len(Language(kinds).annotate(documents(), "", Path())) == 0


def test_the_stage_follows_the_recipe() -> None:
    build = Build(sources={"a": Source(paths=("x",), kind="code"), "b": Source(paths=("y",))}, languages=("en",))
    assert Language.of(build) == Language({"a": "code", "b": "prose"}, ("en",))


@pytest.mark.parametrize(
    ("characters", "script"),
    [
        ("aÉẞ", "Latin"),
        ("жЇ", "Cyrillic"),
        ("한ㅋ", "Hangul"),
        ("漢々𠀀", "Han"),
        ("あアー", "kana"),
        ("ไ้", "Thai"),
        ("1。 $", "other"),
    ],
)
def test_scripts(characters: str, script: str) -> None:
    numbers = scripts.characters().script[scripts.codes(characters)]
    assert [scripts.SCRIPTS[number].name for number in numbers] == [script] * len(characters)


def test_accuracy_on_real_sentences(shared_data: Path) -> None:
    """Uses single sentences in seven languages; longer documents are easier."""
    right = total = 0
    for language in ("de", "en", "es", "fr", "ko", "ru", "zh"):
        lines = (shared_data / "corpus/wikipedia" / f"pud_{language}.jsonl").read_text().splitlines()[::10]
        found = [identify(json.loads(line)["text"])[0] for line in lines]
        right += found.count(language)
        total += len(found)
    assert right >= 0.99 * total
