"""Tests that each rule drops what it should, and that languages are judged by their own rules."""

import csv
import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from palmetto.corpus import tables
from palmetto.corpus.rules import repetition
from palmetto.corpus.rules.filters import Filters
from palmetto.corpus.text.words import batches
from palmetto.errors import UserError
from palmetto.recipe.corpus import Build, Source
from palmetto.recipe.corpus import Filters as Settings

# Enough different words, with the required stop words.
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PROSE = " ".join(f"{a}{b} and the" if a == b else f"{a}{b}" for a in NUMBERS for b in NUMBERS) + "."


def documents(*texts: str, language: str | None = "en", source: str = "web") -> pa.Table:
    return pa.table(
        {
            "source": pa.array([source] * len(texts)),
            "text": pa.array(texts, pa.large_string()),
            "language": pa.array([language] * len(texts), pa.string()),
        }
    )


def judge(*texts: str, rules: str = "gopher", language: str | None = "en", **values: object) -> list[str | None]:
    stage = Filters(Settings.model_validate(values), {"web": rules})
    reasons: list[str | None] = stage.annotate(documents(*texts, language=language), "", Path())["dropped"].to_pylist()
    return reasons


def cut(text: str, **values: object) -> str:
    """Returns what C4's rules leave of a text that stays."""
    notes = Filters(Settings(), {"web": "c4"}, **values).annotate(documents(text), "", Path())  # type: ignore[arg-type]
    assert notes["dropped"].to_pylist() == [None]
    return tables.edited(text, notes["edits"].to_pylist()[0] or ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE, None),
        ("the and " * 24, "too few words"),
        (" ".join(f"a{n}" for n in "abcdefghijklmnopqrstuvwxyz") * 3 + " the and", "words too short"),
        (" ".join(f"{a}{b}{a}" for a in NUMBERS for b in NUMBERS) + " the and", "words too long"),
        (PROSE + " # " * 20, "too many symbols"),
        (PROSE.replace(" and", "... and") + " … so .... on" * 5, "too many symbols"),
        ("\n".join("• " + " ".join(PROSE.split()[n : n + 5]) for n in range(0, 100, 5)), "bullet lines"),
        ("\n".join(" ".join(PROSE.split()[n : n + 5]) + " ...  " for n in range(0, 100, 5)), "too many symbols"),
        ("\n".join(" ".join(PROSE.split()[n : n + 20]) + "…" for n in range(0, 100, 20)), "ellipsis lines"),
        (PROSE + " 1 2 3 4 5 6 7 8 9 10 11 12 13 14" + " |" * 20, "too few words with letters"),
        (PROSE.replace("the", "thy").replace("and", "anb"), "too few stop words"),
        (PROSE + "\nthe same line" * 5, "duplicate lines"),
        ("\n".join(PROSE.split(" and ")) + "\n\nof a line" * 3, "duplicate paragraphs"),
        (" ".join(f"{word} salt pepper" for word in PROSE.split()), "frequent 2-grams"),
        (PROSE + " eating and drinking what the kitchen gave" * 7, "duplicate 5-grams"),
    ],
)
def test_rules_of_gopher(text: str, reason: str | None) -> None:
    assert judge(text) == [reason]


def test_maximum_words() -> None:
    assert judge(PROSE, minimum_words=10, maximum_words=100) == ["too many words"]


def test_rules_of_c4() -> None:
    keep = "This line has words enough. And so it stays here! Does it not?"
    cut_away = "no full stop at the end of it\nAnd here it trails off so far...\nToo short.\nlast of all it ends"
    text = f"Menu\n{keep}\n{cut_away}"
    assert cut(text) == f"{keep}\n"
    assert cut(f"{keep}\nPlease enable JavaScript to see this page here.\nWe value your Privacy Policy very much.") == (
        f"{keep}\n"
    )
    assert (
        cut(f"  {keep}\r\n\n“And this is said in quotation marks”")
        == f"  {keep}\r\n\n“And this is said in quotation marks”"
    )
    assert judge(f"{keep} Lorem Ipsum.", rules="c4") == ["lorem ipsum"]
    assert judge(f"{keep} {{.", rules="c4") == ["curly brace"]
    assert judge("Only one sentence is here, of words enough.", "none", rules="c4") == ["too few sentences"] * 2
    assert judge(keep, rules="c4") == [None]


