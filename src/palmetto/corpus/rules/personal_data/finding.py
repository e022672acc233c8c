"""Finds personal data of all kinds in a text."""

import bisect
from collections.abc import Iterator

from palmetto.corpus.rules.personal_data import addresses, mail, numbers, secrets, telephones
from palmetto.corpus.rules.personal_data.kind import Kind, matching

KINDS = (
    Kind("key", secrets.HINT_KEY, matching(secrets.KEY)),
    Kind("secret", secrets.HINT_SECRET, matching(secrets.SECRET, secrets.is_random, "value")),
    Kind("email", mail.HINT, matching(mail.EMAIL, mail.is_common)),
    Kind("email", mail.HINT, matching(mail.EMAIL, mail.is_any), in_code=False),
    Kind("iban", numbers.HINT_IBAN, numbers.ibans, in_code=False),
    Kind("card", numbers.HINT_CARD, matching(numbers.CARD, numbers.is_card), in_code=False),
    Kind("id", numbers.HINT_PERSON, numbers.persons, in_code=False),
    Kind("ip", addresses.HINT_6, matching(addresses.IPV6, addresses.is_public_6)),
    Kind("ip", addresses.HINT_4, matching(addresses.IPV4, addresses.is_public_4)),
    Kind(
        "phone",
        telephones.HINT_INTERNATIONAL,
        matching(telephones.INTERNATIONAL, telephones.is_international),
        in_code=False,
    ),
    Kind(
        "phone",
        telephones.HINT_LABELLED,
        matching(telephones.LABELLED, telephones.is_labelled),
        in_code=False,
    ),
    Kind("phone", telephones.HINT_NATIONAL, matching(telephones.NATIONAL, telephones.is_national), in_code=False),
)
"""All kinds in order of precedence, for overlapping matches. In code, numbers have other meanings."""


def find(text: str, kinds: list[Kind] | tuple[Kind, ...] = KINDS) -> Iterator[tuple[int, int, str]]:
    """Yields (start, end, kind) of personal data, not overlapping, in no particular order."""
    taken: list[tuple[int, int]] = []
    for kind in kinds:
        new = [span for span in kind.spans(text) if not _overlaps(taken, *span)]
        yield from ((start, end, kind.name) for start, end in new)
        if new:
            taken = sorted([*taken, *new])


def _overlaps(taken: list[tuple[int, int]], start: int, end: int) -> bool:
    """Returns whether a span overlaps one of the given spans, which are sorted and do not overlap."""
    after = bisect.bisect_left(taken, (end, 0))
    return after > 0 and taken[after - 1][1] > start
