"""Which number does a formula in the width give? `4*n`, `n/16`, `0.1*64/n`: numbers, n, plain arithmetic and nothing else.

`True` and `False`, alone, are formulas of a switch.
"""

from __future__ import annotations

import ast
import math
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
    """A text that is not a formula in the width, or does not give a positive whole number. The message says what to give."""


@final
@dataclass(frozen=True)
class Formula:
    """A number as a function of the width n.

    >>> Formula.read("3*(n/8)").at(16), Formula.read("0.4/n").real_at(16)
    (6, 0.025)
    """

    text: str
    tree: ast.expr

    @staticmethod
    def read(text: str) -> Formula:
        """Read a text as a formula; raise BadFormula for anything but n, numbers, + - * / // ** and brackets."""
        expected = "expected a formula in n, the width, such as n, 4*n or n/16 (numbers, + - * / // ** and brackets), True or False"
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise BadFormula(f"{text!r} is not a formula; {expected}") from None
        for node in [] if _is_switch(tree) else ast.walk(tree):
            plain = isinstance(node, ast.BinOp | ast.operator | ast.unaryop | ast.Load) or (
                isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd)
            )
            if isinstance(node, ast.Constant):
                plain = type(node.value) is int or (type(node.value) is float and math.isfinite(node.value))
            elif isinstance(node, ast.Name):
                plain = node.id == "n"
            if isinstance(node, ast.BinOp):
                plain = type(node.op) in _OPERATIONS or isinstance(node.op, ast.Pow)
            if not plain:
                raise BadFormula(
                    f"{text!r}: {ast.unparse(node) or type(node).__name__} is not allowed in it; {expected}"
                )
        return Formula(text.strip(), tree)

    @property
    def is_real(self) -> bool:
        """Whether a decimal number stands in it."""
        return any(isinstance(node, ast.Constant) and type(node.value) is float for node in ast.walk(self.tree))

    @property
    def is_switch(self) -> bool:
        """Whether it is True or False."""
        return _is_switch(self.tree)

    def at(self, width: int) -> int:
        """Evaluate at a width; raise BadFormula unless the value is a positive whole number, or a switch."""
        if self.is_switch:
            return bool(ast.literal_eval(self.tree))
        value = self._exact(width, "a positive whole number")
        if value.denominator != 1 or value < 1:
            shown = value if value.denominator < 10**6 else float(value)
            raise BadFormula(
                f"{self.text} is {shown} at width {width}; expected a positive whole number. Try other widths "
                "(multiples of what it divides by), or // to round down"
            )
        return int(value)

    def real_at(self, width: int) -> float:
        """Evaluate at a width, a whole number or not; raise BadFormula where it has no value."""
        return float(self._exact(width, "a number"))

    def _exact(self, width: int, expected: str) -> Fraction:
        try:
            return _value(self.tree, width)
        except ZeroDivisionError:
            raise BadFormula(f"{self.text} divides by zero at width {width}; expected {expected}") from None


def _is_switch(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant) and isinstance(tree.value, bool)


def _value(node: ast.expr, width: int) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number):
            return Fraction(repr(number))  # 0.1 is a tenth
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
