"""What else in a script's text must move with an edit? Other uses of a product that did not run.

A readout that is multiplied where it trains is multiplied where it generates, too.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from tpdyn.parametrizing.editing.edits import TextEdits
from tpdyn.parametrizing.editing.lines import (
    Line,
    Multiplied,
    begins_at,
    factor_of,
    first_argument,
    function_name,
    size_expression,
)


def other_uses(
    edits: TextEdits, line: Line, product: Multiplied, biased: bool, ran: Collection[int]
) -> Iterator[Multiplied]:
    """Yield the same product where it did not run: other calls of the module or weight in the same class.

    For attention by one call: the product of the same query and key, written out in the same function.
    ran: lines that are known, and are not to be looked at.
    """
    if product.call is not None:
        yield from _written_out(edits, line, product.call, ran)
        return
    recorded = [node for node in ast.walk(edits.tree) if begins_at(node, line.line) and _weight(node)]
    inside = [
        node for node in recorded if product.node is node or (product.alone and first_argument_of(node) is product.node)
    ]
    weight = _weight(inside[0]) if inside else ""
    if not weight:
        return
    for node in ast.walk(_around(edits.tree, inside[0], ast.ClassDef)):
        if not isinstance(node, ast.expr) or _weight(node) != weight or node.lineno in ran:
            continue
        factor = factor_of(_size(node), line)
        if not biased and not (isinstance(node, ast.Call) and product.alone):
            yield Multiplied(factor, node)
        elif (argument := first_argument_of(node)) is not None:
            yield Multiplied(factor, argument, alone=True)


def _weight(node: ast.AST) -> str:
    """Name the module that is called, or the weight that is multiplied by, if it belongs to `self`; else ""."""
    text = ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        text = ast.unparse(node.right)
    elif isinstance(node, ast.Call) and function_name(node) == "linear" and len(node.args) > 1:
        text = ast.unparse(node.args[1])
    elif isinstance(node, ast.Call):
        text = ast.unparse(node.func)
    return text if text.startswith("self.") else ""


def first_argument_of(node: ast.expr) -> ast.expr | None:
    """Return the first argument of a call; None for a product of another form."""
    return first_argument(node) if isinstance(node, ast.Call) else None


def _size(node: ast.expr) -> str:
    factor = node.left if isinstance(node, ast.BinOp) else first_argument_of(node)
    if plain := size_expression(factor):
        return plain
    weight = _weight(node)
    return f"{weight}.shape[0]" if isinstance(node, ast.BinOp) else f"{weight}{_ending(node)}.shape[-1]"


def _ending(node: ast.expr) -> str:
    return "" if isinstance(node, ast.Call) and function_name(node) == "linear" else ".weight"


def _written_out(edits: TextEdits, line: Line, call: ast.Call, ran: Collection[int]) -> Iterator[Multiplied]:
    if len(call.args) < 2:
        return
    query, key = ast.unparse(call.args[0]), ast.unparse(call.args[1])
    for node in ast.walk(_around(edits.tree, call, ast.FunctionDef)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) and node.lineno not in ran:
            keys = {ast.unparse(inner) for inner in ast.walk(node.right) if isinstance(inner, ast.Name | ast.Attribute)}
            if ast.unparse(node.left) == query and key in keys:
                yield Multiplied(factor_of(size_expression(node.left), line), node)


def _around(tree: ast.AST, inner: ast.expr, kind: type[ast.AST]) -> ast.AST:
    """Find the innermost class or function around an expression; the whole tree if there is none."""
    outer = [
        node for node in ast.walk(tree) if isinstance(node, kind) and any(each is inner for each in ast.walk(node))
    ]
    return outer[-1] if outer else tree
