"""Check digits: of cards, accounts, persons and books."""

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
    """Returns whether a number's last digit is its check digit after Luhn (ISO/IEC 7812-1)."""
    doubled = [2 * int(digit) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 * (value > 9) for value in doubled)) % 10 == 0


def mod_97(characters: str) -> bool:
    """Returns whether an IBAN's check digits are right (ISO 13616): letters count from 10, country and digits last."""
    return int("".join(str(int(each, 36)) for each in characters[4:] + characters[:4])) % 97 == 1


def verhoeff(digits: str) -> bool:
    """Returns whether a number's last digit is its check digit after Verhoeff."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF[check][int(_TURNS[place % 8][int(digit)])])
    return check == 0


def weighted(digits: str, weights: tuple[int, ...]) -> int:
    """Returns the sum of digits times weights."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def isbn10(digits: str) -> bool:
    """Returns whether ten digits are the number of a book (ISO 2108)."""
    return weighted(digits, tuple(range(10, 0, -1))) % 11 == 0
