"""Finds numbers of cards, accounts and persons, which check digits tell from other numbers."""

import re
from collections.abc import Callable

from palmetto.corpus.rules.personal_data.checks import luhn, mod_97, verhoeff, weighted
from palmetto.corpus.rules.personal_data.kind import Spans

CARD = re.compile(
    r"""(?<![\w.,+-])(?<!\d[ ]) (?:
        (?:4\d{3}|5[0-8]\d\d|2[2-7]\d\d|6(?:4[4-9]|[02-35-79]\d)\d|35\d\d)
          (?P<gap>[ -]?) \d{4}(?P=gap)\d{4}(?P=gap)\d{4}(?:(?P=gap)\d{3})?
        | 3[47]\d\d (?P<six>[ -]?) \d{6}(?P=six)\d{5} | 3(?:0[0-5]|[68]\d)\d (?P<diners>[ -]?) \d{6}(?P=diners)\d{4} )
        (?![\w-]|[.,]\d|[ ]\d)""",
    re.ASCII | re.VERBOSE,
)
HINT_CARD = r"\b[2-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{2,4}|\b3\d{3}[ -]?\d{6}[ -]?\d{4}"


def is_card(match: re.Match[str]) -> bool:
    """Returns whether the check digit is correct and the digits are not all the same."""
    digits = re.sub(r"\D", "", match[0])
    return luhn(digits) and len(set(digits)) > 1


_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "PT ST",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
"""The countries by the length of their IBANs in characters."""
_LENGTHS = {country: length for length, countries in _COUNTRIES.items() for country in countries.split()}
_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2})\d\d(?=[ -]?[A-Z0-9]{4})")
HINT_IBAN = r"\b[A-Z]{2}\d\d[ -]?[A-Z0-9]{4}[ -]?[A-Z0-9]{3}"


def ibans(text: str) -> Spans:
    """Yields the spans of IBANs, written in one piece or in groups; text after the last character does not matter."""
    for begin in _IBAN.finditer(text):
        length = _LENGTHS.get(begin[1])
        if length is None:
            continue
        found = re.compile(rf"(?:[A-Z0-9][ -]?){{{length - 1}}}[A-Z0-9](?![A-Za-z0-9])").match(text, begin.start())
        if found and mod_97(re.sub(r"[ -]", "", found[0])):
            yield found.span()


PERSON = re.compile(
    r"""(?<![\w.+-])(?<!\d[ ]) (?:
        (?P<br>\d{3}\.\d{3}\.\d{3}-\d\d)
      | (?P<cn>[1-9]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx])
      | (?P<es>(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z])
      | (?P<fr>[12][ ]?\d\d[ ]?(?:0[1-9]|1[0-2]|[2-9]\d)[ ]?(?:\d\d|2[AB])[ ]?\d{3}[ ]?\d{3}[ ]?\d\d)
      | (?P<it>[A-Z]{6}\d\d[A-EHLMPR-T]\d\d[A-Z]\d{3}[A-Z])
      | (?P<in>[2-9]\d{3}(?P<gap>[ -])\d{4}(?P=gap)\d{4})
      | (?P<kr>\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-[1-8]\d{6})
      | (?P<us>(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4})
      | (?P<se>(?:19|20)?\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[-+]\d{4})
      | (?P<fi>(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d\d[-+A]\d{3}[0-9A-FHJ-NPR-Y])
      | (?P<gb>(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]
          (?P<nino>[ ]?)\d\d(?P=nino)\d\d(?P=nino)\d\d(?P=nino)[A-D])
      | (?:PESEL:?[ ])(?P<pl>\d{11})
        ) (?![\w-]|[.,]\d|[ ]\d)""",
    re.ASCII | re.VERBOSE,
)
HINT_PERSON = (
    r"\d{3}\.\d{3}\.\d{3}-\d\d|\d{17}[\dXx]|\b(?:\d{8}|[XYZ]-?\d{7})-?[A-Z]\b"
    r"|\b[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3}"
    r"|[A-Z]{6}\d\d[A-Z]\d\d"
    r"|\d{4}[ -]\d{4}[ -]\d{4}|\d{6}[-+A]\d{3}|\d{3}-\d\d-\d{4}|\b[A-Z]{2} ?\d\d ?\d\d ?\d\d ?[A-D]\b|PESEL"
)
_SPAIN = "TRWAGMYFPDXBNJZSQVHLCKE"
_FINLAND = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CHINA = "10X98765432"
_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
"""Italy's values of A to Z at odd places; 0 to 9 have those of A to J."""


def _brazil(value: str) -> bool:
    digits = re.sub(r"\D", "", value)
    first = weighted(digits[:9], tuple(range(10, 1, -1))) * 10 % 11 % 10
    second = weighted(digits[:10], tuple(range(11, 1, -1))) * 10 % 11 % 10
    return len(set(digits)) > 1 and digits[9:] == f"{first}{second}"


def _china(value: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return value[-1].upper() == _CHINA[weighted(value[:17], weights) % 11]


def _spain(value: str) -> bool:
    plain = value.replace("-", "")
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return plain[-1] == _SPAIN[int(number) % 23]


def _france(value: str) -> bool:
    plain = value.replace(" ", "")
    # Corsica's departments are counted as 19 and 18.
    number = int(plain[:13].replace("2A", "19").replace("2B", "18"))
    return int(plain[13:]) == 97 - number % 97


def _italy(value: str) -> bool:
    total = 0
    for place, each in enumerate(value[:15]):
        number = int(each) if each.isdigit() else ord(each) - ord("A")
        total += _ODD[number] if place % 2 == 0 else number
    return value[15] == chr(ord("A") + total % 26)


def _korea(value: str) -> bool:
    digits = value.replace("-", "")
    return (11 - weighted(digits[:12], (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10 == int(digits[12])


def _poland(value: str) -> bool:
    return (10 - weighted(value[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10 == int(value[10])


_CHECKS: dict[str, Callable[[str], bool]] = {
    "br": _brazil,
    "cn": _china,
    "es": _spain,
    "fr": _france,
    "it": _italy,
    "in": lambda value: verhoeff(re.sub(r"\D", "", value)),
    "kr": _korea,
    "us": lambda value: True,
    "se": lambda value: luhn(re.sub(r"\D", "", value)[-10:]),
    "fi": lambda value: value[-1] == _FINLAND[int(value[:6] + value[7:10]) % 31],
    "gb": lambda value: True,
    "pl": _poland,
}
"""The check of each country's numbers; those of the United States and Great Britain only have a distinctive form."""


def persons(text: str) -> Spans:
    """Yields the spans of person numbers."""
    for match in PERSON.finditer(text):
        country = next(name for name in _CHECKS if match[name] is not None)
        if _CHECKS[country](match[country]):
            yield match.span(country)
