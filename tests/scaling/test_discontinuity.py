"""Scores that smaller models do not point to."""

import math

import pytest

from palmetto.errors import UserError
from palmetto.scaling.discontinuity import Scored, discontinuities


def test_even_sizes_follow_palms_formula() -> None:
    (found,) = discontinuities([Scored(512e9, 60, 0), Scored(8e9, 20, 0), Scored(64e9, 27, 0)])
    assert tuple(found) == pytest.approx((512e9, 27 + (27 - 20), 60 - 34, 0))


def test_uneven_sizes_lie_on_a_line_in_their_logarithm() -> None:
    sizes = (1e6, 3e6, 2e7, 2e8)
    found = discontinuities([Scored(size, 5 + 7 * math.log(size), 1.0) for size in sizes])
    assert [each.size for each in found] == [2e7, 2e8]
    assert [each.difference for each in found] == pytest.approx([0, 0], abs=1e-9)
    reach = math.log(2e8 / 2e7) / math.log(2e7 / 3e6)
    assert found[1].error == pytest.approx(math.sqrt(1 + (1 + reach) ** 2 + reach**2))


def test_two_sizes_or_two_models_of_one_are_refused() -> None:
    with pytest.raises(UserError, match="2 sizes; expected at least 3"):
        discontinuities([Scored(1, 0, 0), Scored(2, 0, 0)])
    with pytest.raises(UserError, match="two models have 2 parameters"):
        discontinuities([Scored(1, 0, 0), Scored(2, 0, 0), Scored(2, 1, 0)])
