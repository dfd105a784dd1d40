"""Which whole number does a formula in the width give? `4*n`, `n/16`: whole numbers, n, plain arithmetic and nothing else."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import final

_MOST_DIGITS = 40
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
}


class BadFormula(ValueError):
    """A text that is no formula in the width, or one that gives no positive whole number; the message says what to give."""


@final
@dataclass(frozen=True)
class Formula:
    """A whole number as a function of the width n.

    >>> Formula.read("3*(n/8)").at(16)
    6
    """

    text: str
    tree: ast.expr

    @staticmethod
    def read(text: str) -> Formula:
        """The formula that a text means; raises BadFormula for anything but n, whole numbers, + - * / // ** and brackets."""
        expected = (
            "expected a formula in n, the width, such as n, 4*n or n/16 (whole numbers, + - * / // ** and brackets)"
        )
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise BadFormula(f"{text!r} is no formula; {expected}") from None
        for node in ast.walk(tree):
            plain = isinstance(node, ast.BinOp | ast.operator | ast.unaryop | ast.Load) or (
                isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd)
            )
            if isinstance(node, ast.Constant):
                plain = type(node.value) is int
            elif isinstance(node, ast.Name):
                plain = node.id == "n"
            if isinstance(node, ast.BinOp):
                plain = type(node.op) in _OPERATIONS or isinstance(node.op, ast.Pow)
            if not plain:
                raise BadFormula(f"{text!r}: {ast.unparse(node) or type(node).__name__} has no place in it; {expected}")
        return Formula(text.strip(), tree)

    def at(self, width: int) -> int:
        """Its value at a width; raises BadFormula unless that is a positive whole number."""
        try:
            value = _value(self.tree, width)
        except ZeroDivisionError:
            raise BadFormula(
                f"{self.text} divides by zero at width {width}; expected a positive whole number"
            ) from None
        if value.denominator != 1 or value < 1:
            raise BadFormula(
                f"{self.text} is {value} at width {width}; expected a positive whole number. Try other widths "
                "(multiples of what it divides by), or // to round down"
            )
        return int(value)


def _value(node: ast.expr, width: int) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.Name():
            return Fraction(width)
        case ast.UnaryOp(op=op, operand=operand):
            value = _value(operand, width)
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, width), _value(right, width))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATIONS[type(op)](_value(left, width), _value(right, width))
        case _:
            raise AssertionError(f"{ast.unparse(node)} was let in by `read`")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise BadFormula(f"({base}) ** ({exponent}): expected a whole exponent")
    if abs(exponent) * max(len(str(base.numerator)), len(str(base.denominator))) > _MOST_DIGITS:
        raise BadFormula(f"({base}) ** ({exponent}): expected a number that can be a size")
    return Fraction(base ** int(exponent))
