"""Which expression of the script is the product that needs a multiplier? Found by its line, or left to a person.

The result is multiplied where it is written: `F.linear(x, w)`, `x @ y`, `self.head(x)`. The logits of attention are
multiplied by its argument `scale`. Where a bias is added to the product, the factor is before it. The width is told by
the size of the dim that is summed over. A line on which more than one expression could be meant is not guessed at.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeGuard, final

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.facts.sites import Site
from tpdyn.parametrizing.editing.edits import TextEdits
from tpdyn.parametrizing.editing.text import number
from tpdyn.program.instructions import Contract
from tpdyn.program.program import Program

METHODS = ("matmul", "bmm", "mm", "mv", "dot", "inner")
ATTENTION = "scaled_dot_product_attention"
PRODUCTS = (*METHODS, "linear", ATTENTION)
FIRST = ("query", "input", "self")


@final
@dataclass(frozen=True)
class Line:
    """All products of one line of the script: their power, and the size summed over, at the base width.

    power and size are None where they are not the same for all.
    """

    file: str
    line: int
    sites: tuple[Site, ...]
    power: Fraction | None
    size: int | None


def lines_of(program: Program, multipliers: dict[str, Fraction], base_width: int) -> tuple[Line, ...]:
    """Return the lines that need a multiplier. A site whose power is p is to be multiplied by n^-p."""
    by_line: dict[tuple[str, int, str], list[Site]] = {}
    for site in Facts.of(program).sites:
        # Modules of one name in several blocks share a line; a projection and a readout on one line do not.
        last = site.module.split("#")[0].rpartition(".")[2] if site.parameters else ""
        by_line.setdefault((site.source.file, site.source.line, last), []).append(site)
    lines = []
    for (file, line, _), group in by_line.items():
        powers = {-multipliers.get(site.name, Fraction(0)) for site in group}
        if powers == {0}:
            continue
        sizes = {size_of(program, site, base_width) for site in group}
        power = powers.pop() if len(powers) == 1 else None
        lines.append(Line(file, line, tuple(group), power, sizes.pop() if len(sizes) == 1 else None))
    return tuple(lines)


def size_of(program: Program, site: Site, base_width: int) -> int | None:
    """Count the entries that the product sums over at the base width. None where that is not a whole number there."""
    statement = program.statements[site.positions[0]]
    assert isinstance(statement.instruction, Contract)
    operand = statement.instruction.operands[0]
    dims = zip(operand.axes, program.statements[operand.var].shape, strict=True)
    size = math.prod((dim for label, dim in dims if label >= len(statement.shape)), start=Scaling.of(1))
    try:
        return size.size_at(base_width)
    except ValueError:
        return None


@final
@dataclass(frozen=True)
class Multiplied:
    """What to write. node: an expression to be multiplied. Where there is none (attention without the argument `scale`), `call`
    is to be given one, `argument`. factor: the text of the multiplier. alone: whether the expression is an argument of a
    call, so that the product needs brackets nowhere.
    """

    factor: str
    node: ast.expr | None = None
    call: ast.Call | None = None
    argument: str = ""
    alone: bool = False

    def around(self) -> tuple[str, str]:
        """Return the texts to put before and behind the expression."""
        tight = ast.Name | ast.Attribute | ast.Call | ast.Constant | ast.Subscript
        left = isinstance(self.node, ast.BinOp) and isinstance(self.node.op, ast.MatMult | ast.Mult)
        inner = ("", "") if left or isinstance(self.node, tight) else ("(", ")")
        outer = ("", "") if self.alone else ("(", ")")
        return outer[0] + inner[0], f"{inner[1]} * {self.factor}{outer[1]}"


def multiplied(edits: TextEdits, line: Line, biased: bool) -> Multiplied | None:
    """Find where and how the line's product is multiplied; None where that is not plain.

    biased: whether a module called there adds a bias, which is not to be multiplied.
    """
    if line.power is None or line.size is None:
        return None
    named = {site.module.split("#")[0].rpartition(".")[2] for site in line.sites if site.parameters}
    nodes = [node for node in ast.walk(edits.tree) if begins_at(node, line.line)]
    calls = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and len(named) == 1 and ast.unparse(node.func).rpartition(".")[2] in named
    ]
    if len(calls) == 1:
        first = first_argument(calls[0])
        size = size_expression(first) or f"{ast.unparse(calls[0].func)}.weight.shape[-1]"
        if biased:
            return None if first is None else Multiplied(factor_of(size, line), first, alone=True)
        return Multiplied(factor_of(size, line), calls[0])
    products = [(node, told) for node in nodes if (told := _product(node)) is not None]
    if calls or len(products) != 1 or not products[0][1]:
        return None
    node, size = products[0]
    factor = factor_of(size, line)
    if isinstance(node, ast.Call) and function_name(node) == "linear" and _adds(node):
        first = first_argument(node)
        return None if first is None else Multiplied(factor, first, alone=True)
    if not isinstance(node, ast.Call) or function_name(node) != ATTENTION:
        return Multiplied(factor, node)
    scale = next((keyword.value for keyword in node.keywords if keyword.arg == "scale"), None)
    if scale is None or (isinstance(scale, ast.Constant) and scale.value is None):
        if scale is not None or any(keyword.arg is None for keyword in node.keywords):
            return None
        return Multiplied(factor, call=node, argument=f"scale=1 / {size} ** 0.5 * {factor}")
    return Multiplied(factor, scale, alone=True)


def factor_of(size: str, line: Line) -> str:
    """Write the multiplier of a line in terms of `size`, the expression of the size that is summed over."""
    assert line.power is not None
    return f"({size} / {line.size}) ** {bracketed(line.power)}"


def bracketed(power: Fraction) -> str:
    """Write a power as it stands behind `**`."""
    text = number(power)
    return f"({text})" if "/" in text else text


def begins_at(node: ast.AST, line: int) -> TypeGuard[ast.expr]:
    """Tell whether the interpreter gives this line while the expression is computed."""
    if isinstance(node, ast.Call):
        return line in (node.lineno, node.func.end_lineno)
    return isinstance(node, ast.BinOp) and node.lineno == line


def _product(node: ast.expr) -> str | None:
    """Write the size that a product is summed over, "" where that is not plain; None for anything but a product."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return size_expression(node.left) or size_expression(node.right, -2)
    if not isinstance(node, ast.Call):
        return None
    function = function_name(node)
    if function == "einsum":
        return size_expression(_summed(node))
    if function not in PRODUCTS:
        return None
    if function in METHODS and isinstance(node.func, ast.Attribute) and len(node.args) == 1 and not node.keywords:
        return size_expression(node.func.value)
    if function == "linear":
        return size_expression(first_argument(node)) or (size_expression(node.args[1]) if len(node.args) > 1 else "")
    return size_expression(first_argument(node))


