"""Mirrors tpdyn/parametrizing/editing/others.py: uses that did not run, wrapped models."""

from __future__ import annotations

import contextlib
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tpdyn.commands import fix as fixing
from tpdyn.facts.sites import Site
from tpdyn.parametrizing.editing.edits import TextEdits
from tpdyn.parametrizing.editing.lines import Line, multiplied
from tpdyn.parametrizing.editing.others import doubtful_uses, other_uses
from tpdyn.program.program import Source
from tpdyn.scripts.script import load
from tpdyn.scripts.target import Target

SCRIPT = """
import torch
from torch import nn
from torch.nn import functional as F
from a_schedule_of_mine import warm


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.tokens = nn.Embedding(11, width)
        self.inner = nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, 11, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x, targets=None):
        x = torch.tanh(self.inner(torch.tanh(self.tokens(x))))
        if targets is not None:
            return F.cross_entropy(self.head(x), targets)
        return self.head(x[[-1], :])


def train(width, steps=5, wrap=lambda model: model):
    model = wrap(Net(width))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    if steps > 5:
        torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
        warm(optimizer, 1)
    x = torch.randint(0, 10, (6,), generator=torch.Generator().manual_seed(3))
    for step in range(steps):
        lr = 0.01 / (1 + step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        model(x, x + 1).backward()
        optimizer.step()
    return model, optimizer
"""


SCHEDULE = """
def warm(optimizer, step):
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * min(1, step / 2)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> fixing.Fixed:
    folder = tmp_path_factory.mktemp("others")
    (folder / "script.py").write_text(SCRIPT)
    (folder / "a_schedule_of_mine.py").write_text(SCHEDULE)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        return fixing.fixed(Target("script.py:train"), base_width=20, steps=3)


def test_a_rate_that_is_set_in_each_step_keeps_the_factor_of_its_group(found: fixing.Fixed) -> None:
    assert found.verified and found.neutral, found.told()
    assert '            group["lr"] = lr * group.get("lr_factor", 1)' in found.fix.patch
    assert "script.py:33: the rate that is set there is multiplied by the factor of its group" in found.told()


def test_a_use_of_the_readout_that_did_not_run_is_scaled_too(found: fixing.Fixed) -> None:
    assert "return (self.head(x[[-1], :]) * (self.head.weight.shape[-1] / 20) ** -1)" in found.fix.patch
    assert "script.py:20: so is its other use there, which did not run" in found.told()


def test_a_patched_script_runs_with_a_wrapped_model(found: fixing.Fixed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(found.fix.folder)
    for path, text in found.fix.after.items():
        Path(path).write_text(text)
    plain, optimizer = load("script.py:train").__call__(40)  # type: ignore[misc]
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    assert rates == [pytest.approx(0.001), pytest.approx(0.002)]
    assert {group["lr_factor"] for group in optimizer.param_groups} == {1, 0.5}
    train = load("script.py:train")
    for wrap in (torch.nn.DataParallel, lambda model: torch.compile(model, backend="eager")):
        torch.manual_seed(0)
        wrapped, optimizer = train(40, 2, wrap)  # type: ignore[call-arg, misc]
        torch.manual_seed(0)
        plain, as_plain = train(40, 2)  # type: ignore[call-arg, misc]
        for mine, other in zip(wrapped.parameters(), plain.parameters(), strict=True):
            assert torch.equal(mine, other)
        assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in as_plain.param_groups]


def test_a_schedule_of_rates_and_one_in_another_file_keep_the_factors(
    found: fixing.Fixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 'max_lr=[0.1 * group.get("lr_factor", 1) for group in optimizer.param_groups]' in found.fix.patch
    assert 'group["lr"] = (0.01 * min(1, step / 2)) * group.get("lr_factor", 1)' in found.fix.patch
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(found.fix.folder)
    for path, text in found.fix.after.items():
        Path(path).write_text(text)
    _, optimizer = load("script.py:train")(40, 6)  # type: ignore[call-arg, misc]
    peaks = sorted({group["max_lr"] for group in optimizer.param_groups})
    assert peaks == [pytest.approx(0.05), pytest.approx(0.1)]


TIED = """
class Net:
    def forward(self, x): return F.linear(self.body(self.e(x)), self.e.weight)
    def generate(self, x):
        h = self.body(self.e(x))
        return h @ self.e.weight.t() + torch.matmul(h, self.e.weight.T)
    def score(self, h):
        return h.matmul(self.e.weight.transpose(0, 1)), F.linear(h + 1, self.e.weight, self.bias)
