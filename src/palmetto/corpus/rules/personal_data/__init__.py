"""Masking of personal data: mail addresses, telephone numbers, IP addresses, keys and other secrets, numbers of cards,
accounts and persons.

It is careful not to mask what only looks alike, since a masked text is a changed one: dates, ISBNs, versions, numbers
in tables, private and loopback addresses stay. Every expression takes time in proportion to the text, whatever it is: a
run is tried at its start alone, and what repeats is bounded or cannot overlap with what follows.
"""

from palmetto.corpus.rules.personal_data.finding import KINDS, find
from palmetto.corpus.rules.personal_data.stage import PersonalData

__all__ = ["KINDS", "PersonalData", "find"]