def test_bad_words_only_of_a_list(tmp_path: Path) -> None:
    text = "This line has words enough. And so it stays here! Does it Not, Wicked?"
    (tmp_path / "bad.txt").write_text("wicked\nворчун\n")
    build = Build.model_validate(
        {
            "root": str(tmp_path),
            "sources": {"web": {"paths": ["."]}},
            "filters": {"bad_words": "bad.txt", "rules": "c4"},
        }
    )
    note = Filters.of(build).annotate(documents(text, "Now wickedness is another. It is here. It is so."), "", tmp_path)
    assert note["dropped"].to_pylist() == ["bad words", None]
    with pytest.raises(UserError, match=r"bad_words: .*none\.txt"):
        Filters.of(build.model_copy(update={"filters": Settings(bad_words="none.txt")}))


LANGUAGES = {
    "ko": "우리는 어제 저녁에 강가를 따라 오래 걸었다. 바람이 차가웠지만 하늘은 맑았고 별이 많았다. "
    "집에 돌아와 따뜻한 차를 마셨다. ",
    "ja": "私は昨日の夜に川のそばを長く歩いた。風は冷たかったが、空は晴れていて星が多かった。"
    "家に帰って温かいお茶を飲んだ。",
    "zh": "我昨天晚上在河边走了很久。风很冷，但是天空很晴朗，有很多星星。回家以后我喝了一杯热茶，然后和妈妈说话。",
    "th": "เมื่อวานตอนเย็นเราเดินเลียบแม่น้ำเป็นเวลานาน ลมหนาวแต่ท้องฟ้าแจ่มใสและมีดาวมากมาย เรากลับบ้านและดื่มชาร้อน ",
    "ru": "Вчера вечером мы долго шли вдоль реки. "
    "Ветер был холодный, но на небе было много звёзд. Он сказал, что не устал. ",
    "el": "Χθες το βράδυ περπατήσαμε πολύ δίπλα στο ποτάμι. "
    "Ο αέρας ήταν κρύος και είχε πολλά αστέρια με το φεγγάρι. Ήταν αργά. ",
    "hi": "कल शाम को हम नदी के किनारे बहुत देर तक चले। हवा ठंडी थी लेकिन आसमान साफ था और बहुत सारे तारे थे। हम घर आ गए। ",
    "ar": "مشينا مساء أمس طويلا على ضفة النهر. "
    "كانت الريح باردة، لكن السماء كانت صافية، ولم يكن في الطريق أحد. هل كان هذا كله من خيال؟ ",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_languages_are_judged_by_their_own(language: str) -> None:
    """A text of a few sentences passes when it is lengthened word by word; mere repetition would fail the rules."""
    text = LANGUAGES[language]
    assert judge(text, language=language, minimum_words=10) == [None]
    assert judge(text, language=language, minimum_words=10, rules="c4") == [None]
    assert judge(text, language=language, minimum_words=60) == ["too few words"]
    assert judge(text * 20, language=language) != [None]


def test_stop_words_are_those_of_the_language() -> None:
    assert judge(LANGUAGES["ru"], language="en", minimum_words=10) == ["too few stop words"]
    assert judge(LANGUAGES["zh"], language="ja", minimum_words=10) == ["too few stop words"]
    assert judge(LANGUAGES["ru"], language=None, minimum_words=10) == [None]


def test_repetition_in_unspaced_scripts() -> None:
    assert judge(LANGUAGES["ja"] + "本日は晴天なり本日は晴天なり" * 10, language="ja")[0] in (
        "frequent 2-grams",
        "frequent 3-grams",
        "frequent 4-grams",
    )


def test_only_prose_is_judged() -> None:
    sources = {
        "web": Source(paths=("a",)),
        "chats": Source(paths=("a",), kind="dialogue"),
        "books": Source(paths=("a",), filters="none"),
        "news": Source(paths=("a",), filters="gopher"),
    }
    stage = Filters.of(Build(sources=sources))
    assert stage.rules == {"web": "both", "books": "none", "news": "gopher"}
    mixed = pa.concat_tables([documents("short", source=name) for name in ("chats", "web", "books", "news")])
    note = stage.annotate(mixed, "", Path())
    assert note["dropped"].to_pylist() == [None, "too few words", None, "too few words"]
    assert note.schema.field("edits").type == tables.EDITS
    assert len(stage.annotate(mixed.slice(0, 0), "", Path())) == 0


def plain_n_grams(text: str, n: int) -> tuple[int, int]:
    """Returns the characters in the most frequent n-gram of words, and in those that occur earlier."""
    words = text.split()
    grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
    most = max((grams.count(gram) for gram in grams), default=0)
    top = next((len(" ".join(gram)) * most for gram in grams if grams.count(gram) == most), 0) if most > 1 else 0
    covered = {at + k for at, gram in enumerate(grams) if gram in grams[:at] for k in range(n)}
    return top, sum(len(words[at]) for at in covered)


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from(["a", "bb", "ccc", "d1"]), max_size=40), min_size=1, max_size=5))
def test_repeated_n_grams_are_those_of_a_plain_count(texts: list[list[str]]) -> None:
    joined = [" ".join(words) for words in texts]
    ((_, batch),) = batches(pa.chunked_array([pa.array(joined, pa.large_string())]))
    shares = repetition.n_grams(batch, batch.tokens(), np.ones(len(batch), np.int64))
    for number, text in enumerate(joined):
        for n, share in shares.items():
            top, duplicate = plain_n_grams(text, n)
            expected = top if n in repetition.TOP else duplicate
            assert round(share[number] * max(len(text), 1)) == expected, (text, n)


