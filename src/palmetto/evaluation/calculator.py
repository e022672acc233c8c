"""Corrects the arithmetic in a chain of thought: every equation is evaluated, and its result carried on by string.

Nothing is executed: an expression is parsed, and only numbers and the four operations are evaluated, exactly.
"""

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_EQUATION = re.compile(
    rf"((?:[$(\s]*-?{_NUMBER}[)\s%]*[-+*/x×÷]\s*)+[$(\s]*-?{_NUMBER}[)\s%]*)=\s*\$?(-?{_NUMBER})(%?)"
)
_PERCENTAGE = re.compile(rf"({_NUMBER})\s*%")
_ADDED = re.compile(rf"(?:^|\()\s*{_NUMBER}\s*%\s*[-+]|[-+]\s*{_NUMBER}\s*%\s*(?:$|[-+)])")
"""Matches a percentage that is a term of a sum."""
_OPERATIONS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LONGEST = 200
"""The most characters of an expression; four operations on numbers that short cannot take long."""


def evaluate(expression: str) -> Fraction | None:
    """Returns the value of an expression of numbers, percentages and + - * / x × ÷.

    It is None if the text is none, divides by zero, or adds percentages to other numbers: of what, it does not say.
    """
    others = len(re.findall(_NUMBER, expression)) - len(_PERCENTAGE.findall(expression))
    if others and _ADDED.search(expression.strip()):
        return None
    shares = _PERCENTAGE.sub(r"(\1/100)", expression)
    plain = re.sub(r"[$,]", "", shares).translate(str.maketrans("x×÷", "**/")).strip()
    # A power would be two stars, and Python reads numbers with zeros in front as an error.
    if len(plain) > _LONGEST or "**" in plain:
        return None
    try:
        return _value(ast.parse(re.sub(r"(?<![\d.])0+(?=\d)", "", plain), mode="eval").body)
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
    """Returns a chain whose equations are right: a wrong result is replaced there and wherever it is repeated later.

    A result that is rounded rightly is right.
    """
    place = 0
    while found := _EQUATION.search(chain, place):
        value = evaluate(found[1])
        stated = found[2].rstrip(",")
        end = found.start(2) + len(stated)
        # Of a result with a percent sign, the expression may be in percent too.
        readings = () if value is None else (value, 100 * value) if found[3] else (value,)
        if readings and not any(_rounded(reading, stated) for reading in readings):
            shown = shown_number(min(readings, key=lambda reading: abs(reading - _number(stated))))
            rest = re.sub(rf"(?<![\d.,]){re.escape(stated)}(?![\d]|[.,]\d)", shown, chain[end:])
            chain, end = chain[: found.start(2)] + shown + rest, found.start(2) + len(shown)
        # A result may be the beginning of the next expression, as in 2 + 3 = 5 + 1 = 6.
        place = found.start(2) if end > found.start(2) else end
    return chain


def _number(stated: str) -> Fraction:
    return Fraction(stated.replace(",", ""))


def _rounded(value: Fraction, stated: str) -> bool:
    """Returns whether a value, rounded half away from zero to the decimals of a stated number, is that number."""
    scale = 10 ** len(stated.partition(".")[2])
    whole = math.floor(abs(value) * scale + Fraction(1, 2))
    return _number(stated) * scale == (whole if value > 0 else -whole)


def shown_number(value: Fraction) -> str:
    """Returns a number as digits, with up to ten decimals."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.10f}".rstrip("0")
