"""Corrects the arithmetic in a chain of thought: every equation is evaluated, and its result carried on by string.

Nothing is executed: an expression is parsed, and only numbers and the four operations are evaluated, exactly.
"""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_EQUATION = re.compile(rf"((?:[$(\s]*-?{_NUMBER}[)\s%]*[-+*/x×÷]\s*)+[$(\s]*-?{_NUMBER}[)\s]*)=\s*\$?(-?{_NUMBER})")
_OPERATIONS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LONGEST = 200
"""The most characters of an expression; four operations on numbers that short cannot take long."""


def evaluate(expression: str) -> Fraction | None:
    """Returns the value of an expression of numbers and + - * / x × ÷; None if it is none or divides by zero."""
    plain = re.sub(r"[$,%]", "", expression).translate(str.maketrans("x×÷", "**/")).strip()
    # A power would be two stars, and Python reads numbers with zeros in front as an error.
    if len(plain) > _LONGEST or "**" in plain:
        return None
    try:
        return _value(ast.parse(re.sub(r"\b0+(?=\d)", "", plain), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return Fraction(str(value))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left), _value(right))
    raise ValueError("not an expression of numbers")


def corrected(chain: str) -> str:
    """Returns a chain whose equations are right: a wrong result is replaced there and wherever it is repeated later."""
    place = 0
    while found := _EQUATION.search(chain, place):
        value = evaluate(found[1])
        stated = found[2].rstrip(",")
        end = found.start(2) + len(stated)
        if value is not None and value != Fraction(stated.replace(",", "")):
            shown = shown_number(value)
            rest = re.sub(rf"(?<![\d.,]){re.escape(stated)}(?![\d]|[.,]\d)", shown, chain[end:])
            chain, end = chain[: found.start(2)] + shown + rest, found.start(2) + len(shown)
        # A result may be the beginning of the next expression, as in 2 + 3 = 5 + 1 = 6.
        place = found.start(2) if end > found.start(2) else end
    return chain


def shown_number(value: Fraction) -> str:
    """Returns a number as digits, with up to ten decimals."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.10f}".rstrip("0")
