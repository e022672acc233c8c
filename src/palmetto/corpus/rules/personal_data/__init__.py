"""Masks personal data: mail addresses, telephone numbers, IP addresses, secrets, and card, account and person numbers.

Text that only looks similar should stay, since masking changes it: dates, ISBNs, versions, numbers in tables, and
private and loopback addresses. Every expression takes time proportional to the text, whatever it is: a run is tried
only at its start, and repetitions are bounded or cannot overlap with what follows.
"""

from palmetto.corpus.rules.personal_data.finding import KINDS, find
from palmetto.corpus.rules.personal_data.stage import PersonalData

__all__ = ["KINDS", "PersonalData", "find"]
