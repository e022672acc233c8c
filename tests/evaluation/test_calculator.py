"""Tests the calculator on hand-made chains and on hostile expressions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.evaluation.calculator import corrected, evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) x 4", 20),
        ("$1,200 / 3", 400),
        ("7 ÷ 2", Fraction(7, 2)),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("-5 - -3", -2),
        ("05 + 1", 6),
        ("0.05 * 100", 5),
        ("20% * 50", 10),
        ("$1,000 * 7.5 %", 75),
        ("20% + 30%", Fraction(1, 2)),
        ("50 + 20% * 50", 60),
    ],
)
def test_expressions_are_evaluated_exactly(expression: str, value: Fraction) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "1 / 0",
        "9**9**9",
        "__import__('os')",
        "a + 1",
        "1 if 1 else 2",
        "(" * 150 + "1",
        "1 +",
        "1e9999 + 1",
        "",
        "True + 1",
        "200 - 20%",
        "(20% + 5) * 2",
        "20%% * 5",
    ],
)
def test_other_expressions_are_none(expression: str) -> None:
    assert evaluate(expression) is None


@given(st.text(max_size=30))
def test_no_text_raises(text: str) -> None:
    evaluate(text)
    corrected(text)


@pytest.mark.parametrize(
    ("chain", "right"),
    [
        ("He has 5 + 6 = 11 apples.", "He has 5 + 6 = 11 apples."),
        (
            "He has 5 + 6 = 12. Then 12 * 2 = 24. The answer is 24.",
            "He has 5 + 6 = 11. Then 11 * 2 = 22. The answer is 22.",
        ),
        ("It costs 3 * $1,000 = $2,000, so 2,000.", "It costs 3 * $1,000 = $3000, so 3000."),
        ("1 / 4 = 0.2 and 120 stays", "1 / 4 = 0.25 and 120 stays"),
        ("2 + 3 = 5 + 1 = 7", "2 + 3 = 5 + 1 = 6"),
        ("1 / 0 = 5", "1 / 0 = 5"),
        ("20% * 50 = 10. The answer is 10.", "20% * 50 = 10. The answer is 10."),
        ("50 * 20% = 20. The answer is 20.", "50 * 20% = 10. The answer is 10."),
        ("1 / 4 = 25%, 20 + 30 = 50%", "1 / 4 = 25%, 20 + 30 = 50%"),
        ("10 / 40 = 20% and 30 + 30 = 50%", "10 / 40 = 25% and 30 + 30 = 60%"),
        ("10 / 3 = 3.33. The answer is 3.33.", "10 / 3 = 3.33. The answer is 3.33."),
        ("1 / 8 = 0.13, 1 - 3 / 2 = -1", "1 / 8 = 0.13, 1 - 3 / 2 = -1"),
        ("20 / 3 = 6.6", "20 / 3 = 6.6666666667"),
    ],
)
def test_wrong_results_are_replaced_and_carried_on(chain: str, right: str) -> None:
    assert corrected(chain) == right
