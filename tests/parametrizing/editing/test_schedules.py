"""Mirrors tpdyn/parametrizing/editing/schedules.py: a rate that is set anew gets the factor of its group."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import torch

from tpdyn.commands import fix as fixing
from tpdyn.parametrizing.editing.edits import TextEdits
from tpdyn.parametrizing.editing.schedules import resets_in, unclear
from tpdyn.scripts.script import load

LOOP = "for g in optimizer.param_groups: "

SCHEDULE = """
def warm(optimizer, step):
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * min(1, step / 2)
"""

SCRIPT = """
import torch
from torch import nn
from a_schedule_of_mine import warm


def train(width, steps=5):
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=9)
    if steps < 0:
        warm(optimizer, 1)
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
        schedule.step()
    return optimizer
"""


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


def test_a_schedule_of_rates_and_one_in_another_file_are_patched_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("script.py").write_text(SCRIPT)
    Path("a_schedule_of_mine.py").write_text(SCHEDULE)
    found = fixing.fixed("script.py:train", base_width=20, steps=2)
    assert found.verified and found.neutral, found.told()
    assert 'max_lr=[0.1 * group.get("lr_factor", 1) for group in optimizer.param_groups]' in found.fix.patch
    assert 'group["lr"] = (0.01 * min(1, step / 2)) * group.get("lr_factor", 1)' in found.fix.patch
    for path, text in found.fix.after.items():
        Path(path).write_text(text)
    optimizer = load("script.py:train")(40)
    assert isinstance(optimizer, torch.optim.Adam)
    assert (
        len({group["max_lr"] for group in optimizer.param_groups})
        == len({group["lr"] for group in optimizer.param_groups})
        == 2
    )