def _adds(call: ast.Call) -> bool:
    """Tell whether `F.linear` is given a bias."""
    return len(call.args) > 2 or any(keyword.arg == "bias" for keyword in call.keywords)


def function_name(call: ast.Call) -> str:
    """Return the last name of what is called: `linear` of `F.linear(x, w)`."""
    return ast.unparse(call.func).rpartition(".")[2]


def size_expression(factor: ast.expr | None, dim: int = -1) -> str:
    """Write the size of a dim of a variable, or of an attribute. "" for one that would have to be computed again."""
    if factor is None or not all(isinstance(n, ast.Name | ast.Attribute | ast.expr_context) for n in ast.walk(factor)):
        return ""
    return f"{ast.unparse(factor)}.shape[{dim}]"


def first_argument(call: ast.Call) -> ast.expr | None:
    """Return the first argument, by position or by name; None where it is starred or has another name."""
    if call.args:
        return None if isinstance(call.args[0], ast.Starred) else call.args[0]
    return next((keyword.value for keyword in call.keywords if keyword.arg in FIRST), None)


def _summed(call: ast.Call) -> ast.expr | None:
    """Find the operand of an einsum whose last label is summed over."""
    if not call.args or not isinstance(call.args[0], ast.Constant) or not isinstance(call.args[0].value, str):
        return None
    inputs, arrow, result = call.args[0].value.replace(" ", "").partition("->")
    labels = inputs.split(",")
    if not arrow or len(labels) != 2 or len(call.args) != 3:
        return None
    for label, operand in zip(labels, call.args[1:], strict=True):
        if label and label[-1].isalpha() and label[-1] not in result:
            return operand
    return None


def relative(path: str) -> str:
    """Write a path as messages name it: from the working folder if it lies there, else the file's name alone."""
    full = Path(path).resolve()
    return str(full.relative_to(Path.cwd().resolve())) if full.is_relative_to(Path.cwd().resolve()) else full.name
