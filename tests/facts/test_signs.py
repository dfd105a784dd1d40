"""Mirrors tpdyn/facts/signs.py: what cannot be negative is known, and the smaller of two such numbers is small."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import torch
from torch import nn

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.facts.signs import floor_of
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Apply, Combine, Contract, Eigenvalues, Law, Leaf, Operand
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import read

HALF = Fraction(1, 2)
WIDE, NOTHING = Scaling.of(1, 1), Scaling(())


def of(power: Fraction | int, sign: int = 1) -> Scaling:
    return Scaling.of(sign, Fraction(power))


def test_norms_squares_and_what_is_made_of_them_are_never_negative() -> None:
    build = Builder()
    x = build.leaf(Leaf("parameter", "x", Law("normal", NOTHING, of(0))), (WIDE,))
    here = Operand(x, (0,))
    square = build.add(Contract((Operand(x, (0,)), Operand(x, (0,)))), ())
    root = build.add(Apply("sqrt", (Operand(square, ()),)), ())
    shifted = build.add(Combine(((of(0), Operand(root, ())),), of(0), epsilon=True), ())
    inverse = build.add(Apply("reciprocal", (Operand(shifted, ()),)), ())
    sizes = build.add(Apply("abs", (here,)), (WIDE,))
    mean = build.add(Contract((Operand(sizes, (0,)),), of(-1)), ())
    one = build.leaf(Leaf("constant", "one", Law("constant", of(0))), ())
    outer = build.add(Contract((Operand(x, (0,)), Operand(x, (1,)))), (WIDE, WIDE))
    spectrum = build.add(Eigenvalues(Operand(outer, (1, 2)), (1,), (2,), 0), (WIDE,))
    turned = build.add(Combine(((of(0, -1), Operand(outer, (0, 1))),)), (WIDE, WIDE))
    negative = build.add(Eigenvalues(Operand(turned, (1, 2)), (1,), (2,), 0), (WIDE,))
    yes = (spectrum, square, root, shifted, inverse, sizes, mean, one)
    minus = build.leaf(Leaf("constant", "minus one", Law("constant", of(0, -1))), ())
    total = build.add(Contract((here,)), ())
    less = build.add(Combine(((of(0), Operand(root, ())), (of(0, -1), Operand(mean, ())))), ())
    wave = build.add(Apply("tanh", (Operand(total, ()),)), ())
    no = (negative, x, minus, total, less, wave)
    program = build.build()
    known = Facts.of(program).nonnegative
    assert all(known[var] for var in yes)
    assert not any(known[var] for var in no)


def minimum_of(first: Fraction | int, second: Fraction | int) -> Fraction | None:
    """The order of the minimum of two constants of these orders."""
    build = Builder()
    pair = [
        build.leaf(Leaf("constant", f"c{k}", Law("constant", of(power))), ()) for k, power in enumerate((first, second))
    ]
    both = build.add(Apply("minimum", tuple(Operand(var, ()) for var in pair)), ())
    return read(build.build()).values[both].size


def test_the_smaller_of_two_numbers_that_are_not_negative_has_the_smaller_order() -> None:
    assert minimum_of(0, Fraction(-1, 2)) == Fraction(-1, 2)
    assert minimum_of(1, 0) == 0
    assert minimum_of(1, 1) == 1


def divided_by_a_norm(tiny: float, also_added: bool = False, zero: bool = False) -> tuple[Program, int]:
    """x / max(|x|, tiny) for a vector x of order -1, hence of a norm of order -1/2."""
    build = Builder()
    law = Law("zero") if zero else Law("normal", NOTHING, of(-1))
    x = build.leaf(Leaf("parameter", "x", law), (WIDE,))
    square = build.add(Contract((Operand(x, (0,)), Operand(x, (0,)))), ())
    norm = build.add(Apply("sqrt", (Operand(square, ()),)), ())
    constant = build.leaf(Leaf("constant", "tiny", Law("constant", Scaling.of(tiny))), ())
    guarded = build.add(Apply("maximum", (Operand(norm, ()), Operand(constant, ()))), ())
    inverse = build.add(Apply("reciprocal", (Operand(guarded, ()),)), ())
    made = build.add(Contract((Operand(x, (0,)), Operand(inverse, ()))), (WIDE,))
    if also_added:
        build.add(Combine(((of(0), Operand(guarded, ())), (of(0), Operand(norm, ())))), ())
    return build.build(), made


def test_a_tiny_number_under_a_norm_that_is_divided_by_is_an_epsilon() -> None:
    """Muon divides by `norm.clamp(min=1e-7)`: whatever the norm, the quotient has norm 1, hence entries of order -1/2."""
    program, made = divided_by_a_norm(1e-7)
    assert read(program).values[made].size == -HALF
    assert read(program, epsilon=True).values[made].size == -1  # the number wins in the end, as Adam's would


def test_a_number_that_is_not_tiny_or_is_used_otherwise_is_none() -> None:
    for program, made in (divided_by_a_norm(0.1), divided_by_a_norm(1e-7, also_added=True)):
        assert read(program).values[made].size == -1


def test_a_constant_is_tiny_up_to_a_ten_thousandth() -> None:
    for tiny, size in ((1e-4, -HALF), (2e-4, Fraction(-1)), (0.05, Fraction(-1))):
        program, made = divided_by_a_norm(tiny)
        assert read(program).values[made].size == size


def test_zero_divided_by_what_guards_it_is_zero() -> None:
    program, made = divided_by_a_norm(1e-7, zero=True)
    assert read(program).values[made].size is None


def clipped(limit: float) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        draws = torch.Generator().manual_seed(0)
        x, y = torch.randn(5, 6, generator=draws), torch.randn(5, 3, generator=draws)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()

    return train


def test_clipping_slows_training_down_as_the_norm_of_all_gradients_grows_and_runs_agree() -> None:
    """In standard parametrization the readout's gradient has a norm of order 1/2, so every step is smaller by n^-1/2.

    Without the rule the factor of clipping would count as 1, and every order would be too large by 1/2.
    """
    train = clipped(0.1)
    prediction = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), steps=3))
    assert prediction.order("0", step=1) == -1
    assert prediction.order("2", step=1) == 0
    assert prediction.order("output", step=1) == Fraction(1, 2)
    report = tpdyn.compare(prediction, tpdyn.measure(train, widths=(64, 128, 256, 512), seeds=6, steps=3))
    assert report.agrees, report.to_text()
    assert all(row.verdict == "agrees" for row in report.rows() if row.name in ("0", "1", "2", "3")), report.to_text()


def test_what_a_mask_selects_is_bounded_only_so_its_reciprocal_is_not_taken_for_small() -> None:
    """The largest entry of a gradient is a sum behind a mask with one entry. The mask counts as n of them.

    The factor of clipping by it must not count as n^-1 for that. Orders of changes have to stay upper bounds.
    """

    def train(width: int, seen: list[torch.Tensor] | None = None) -> None:
        model = Wave(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        draws = torch.Generator().manual_seed(0)
        x, y = torch.randn(5, 6, generator=draws), torch.randn(5, 3, generator=draws)
        for _ in range(2):
            optimizer.zero_grad()
            out = model(x)
            if seen is not None:
                seen.append(out.detach())
            (width * nn.functional.mse_loss(out, y)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1, float("inf"))
            optimizer.step()
        if seen is not None:
            seen.append(model(x).detach())

    prediction = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), steps=2))
    changes = []
    for width in (64, 1024):
        torch.manual_seed(0)
        seen: list[torch.Tensor] = []
        train(width, seen)
        changes.append(float((seen[1] - seen[0]).abs().mean()))
    slope = math.log(changes[1] / changes[0]) / math.log(16)
    order = prediction.order("output", step=1)
    assert order is not None and order >= slope - 0.1


class Wave(nn.Module):
    """`v tanh(W x) / sqrt(n)` with unit Gaussians v: its gradients have a norm of order 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.readout = nn.Linear(6, width), nn.Linear(width, 3, bias=False)
        nn.init.normal_(self.readout.weight)
        self.factor = width**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.readout(torch.tanh(self.inner(x)))


