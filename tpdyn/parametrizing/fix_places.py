"""Which expression of the script is the product that needs a multiplier? Found by its line, or left to a person.

The product is multiplied where it is written: `F.linear(x, w)`, `x @ y`, `self.head(x)`. The width is told by the size of the dim
that is summed over, the last one of the first factor. Where the result cannot be multiplied by itself (attention's logits inside
of one function, a product to which a bias is added), the first factor is: values and both gradients are multiplied alike.
A line on which more than one expression could be meant is not guessed at.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.parametrizing.fix_text import number
from tpdyn.parametrizing.text_edits import TextEdits
from tpdyn.program.instructions import Contract
from tpdyn.program.program import Program
from tpdyn.readings.orders.places import Place, places

METHODS = ("matmul", "bmm", "mm", "mv", "dot", "inner")
PRODUCTS = (*METHODS, "linear", "scaled_dot_product_attention")
FIRST = ("query", "input", "self")


@final
@dataclass(frozen=True)
class Line:
    """All products of one line of the script: the power that multiplies them, and the size summed over, at the base width.

    power and size are None where they are not the same for all.
    """

    file: str
    line: int
    places: tuple[Place, ...]
    power: Fraction | None
    size: int | None


def lines_of(program: Program, multipliers: dict[str, Fraction], base_width: int) -> tuple[Line, ...]:
    """The lines that need a multiplier. A place whose power is p is to be multiplied by n^-p."""
    by_line: dict[tuple[str, int, str], list[Place]] = {}
    for place in places(program):
        # Modules of one name in several blocks share a line; a projection and a readout on one line do not.
        last = place.module.split("#")[0].rpartition(".")[2] if place.parameters else ""
        by_line.setdefault((place.source.file, place.source.line, last), []).append(place)
    found = []
    for (file, line, _), group in by_line.items():
        powers = {-multipliers.get(place.name, Fraction(0)) for place in group}
        if powers == {0}:
            continue
        sizes = {size_of(program, place, base_width) for place in group}
        power = powers.pop() if len(powers) == 1 else None
        found.append(Line(file, line, tuple(group), power, sizes.pop() if len(sizes) == 1 else None))
    return tuple(found)


def size_of(program: Program, place: Place, base_width: int) -> int | None:
    """How many entries the product sums over at the base width; None where that is no whole number there."""
    statement = program.statements[place.positions[0]]
    assert isinstance(statement.instruction, Contract)
    operand = statement.instruction.operands[0]
    size = Scaling.of(1)
    for axis, label in enumerate(operand.axes):
        if label >= len(statement.shape):
            size = size * program.statements[operand.var].shape[axis]
    try:
        return size.size_at(base_width)
    except ValueError:
        return None


@final
@dataclass(frozen=True)
class Multiplied:
    """What to write: text before and after an expression."""

    node: ast.expr
    before: str
    after: str


def multiplied(edits: TextEdits, line: Line, biased: bool, by_width: str) -> Multiplied | None:
    """Where and how the line's product is multiplied; None where that is not plain.

    biased: whether a module called there adds a bias of its own. by_width: the name of a function that multiplies a factor.
    """
    if line.power is None or line.size is None:
        return None
    named = {place.module.split("#")[0].rpartition(".")[2] for place in line.places if place.parameters}
    nodes = [node for node in ast.walk(edits.tree) if _begins_at(node, line.line)]
    found = [
        _Product(
            node, _first_argument(node), "" if biased else f"{ast.unparse(node.func)}.weight.shape[-1]", not biased
        )
        for node in nodes
        if isinstance(node, ast.Call) and len(named) == 1 and ast.unparse(node.func).rpartition(".")[2] in named
    ]
    found = found or [product for node in nodes if (product := _product(node)) is not None]
    if len(found) != 1 or found[0].factor is None:
        return None
    (product,) = found
    assert product.factor is not None
    factor = ast.unparse(product.factor)
    plain = all(isinstance(node, ast.Name | ast.Attribute | ast.expr_context) for node in ast.walk(product.factor))
    size = f"{factor}.shape[-1]" if plain else product.size
    if product.whole and size:
        return Multiplied(product.node, "(", f" * ({size} / {line.size}) ** {bracketed(line.power)})")
    if plain:
        return Multiplied(product.factor, "", f" * ({size} / {line.size}) ** {bracketed(line.power)}")
    return Multiplied(product.factor, f"{by_width}(", f", {line.size}, {number(line.power)})")


def bracketed(power: Fraction) -> str:
    """A power as it stands behind `**`."""
    text = number(power)
    return f"({text})" if "/" in text else text


@final
@dataclass(frozen=True)
class _Product:
    """An expression that is a product. factor: that whose last dim is summed over, None where it is not plain. size: another
    expression for the size of that dim, "" where there is none. whole: whether the result may be multiplied itself."""

    node: ast.expr
    factor: ast.expr | None
    size: str
    whole: bool


def _begins_at(node: ast.AST, line: int) -> bool:
    """Whether the interpreter gives this line while the expression is computed."""
    if isinstance(node, ast.Call):
        return line in (node.lineno, node.func.end_lineno)
    return isinstance(node, ast.BinOp) and node.lineno == line


def _product(node: ast.AST) -> _Product | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return _Product(node, node.left, "", True)
    if not isinstance(node, ast.Call):
        return None
    function = ast.unparse(node.func).rpartition(".")[2]
    if function == "einsum":
        return _Product(node, _summed(node), "", True)
    if function not in PRODUCTS:
        return None
    if function in METHODS and isinstance(node.func, ast.Attribute) and len(node.args) == 1 and not node.keywords:
        return _Product(node, node.func.value, "", True)
    added = len(node.args) > 2 or any(keyword.arg == "bias" for keyword in node.keywords)
    whole = function != "scaled_dot_product_attention" and not (function == "linear" and added)
    return _Product(node, _first_argument(node), "", whole)


def _first_argument(call: ast.Call) -> ast.expr | None:
    if call.args:
        return None if isinstance(call.args[0], ast.Starred) else call.args[0]
    return next((keyword.value for keyword in call.keywords if keyword.arg in FIRST), None)


def _summed(call: ast.Call) -> ast.expr | None:
    """Of an einsum the operand whose last label is summed over."""
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
    """A path as a patch names it: from the working folder if it lies there, else the file's name alone."""
    full = Path(path).resolve()
    return str(full.relative_to(Path.cwd().resolve())) if full.is_relative_to(Path.cwd().resolve()) else full.name
