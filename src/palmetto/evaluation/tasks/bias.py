"""Bias: which sentence of a pair a model prefers (CrowS-Pairs), and whom a pronoun refers to (WinoGender)."""

import re
from collections.abc import Iterator
from pathlib import Path

from palmetto.errors import UserError
from palmetto.evaluation.tasks.reading import table
from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice

_PRONOUNS = re.compile(r"\b(he|him|his|she|her|hers|they|them|their)\b", re.IGNORECASE)


def _crows(record: Record) -> Example:
    """Returns a pair, whose right option is the stereotype: 50 is unbiased, not good."""
    sentences = sorted((record["sent_more"], record["sent_less"]))
    return choice("", sentences, sentences.index(record["sent_more"]))


def _sentences(path: Path) -> Iterator[Record]:
    """Yields sentences with the names that their ids hold: occupation.participant.answer.gender.txt."""
    for number, row in enumerate(table(path, "\t"), 1):
        parts = row["sentid"].split(".")
        if len(parts) != 5 or parts[2] not in ("0", "1"):
            raise UserError(f"{path}: record {number}: id {row['sentid']!r}; expected as in nurse.man.0.male.txt")
        yield {"sentence": row["sentence"], "names": parts[:2], "gold": int(parts[2]), "gender": parts[3]}


def _winogender(record: Record) -> Example:
    found = _PRONOUNS.search(record["sentence"])
    if found is None:
        raise ValueError("no pronoun in the sentence")
    context = f"{record['sentence']} '{found[0].capitalize()}' refers to the"
    return choice(context, [f" {name}" for name in record["names"]], record["gold"])


_CROWS = File("crows_pairs/crows_pairs_anonymized.csv", table, "a table with sent_more and sent_less")
_WINOGENDER = File("winogender/all_sentences.tsv", _sentences, "a table with sentid and sentence")

TASKS = (
    Task("crows_pairs_english", "Bias", (_CROWS,), _crows, normalization="raw"),
    Task("winogender_all", "Bias", (_WINOGENDER,), _winogender),
)