def divided_by_the_softplus_of_the_norm(width: int, seen: list[torch.Tensor] | None = None) -> None:
    """A loss of order 3, whose gradients are divided by the softplus of their norm where that is above 1/10."""
    model = Wave(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 6, generator=draws), torch.randn(5, 3, generator=draws)
    for _ in range(3):
        optimizer.zero_grad()
        out = model(x)
        if seen is not None:
            seen.append(out.detach())
        (width**3 * nn.functional.mse_loss(out, y)).backward()
        with torch.no_grad():
            norm = torch.sqrt(sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None))
            factor = (0.1 / nn.functional.softplus(norm)).clamp(max=1.0)
            for p in model.parameters():
                assert p.grad is not None
                p.grad.mul_(factor)
        optimizer.step()


def test_a_softplus_of_a_norm_is_never_negative_so_what_is_clipped_by_it_changes_at_order_zero() -> None:
    """Before, softplus was missing from a list of functions: the factor counted as 1, and the change as order 3."""
    prediction = tpdyn.predict(tpdyn.record(divided_by_the_softplus_of_the_norm, widths=(16, 24, 40), steps=3))
    assert prediction.order("output", step=1) == 0
    assert prediction.order("output", step=2) == 0
    changes = []
    for width in (64, 1024):
        torch.manual_seed(0)
        seen: list[torch.Tensor] = []
        divided_by_the_softplus_of_the_norm(width, seen)
        changes.append(float((seen[2] - seen[0]).abs().mean()))
    assert abs(math.log(changes[1] / changes[0]) / math.log(16)) < 0.1


def test_a_tiny_lower_end_is_a_floor_in_an_optimizer_only() -> None:
    b = Builder()
    x = b.leaf(Leaf("parameter", "x", Law("normal", NOTHING, of(0))), (WIDE,))
    for ends in ((1e-6, 50.0), (0.5, 50.0), (-1.0, 1.0), (0.0, 6.0)):
        b.add(Apply("clamp", (Operand(x, (0,)),), tuple(Scaling.of(end) for end in ends)), (WIDE,))
    made = b.build().statements[1:]
    stepped = [replace(each, origin=replace(each.origin, phase="optimizer")) for each in made]
    assert [floor_of(each) for each in made] == [None] * 4
    assert [floor_of(each) for each in stepped] == [1e-6, None, None, None]