@settings(max_examples=20)
@given(st.lists(st.text(st.sampled_from("ab .\n…한あ漢ก#•-"), max_size=60), min_size=1, max_size=30))
def test_a_verdict_does_not_depend_on_other_texts(texts: list[str]) -> None:
    stage = Filters(Settings(minimum_words=1), {"web": "both"})
    table = documents(*texts, PROSE, *texts)
    together = stage.annotate(table, "", Path()).to_pylist()
    alone = [stage.annotate(table.slice(row, 1), "", Path()).to_pylist()[0] for row in range(len(table))]
    assert together == alone


@settings(max_examples=60)
@given(st.text(st.sampled_from('aB .!"\n\r\u3000。あ'), max_size=80))
def test_cuts_are_whole_lines(text: str) -> None:
    note = Filters(Settings(), {"web": "c4"}).annotate(documents(text), "", Path()).to_pylist()[0]
    if note["edits"]:
        left = tables.edited(text, note["edits"])
        lines = text.split("\n")
        rest = iter(lines)
        assert all(line in rest or not line for line in left.split("\n"))


def test_real_books_and_news_stay(shared_data: Path) -> None:
    """Edited running text in ten languages is not what these rules should drop."""
    corpus = shared_data / "corpus"
    sections: list[tuple[str, str]] = []
    for language in ("de", "en", "es", "fr", "it", "pt", "ru", "uk"):
        for path in sorted((corpus / "books" / language).glob("*.txt"))[:1]:
            text = path.read_text(errors="replace")
            sections += [(language, text[at : at + 4000]) for at in range(0, min(len(text), 80_000), 4000)]
    for language, name in (("ko", "wikipedia/pud_ko"), ("zh", "wikipedia/pud_zh"), ("fr", "news/wikinews_fr")):
        texts = [json.loads(line)["text"] for line in (corpus / f"{name}.jsonl").open()]
        sections += [(language, " ".join(texts[at : at + 10])) for at in range(0, len(texts), 10)]
    with (corpus / "news/wikinews_en_2019.csv").open(newline="") as file:
        sections += [("en", row["text"]) for row in csv.DictReader(file)]
    table = pa.concat_tables([documents(text, language=language) for language, text in sections])
    reasons = Filters(Settings(), {"web": "gopher"}).annotate(table, "", Path())["dropped"].to_pylist()
    assert len(reasons) > 500
    assert sum(reason is not None for reason in reasons) < 0.02 * len(reasons), reasons


def test_texts_of_too_many_characters_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palmetto.corpus.rules.filters.LONGEST", 2000)
    for rules in ("gopher", "c4"):
        assert judge(PROSE, PROSE * 10, rules=rules)[1] == "too many characters"
    assert judge(PROSE, PROSE * 10)[0] is None
