"""Tests check digits with published numbers."""

import pytest

from palmetto.corpus.rules.personal_data.checks import isbn10, luhn, mod_97, verhoeff

RIGHT = [
    (luhn, "4111111111111111"),
    (luhn, "79927398713"),
    (luhn, "378282246310005"),
    (mod_97, "GB82WEST12345698765432"),
    (mod_97, "DE89370400440532013000"),
    (verhoeff, "2363"),
    (verhoeff, "123451"),
    (isbn10, "0306406152"),
]


@pytest.mark.parametrize(("check", "number"), RIGHT)
def test_a_wrong_digit_is_found(check: object, number: str) -> None:
    assert callable(check)
    assert check(number)
    for place, digit in enumerate(number):
        if digit.isdigit():
            for other in set("0123456789") - {digit}:
                assert not check(number[:place] + other + number[place + 1 :])


def test_verhoeff_finds_neighbours_that_changed_places() -> None:
    assert not verhoeff("2633")
    assert not verhoeff("124351")
