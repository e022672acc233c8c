"""Verifies check digits of card, account, person and book numbers."""

_VERHOEFF = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_TURNS = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def luhn(digits: str) -> bool:
    """Returns whether a number's last digit is its Luhn check digit (ISO/IEC 7812-1)."""
    doubled = [2 * int(digit) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 * (value > 9) for value in doubled)) % 10 == 0


def mod_97(characters: str) -> bool:
    """Returns whether an IBAN's check digits are correct (ISO 13616).

    Letters count from 10; the country and the check digits are moved to the end.
    """
    return int("".join(str(int(each, 36)) for each in characters[4:] + characters[:4])) % 97 == 1


def verhoeff(digits: str) -> bool:
    """Returns whether a number's last digit is its Verhoeff check digit."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF[check][int(_TURNS[place % 8][int(digit)])])
    return check == 0


def weighted(digits: str, weights: tuple[int, ...]) -> int:
    """Returns the sum of the digits times their weights."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def isbn10(digits: str) -> bool:
    """Returns whether ten digits are a valid ISBN-10 (ISO 2108)."""
    return weighted(digits, tuple(range(10, 0, -1))) % 11 == 0
