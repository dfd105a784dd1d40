"""Mirrors tpdyn/parametrizing/editing/schedules.py: a rate that is set anew gets the factor of its group."""

from __future__ import annotations

import ast
import re

import pytest

from tpdyn.parametrizing.editing.edits import TextEdits
from tpdyn.parametrizing.editing.schedules import resets_in, unclear

LOOP = "for g in optimizer.param_groups: "


def edited(line: str) -> str:
    edits = TextEdits(line)
    for reset in resets_in(edits.tree):
        edits.wrap(reset.value, *reset.around())
    return edits.result()


@pytest.mark.parametrize(("line", "after"), [
    (LOOP + "g['lr'] = 0.1 * x", LOOP + "g['lr'] = (0.1 * x) * g.get(\"lr_factor\", 1)"),
    ("for i, g in enumerate(o.param_groups): g['lr'] = r(i)",
     "for i, g in enumerate(o.param_groups): g['lr'] = r(i) * g.get(\"lr_factor\", 1)"),
    ("for i in I: o.param_groups[i]['lr'] = lr",
     "for i in I: o.param_groups[i]['lr'] = lr * o.param_groups[i].get(\"lr_factor\", 1)"),
    (LOOP + "g['lr'] -= 1e-4", LOOP + "g['lr'] -= 1e-4 * g.get(\"lr_factor\", 1)"),
    (LOOP + "g.update(lr=lr)", LOOP + "g.update(lr=lr * g.get(\"lr_factor\", 1))"),
    ("CyclicLR(opt, 0.1, max_lr=a + b)",
     "CyclicLR(opt, [0.1 * group.get(\"lr_factor\", 1) for group in opt.param_groups], "
     "max_lr=[(a + b) * group.get(\"lr_factor\", 1) for group in opt.param_groups])"),
])  # fmt: skip
def test_a_rate_that_is_set_anew_gets_the_factor_of_its_group(line: str, after: str) -> None:
    assert edited(line) == after
    assert not list(unclear(ast.parse(line)))


@pytest.mark.parametrize("line", [
    LOOP + "g['lr'] = g['lr'] * 0.1", LOOP + "g['lr'] = g['initial_lr'] * 0.1", LOOP + "g['lr'] *= 0.1", "config['lr'] = 0.1",
    "LambdaLR(optimizer, lambda step: 0.9**step)", "CosineAnnealingLR(optimizer, 10)",
    "CosineAnnealingLR(optimizer, 10, eta_min=0)",
])  # fmt: skip
def test_rates_that_are_made_from_the_groups_own_stay(line: str) -> None:
    assert edited(line) == line
    assert not list(unclear(ast.parse(line)))


@pytest.mark.parametrize(("line", "reason"), [
    ("opt.param_groups[0]['lr'] = lr", r"sets the rate of opt.param_groups\[0\] alone"),
    ("rate = opt.param_groups[0]['lr']\n" + LOOP + "g['lr'] = rate / 2", "made from that of another group"),
    (LOOP + "g['lr'] = schedule.get_last_lr()[0]", "made from that of another group"),
    (LOOP + "g['lr'] = max(g['lr'] * 0.5, 1e-6)", "bounds a rate by one number"),
    ("CosineAnnealingLR(optimizer, 10, 1e-5)", "ends at one rate for all groups"),
    ("OneCycleLR(optimizer, [0.1, 0.2], 9)", "has a list of rates"),
])  # fmt: skip
def test_what_no_edit_of_the_expression_makes_right_is_left_to_a_person(line: str, reason: str) -> None:
    assert edited(line) == line
    (found,) = unclear(ast.parse(line))
    assert found[0] == len(line.splitlines())
    assert re.search(reason, found[1])