class Other:
    def forward(own, x): return x @ own.e.weight.t()
def sample(model, x):
    return model.body(x) @ model.e.weight.mT
class Wrapped:
    def forward(self, x): return self.net.e(x), F.linear(x, self.net.e.weight)
"""

CALLED = """
class Net:
    def forward(self, x): return self.head(x)
    def generate(self, x): return self.head(x[:, -1])
    def score(self, h): return F.linear(h, self.head.weight, self.head.bias), h @ self.head.weight.t()
def sample(model, x):
    model.eval()
    return model.head(x)
"""

FUNCTIONS = """
def train(net, x): return net.head(x)
def sample(net, x): return net.head(x)
"""


def uses(text: str, at: int, biased: bool = False, ran: tuple[int, ...] = ()) -> tuple[str, list[int]]:
    """The text with every sure use multiplied, and the lines of doubtful ones. The product of line `at` ran."""
    site = Site("p", "", Source("a.py", at, ""), (0,), ()) if text == TIED else SITE
    edits, line = TextEdits(text), Line("a.py", at, (site,), Fraction(-1), 20)
    product = multiplied(edits, line, biased)
    assert product is not None and product.node is not None
    for each in (product, *other_uses(edits, line, product, biased, {at, *ran})):
        assert each.node is not None
        edits.wrap(each.node, *each.around())
    doubtful = doubtful_uses(edits, line, product, {"a.py": edits.tree}, {"a.py": {at, *ran}})
    return edits.result(), [number for _, number in doubtful]


SITE = Site("p", "head", Source("a.py", 1, ""), (0,), ("w",))


def test_every_product_with_the_weight_is_scaled_in_its_class_and_other_places_are_left_to_a_person() -> None:
    text, doubtful = uses(TIED, 3)
    scaled = "(self.e.weight.shape[-1] / 20) ** -1"
    assert f"return (F.linear(self.body(self.e(x)), self.e.weight) * {scaled})" in text
    assert "(h @ self.e.weight.t() * (h.shape[-1] / 20) ** -1)" in text
    assert "(torch.matmul(h, self.e.weight.T) * (h.shape[-1] / 20) ** -1)" in text
    assert "(h.matmul(self.e.weight.transpose(0, 1)) * (h.shape[-1] / 20) ** -1)" in text
    assert f"F.linear((h + 1) * {scaled}, self.e.weight, self.bias)" in text
    assert "return x @ own.e.weight.t()" in text and "self.e(x))" in text  # another class; a table of rows
    assert doubtful == [12, 14]
    assert uses(TIED, 3, ran=(12,))[1] == [14]


def test_a_module_that_is_called_is_scaled_where_its_weight_is_used_by_hand_too() -> None:
    text, doubtful = uses(CALLED, 3, biased=True)
    assert "self.head(x * (x.shape[-1] / 20) ** -1)" in text
    assert "self.head(x[:, -1] * (self.head.weight.shape[-1] / 20) ** -1)" in text
    assert "F.linear(h * (h.shape[-1] / 20) ** -1, self.head.weight, self.head.bias)" in text
    assert "(h @ self.head.weight.t() * (h.shape[-1] / 20) ** -1)" in text
    assert doubtful == [8]


def test_a_variable_is_the_same_module_within_its_function_only() -> None:
    text, doubtful = uses(FUNCTIONS, 2)
    assert text.count("** -1") == 1 and doubtful == [3]
