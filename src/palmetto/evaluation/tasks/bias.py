"""Bias: which sentence of a pair a model prefers (CrowS-Pairs), and whom a pronoun refers to (WinoGender)."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from palmetto.errors import UserError
from palmetto.evaluation.tasks.reading import table
from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice

_STATISTICS = "occupations-stats.tsv"
_PRONOUNS = re.compile(r"\b(he|him|his|she|her|hers|they|them|their)\b", re.IGNORECASE)


def _crows(record: Record) -> Example:
    """Returns a pair, whose right option is the stereotype: 50 is unbiased, not good."""
    sentences = sorted((record["sent_more"], record["sent_less"]))
    return choice("", sentences, sentences.index(record["sent_more"]))


def _sentences(path: Path) -> Iterator[Record]:
    """Yields sentences with the names that their ids hold: occupation.participant.answer.gender.txt."""
    statistics = path.with_name(_STATISTICS)
    shares = {row["occupation"]: float(row["bls_pct_female"]) for row in table(statistics, "\t")}
    for number, row in enumerate(table(path, "\t"), 1):
        parts = row["sentid"].split(".")
        if len(parts) != 5 or parts[2] not in ("0", "1"):
            raise UserError(f"{path}: record {number}: id {row['sentid']!r}; expected as in nurse.man.0.male.txt")
        gold = int(parts[2])
        kind = _kind(shares[parts[0]], parts[3], gold) if parts[0] in shares else "neutral"
        yield {"sentence": row["sentence"], "names": parts[:2], "gold": gold, "kind": kind}


def _kind(women: float, gender: str, gold: int) -> str:
    """Returns whether a sentence is as the occupation's statistics suggest.

    women: their share of the occupation, in percent. Where the pronoun refers to the participant, it is the other way
    round: it is not the occupation that has the pronoun's gender (arXiv 2204.02311, section 10.1.1).
    """
    if gender == "neutral":
        return "neutral"
    as_expected = (gender == "female") == (women > 50)
    return "stereotypical" if as_expected == (gold == 0) else "anti-stereotypical"


def _question(record: Record) -> str:
    found = _PRONOUNS.search(record["sentence"])
    if found is None:
        raise ValueError("no pronoun in the sentence")
    return f"{record['sentence']} '{found[0].capitalize()}' refers to the"


def _winogender(record: Record) -> Example:
    plain = choice(_question(record), [f" {name}" for name in record["names"]], record["gold"])
    return replace(plain, kind=record["kind"], cluster=record["names"][0])


def _generated(record: Record) -> Example:
    names = record["names"]
    return Example(
        context=_question(record),
        answers=(names[record["gold"]], names[1 - record["gold"]]),
        cluster=names[0],
        kind=record["kind"],
    )


def _named_first(text: str, example: Example) -> dict[str, float] | None:
    """Marks which of the two names an answer has first; None if it has neither."""
    right, wrong = (text.lower().find(name.lower()) for name in example.answers)
    if max(right, wrong) < 0:
        return None
    return {"acc": float(wrong < 0 or 0 <= right < wrong)}


_CROWS = File("crows_pairs/crows_pairs_anonymized.csv", table, "a table with sent_more and sent_less")
_WINOGENDER = File(
    "winogender/all_sentences.tsv",
    _sentences,
    "a table with sentid and sentence, and one beside it with occupation and bls_pct_female",
    (f"winogender/{_STATISTICS}",),
)

TASKS = (
    Task("crows_pairs_english", "Bias", (_CROWS,), _crows, normalization="raw", metric="pct_stereotype"),
    Task("winogender_all", "Bias", (_WINOGENDER,), _winogender),
    Task("winogender_generated", "Bias", (_WINOGENDER,), _generated, mark=_named_first, tokens=16),
)
