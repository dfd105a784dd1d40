"""Which lines of a script set a rate anew? They would undo the rates of its groups, so each gets the factor of its group.

A script that says `param_group["lr"] = lr` undoes every rate of the optimizer. So does `OneCycleLR(optimizer, max_lr=0.1)`.
Schedules that multiply what a group has (LambdaLR, StepLR) are fine as they are. What a rate is made of cannot always be
told from the text; `unclear` lists such lines, for a person.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

from tpdyn.parametrizing.editing.lines import function_name

RELATIVE = ("lr", "initial_lr", "base_lr", "max_lr", "lr_factor", "lr_scale")
FACTOR = "lr_factor"
"""What the generated function notes in each group, for the lines that set its rate."""
ABSOLUTE = {"OneCycleLR": (("max_lr", 1),), "CyclicLR": (("base_lr", 1), ("max_lr", 2))}
"""Schedules that are given rates, not factors of them: names and positions of the arguments. Each may be a list."""
FLOORS = {"CosineAnnealingLR": ("eta_min", 2), "CosineAnnealingWarmRestarts": ("eta_min", 3)}
"""Schedules that end at a rate which is one number for all groups."""


@final
@dataclass(frozen=True)
class Reset:
    """A rate that is set anew: its expression, and the text that stands for the group.

    optimizer: where a schedule is given the rate, the text that stands for its optimizer. The group is then each of its own.
    """

    value: ast.expr
    group: str
    optimizer: str = ""

    def around(self) -> tuple[str, str]:
        """Return the texts to put before and behind the expression."""
        tight = isinstance(self.value, ast.Name | ast.Attribute | ast.Call | ast.Constant | ast.Subscript)
        before, behind = ("", "") if tight else ("(", ")")
        factor = f'{behind} * {self.group}.get("{FACTOR}", 1)'
        if self.optimizer:
            return f"[{before}", f"{factor} for {self.group} in {self.optimizer}.param_groups]"
        return before, factor


def resets_in(tree: ast.AST) -> Iterator[Reset]:
    """Yield each rate that is set anew for a group, unless it is made from one that the group has."""
    unsure = {line for line, _ in unclear(tree)}
    for value, group in _set_in(tree):
        if value.lineno not in unsure and not _is_relative(value):
            yield Reset(value, group)
    for call, name in _calls(tree, ABSOLUTE):
        optimizer = _argument(call, "optimizer", 0)
        for argument, position in ABSOLUTE[name]:
            given = _argument(call, argument, position)
            if optimizer is not None and given is not None and not isinstance(given, ast.List | ast.ListComp):
                yield Reset(given, "group", ast.unparse(optimizer))


def unclear(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, reason) where a rate is set, and an edit of that expression alone cannot be right."""
    copies = _copies_of_rates(tree)
    for value, group in _set_in(tree):
        names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
        if "param_groups[" in group and group.rpartition("[")[2].rstrip("]").lstrip("-").isdecimal():
            yield value.lineno, f"sets the rate of {group} alone; the groups are split by now: set that of each group"
        elif names & copies or "get_last_lr" in ast.unparse(value):
            yield value.lineno, "sets a rate that is made from that of another group: make it from the group's own"
        elif _is_relative(value) and any(
            isinstance(node, ast.Call) and function_name(node) in ("max", "min") for node in ast.walk(value)
        ):
            yield value.lineno, f'bounds a rate by one number for all groups: multiply it by group["{FACTOR}"]'
    for call, name in _calls(tree, FLOORS):
        given = _argument(call, *FLOORS[name])
        if given is not None and not (isinstance(given, ast.Constant) and not given.value):
            yield call.lineno, f"{name} ends at one rate for all groups: use eta_min=0, or a LambdaLR with factors"
    for call, name in _calls(tree, ABSOLUTE):
        for argument, position in ABSOLUTE[name]:
            if isinstance(_argument(call, argument, position), ast.List | ast.ListComp):
                yield call.lineno, f"{name} has a list of rates, one for each group; the groups are split by now"


def _set_in(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield (rate, group) of `group["lr"] = rate`, `group["lr"] -= rate` and `group.update(lr=rate)` for groups of optimizers."""
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For) and "param_groups" in ast.unparse(node.iter)]
    groups = {
        name.id for loop in loops for name in ast.walk(loop.target) if isinstance(name, ast.Name)
    }  # with `enumerate` the number, too: nobody writes number["lr"]

    def is_group(node: ast.expr) -> bool:
        indexed = isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("param_groups")
        return indexed or (isinstance(node, ast.Name) and node.id in groups)

    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Subscript(value=group, slice=key)], value=value) if _is_word(key, ("lr",)):
                if is_group(group):
                    yield value, ast.unparse(group)
            case ast.AugAssign(target=ast.Subscript(value=group, slice=key), op=ast.Add() | ast.Sub(), value=value):
                if _is_word(key, ("lr",)) and is_group(group):
                    yield value, ast.unparse(group)
            case ast.Call(func=ast.Attribute(value=group, attr="update"), keywords=keywords) if is_group(group):
                yield from ((each.value, ast.unparse(group)) for each in keywords if each.arg == "lr")
            case _:  # sets no rate
                pass


def _copies_of_rates(tree: ast.AST) -> set[str]:
    """Name the variables that hold the rate of some group: `lr = optimizer.param_groups[0]["lr"]`."""
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ("param_groups[" in ast.unparse(node.value) and _is_relative(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _calls(tree: ast.AST, names: Mapping[str, object]) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := function_name(node)) in names:
            yield node, name


def _argument(call: ast.Call, name: str, position: int) -> ast.expr | None:
    named = next((each.value for each in call.keywords if each.arg == name), None)
    return named if named is not None else call.args[position] if position < len(call.args) else None


def _is_relative(value: ast.expr) -> bool:
    return any(_is_word(inner, RELATIVE) for inner in ast.walk(value))


def _is_word(node: ast.AST, words: tuple[str, ...]) -> bool:
    return isinstance(node, ast.Constant) and node.value in words
