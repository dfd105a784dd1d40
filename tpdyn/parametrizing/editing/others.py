"""What else in a script's text must move with an edit? Other uses of a product that did not run.

A readout that is multiplied where it trains is multiplied where it generates, too.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import final

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

MATRIX = ("matmul", "mm")


def other_uses(
    edits: TextEdits, line: Line, product: Multiplied, biased: bool, ran: Collection[int]
) -> Iterator[Multiplied]:
    """Yield the same product where it did not run. These are other uses of the module or weight in the same class or function.

    For attention by one call: the product of the same query and key, written out in the same function.
    ran: lines that are known, and are not to be looked at.
    """
    if product.call is not None:
        yield from _written_out(edits, line, product.call, ran)
        return
    recorded = _recorded(edits.tree, line, product)
    if recorded is None:
        return
    for use in _uses(_scope(edits.tree, recorded)):
        if use.weight == recorded.weight and _alike(recorded, use) and use.node.lineno not in ran:
            factor = factor_of(size_expression(use.factor) or use.size, line)
            if not (biased and use.called) and not use.adds and not (use.called and product.alone):
                yield Multiplied(factor, use.node)
            elif use.factor is not None:
                yield Multiplied(factor, use.factor, alone=True)


def doubtful_uses(
    edits: TextEdits, line: Line, product: Multiplied, trees: Mapping[str, ast.AST], ran: Mapping[str, Collection[int]]
) -> Iterator[tuple[str, int]]:
    """Yield (file, line) of uses of what may be the same weight from elsewhere: `model.head(h)` in a function that did not run.

    trees: by file, those that ran, or were imported. ran: by file, lines that are known.
    """
    recorded = _recorded(edits.tree, line, product)
    if recorded is None:
        return
    scope = _scope(edits.tree, recorded)
    inside = {id(node) for node in ast.walk(scope)}
    for file, tree in trees.items():
        found = {
            use.node.lineno
            for use in _uses(tree)
            if use.weight.split(".")[-2:] == recorded.weight.split(".")[-2:]
            and _alike(recorded, use)
            and id(use.node) not in inside
            and not (use.weight.count(".") == 2 and isinstance(_scope(tree, use), ast.ClassDef))  # of its own class
        }
        yield from (
            (file, number)
            for number in sorted(found - set(ran.get(file, ())))
            if (file, number) != (line.file, line.line)
        )


@final
@dataclass(frozen=True)
class _Use:
    """A product with a weight. weight: its text, `self.head.weight`. factor: what it is multiplied by, if that is told.

    size: the text of the size that is summed over. called: whether its module is called. adds: whether it is given a bias.
    """

    node: ast.expr
    weight: str
    factor: ast.expr | None
    size: str
    called: bool = False
    adds: bool = False


def _uses(tree: ast.AST) -> list[_Use]:
    return [use for node in ast.walk(tree) if isinstance(node, ast.expr) and (use := _use(node)) is not None]


def _use(node: ast.expr) -> _Use | None:
    """Read `self.head(x)`, `F.linear(x, w, b)`, `x @ w.t()`, `torch.matmul(x, w)` or `x.matmul(w)` as what it is."""
    match node:
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            return _by_weight(node, left, right)
        case ast.Call(func=ast.Attribute(value=value, attr=attr), args=args) if attr in MATRIX and len(args) == 1:
            return _by_weight(node, value, args[0])
        case ast.Call(args=[factor, weight, *more], keywords=keywords) if function_name(node) in (*MATRIX, "linear"):
            use = _by_weight(node, factor, weight)
            if use is None or function_name(node) != "linear":
                return use
            adds = bool(more) or any(keyword.arg == "bias" for keyword in keywords)
            return replace(use, size=f"{use.weight}.shape[-1]", adds=adds)
        case ast.Call(func=ast.Name() | ast.Attribute() as func) if _is_chain(func):
            text = f"{ast.unparse(func)}.weight"
            return _Use(node, text, first_argument(node), f"{text}.shape[-1]", called=True)
        case _:  # no product that is looked for
            return None


def _by_weight(node: ast.expr, factor: ast.expr, weight: ast.expr) -> _Use | None:
    turned = False
    while (inner := _untransposed(weight)) is not None:
        weight, turned = inner, not turned
    if not isinstance(weight, ast.Attribute) or not _is_chain(weight):  # a variable may be anything, such as a key
        return None
    text = ast.unparse(weight)
    return _Use(node, text, factor, f"{text}.shape[{-1 if turned else 0}]")


def _untransposed(node: ast.expr) -> ast.expr | None:
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr="t" | "transpose" | "permute")):
            return value
        case ast.Attribute(value=value, attr="T" | "mT"):
            return value
        case _:  # as it is
            return None


def _is_chain(node: ast.expr) -> bool:
    return all(isinstance(each, ast.Name | ast.Attribute | ast.expr_context) for each in ast.walk(node))


def _alike(recorded: _Use, other: _Use) -> bool:
    """Tell whether it is the same product. A module whose weight is a readout elsewhere may be a table of rows when called."""
    return recorded.called or not other.called


def _recorded(tree: ast.AST, line: Line, product: Multiplied) -> _Use | None:
    """Find the use that the product of a line is; None where it has no weight of a name."""
    for node in ast.walk(tree):
        if begins_at(node, line.line) and (use := _use(node)) is not None:
            if product.node is node or (product.alone and use.factor is product.node):
                return use
    return None


def _scope(tree: ast.AST, use: _Use) -> ast.AST:
    """Return where the same text is the same weight: the class if it belongs to its object, else the function."""
    function = _around(tree, use.node, ast.FunctionDef)
    first = function.args.args[0].arg if isinstance(function, ast.FunctionDef) and function.args.args else "self"
    around = _around(tree, use.node, ast.ClassDef)
    return around if around is not tree and use.weight.split(".")[0] in (first, "self") else function


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
