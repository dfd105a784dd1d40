"""Does the fit recover how numbers depend on the width, and refuse what does not?"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Apply, Combine, Contract, Law, Leaf, Operand, Slice
from tpdyn.program.program import Origin, Source
from tpdyn.recorder.fitting.widths import FitError, check_widths, fit
from tpdyn.recorder.lowered import Lowered, LoweredMark, LoweredStatement

WIDTHS = (16, 24, 40)
N = Scaling.of(1, 1)


def _mlp(width: int, lr: float = 0.1, extra: bool = False, scale: float = 1.0) -> Lowered:
    init, run = Origin(phase="initialization"), Origin(source=Source("train.py", 5, "h = fc(x) * c"))
    law = Law("normal", Scaling(()), Scaling.of(width**-0.5))
    shifted = Combine(((Scaling.of(1 - lr / width), Operand(2, (0, 1))),), Scaling.of(3 / width))
    statements = [
        LoweredStatement(Leaf("parameter", "w", law), (width, width), origin=init),
        LoweredStatement(Leaf("data", "x", Law("data")), (7, width), origin=init),
        LoweredStatement(Contract((Operand(0, (1, 2)), Operand(1, (0, 2))), Scaling.of(scale)), (7, width), origin=run),
        LoweredStatement(shifted, (7, width), origin=run),
        LoweredStatement(Slice.of(Operand(3, (0, 1)), 1, 0, 1, width // 2), (7, width // 2), origin=run),
    ]
    if extra:
        statements.append(LoweredStatement(Contract((Operand(3, (0, 1)),)), (7,), origin=run))
    return Lowered(width, statements, steps=1)


def test_statements_are_aligned_and_fitted() -> None:
    fitted = fit([_mlp(width) for width in (40, 16, 24)])
    assert fitted.widths == WIDTHS
    leaf = fitted.statements[0].instruction
    assert isinstance(leaf, Leaf)
    assert leaf.law == Law("normal", Scaling(()), Scaling.of(1.0, "-1/2"))
    assert fitted.statements[1].shape == (Scaling.of(7), N)
    combine = fitted.statements[3].instruction
    assert isinstance(combine, Combine)
    assert str(combine.terms[0][0]) == "1 - 0.1*n^-1" and combine.constant == Scaling.of(3, -1)
    assert fitted.statements[4].shape == (Scaling.of(7), Scaling.of(Fraction(1, 2), 1))


def test_a_constant_without_a_law_is_named_with_its_line_and_values() -> None:
    lowereds = [_mlp(width, scale=scale) for width, scale in zip(WIDTHS, (2.3, 2.1, 2.4), strict=True)]
    with pytest.raises(FitError, match=r"(?s)outside the theory.*2\.3 at width 16.*2\.1 at width 24.*train\.py:5") as e:
        fit(lowereds)
    assert e.value.outside


def test_a_structure_that_differs_is_shown_from_both_sides() -> None:
    with pytest.raises(
        FitError, match=r"(?s)first difference is statement 5.*end of the recording.*width 40.*Contract"
    ):
        fit([_mlp(16), _mlp(24), _mlp(40, extra=True)])


def test_a_model_whose_width_does_not_change_is_refused() -> None:
    same = [_mlp(16) for _ in WIDTHS]
    for lowered, width in zip(same, WIDTHS, strict=True):
        lowered.width = width
    with pytest.raises(FitError, match="Is the width used"):
        fit(same)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ((16,), "one width"),
        ((16, 16), "one width"),
        ((), "one width"),
        ((0, 4), "0 is not a positive"),
        ((True, 4), "True is not a positive"),
        ((16, -3), "-3 is not a positive"),
    ],
)
def test_bad_widths_are_refused(widths: tuple[int, ...], message: str) -> None:
    with pytest.raises(FitError, match=message):
        check_widths(widths)


def test_a_law_that_was_measured_is_fitted_within_its_sampling_error() -> None:
    lowereds = [_mlp(width) for width in WIDTHS]
    for lowered, wobble in zip(lowereds, (1.03, 0.98, 1.01), strict=True):
        law = Law("iid", Scaling.of(0.01 * lowered.width**-0.5), Scaling.of(wobble * lowered.width**-0.5))
        first = lowered.statements[0]
        lowered.statements[0] = LoweredStatement(Leaf("parameter", "w", law), first.shape, origin=first.origin)
    leaf = fit(lowereds).statements[0].instruction
    assert isinstance(leaf, Leaf)
    assert leaf.law.scale.order == Fraction(-1, 2)
    assert leaf.law.location.is_zero


def _measured(locations: tuple[float, ...], scales: tuple[float, ...], count: int) -> list[Lowered]:
    """Recordings whose first parameter has `count` fixed entries with these measured means and deviations."""
    lowereds = [_mlp(width) for width in WIDTHS]
    for lowered, location, scale in zip(lowereds, locations, scales, strict=True):
        law = Law("iid", Scaling.of(location), Scaling.of(scale))
        lowered.statements.append(LoweredStatement(Leaf("parameter", "v", law), (count,), origin=Origin()))
    return lowereds


def test_a_deviation_far_outside_of_its_sampling_error_is_no_law() -> None:
    with pytest.raises(FitError, match="no power of the width"):
        fit(_measured((0.0, 0.0, 0.0), (1.0, 1.3, 1.0), 10_000))


def test_a_law_that_is_no_power_names_what_makes_the_entries_or_asks_for_the_model_inside() -> None:
    outside, inside = (_measured((0.0, 0.0, 0.0), (1.0, 1.3, 1.0), 10_000) for _ in range(2))
    with pytest.raises(FitError, match="Build the model inside the recorded function"):
        fit(outside)
    for lowered in inside:
        lowered.made = {"v": "triu"}
    with pytest.raises(FitError, match=r"made by triu, whose law is not known\. Draw them by torch") as told:
        fit(inside)
    assert "inside" not in str(told.value)


def test_the_line_that_was_trained_is_named_where_no_dim_grows() -> None:
    same = [_mlp(16) for _ in WIDTHS]
    for lowered, width in zip(same, WIDTHS, strict=True):
        lowered.width = width
        step = Origin(phase="optimizer", source=Source("train.py", 9, "optimizer.step()"))
        lowered.statements.append(LoweredStatement(Contract((Operand(2, (0, 1)),)), (7,), origin=step))
    with pytest.raises(
        FitError, match=r"steps that were recorded are those at train\.py:9\. If they train something else"
    ):
        fit(same)


def test_a_dim_that_follows_a_logarithm_is_told_so() -> None:
    def logarithmic(width: int) -> Lowered:
        return Lowered(
            width, [LoweredStatement(Leaf("data", "x", Law("data")), (width, int(math.log2(width))))], steps=1
        )

    with pytest.raises(FitError, match=r"If it is a logarithm of the width .* a fixed number"):
        fit([logarithmic(width) for width in WIDTHS])


def test_a_mean_that_is_small_but_certain_is_a_mean() -> None:
    leaf = fit(_measured((0.2, 0.2, 0.2), (1.0, 1.001, 0.999), 10_000)).statements[-1].instruction
    assert isinstance(leaf, Leaf)
    assert leaf.law.location == Scaling.of(0.2)


@pytest.mark.parametrize("seed", range(20))
def test_two_entries_that_each_width_draws_anew_have_order_zero(seed: int) -> None:
    """Some power fits the noise of three draws: they had order +1 in 8 of 20 seeds, or were refused."""
    draws = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed)).double()
    fitted = fit(_measured(tuple(draws.mean(1).tolist()), tuple(draws.std(1).tolist()), 2))
    leaf = fitted.statements[-1].instruction
    assert isinstance(leaf, Leaf)
    assert leaf.law.scale.order == 0 and leaf.law.location.order in (0, None)
    assert fitted.few == {"v": 2} and any("too few (2)" in note for note in fitted.notes)


def test_a_power_that_many_entries_show_is_not_noted() -> None:
    assert not fit(_measured((0.0, 0.0, 0.0), (1.0, 1.001, 0.999), 10_000)).notes


@pytest.mark.parametrize("what", ["epsilon", "along", "module", "step", "operand", "factor"])
def test_recordings_that_differ_in_anything_but_numbers_are_not_joined(what: str) -> None:
    def with_last(width: int, odd: bool) -> Lowered:
        lowered, read = _mlp(width), Operand(2 if what in ("operand", "factor") and odd else 3, (0, 1))
        terms = ((Scaling.of(1 / width), read),)
        place = Origin(module="head" if what == "module" and odd else "", step=int(what == "step" and odd))
        last = Combine(terms, Scaling.of(1e-8), what == "epsilon" and odd)
        if what == "factor":
            last = Contract((read,), Scaling.of(1 / width))
        if what == "along":
            last = Apply("softmax", (read,), (Scaling.of(width),), 1 if odd else 0)
        lowered.statements.append(LoweredStatement(last, (7, width), origin=place))
        return lowered

    with pytest.raises(FitError, match="different things at different widths"):
        fit([with_last(width, width == 24) for width in WIDTHS])


def test_data_with_more_axes_at_one_width_are_another_structure() -> None:
    lowereds = [_mlp(width) for width in WIDTHS]
    for lowered in lowereds:
        shape = (7, 3) if lowered.width == 24 else (7,)
        lowered.statements.append(LoweredStatement(Leaf("data", "y", Law("data")), shape))
    with pytest.raises(FitError, match="different things at different widths"):
        fit(lowereds)


def test_recordings_that_name_other_values_are_not_joined() -> None:
    lowereds = [_mlp(width) for width in WIDTHS]
    for lowered in lowereds:
        lowered.marks.append(LoweredMark("module", "h" if lowered.width == 16 else "z", 0, 2))
    with pytest.raises(FitError, match=r"the script's named values differ between widths: .*'h'.* at width 16, .*'z'"):
        fit(lowereds)


def test_a_mean_that_is_negative_is_fitted_by_its_size() -> None:
    means = tuple(-3.0 * wobble / width for wobble, width in zip((1.004, 0.999, 1.0), WIDTHS, strict=True))
    leaf = fit(_measured(means, (0.1, 0.1001, 0.1), 10_000)).statements[-1].instruction
    assert isinstance(leaf, Leaf)
    assert leaf.law.location.order == -1 and float(leaf.law.location.at(1)) == pytest.approx(-3.0, rel=0.01)


def test_a_sum_over_all_but_one_is_a_mean_that_is_divided() -> None:
    def unbiased(width: int) -> Lowered:
        lowered = _mlp(width)
        total = Contract((Operand(2, (0, 1)), Operand(2, (0, 1))), Scaling.of(Fraction(1, width - 1)))
        lowered.statements.append(LoweredStatement(total, (7,), origin=Origin()))
        return lowered

    last = fit([unbiased(width) for width in WIDTHS]).statements[-1]
    assert isinstance(last.instruction, Contract)
    assert last.instruction.scale == Scaling.of(1, -1)
    assert last.over == Scaling.of(1) + Scaling.of(-1, -1)


@pytest.mark.parametrize("root", [2, 4])
def test_a_factor_may_be_a_root_of_a_sum_of_powers(root: int) -> None:
    def scaled(width: int) -> Lowered:
        lowered = _mlp(width)
        half = Combine(((Scaling.of((width / 2 + 4) ** (-1 / root)), Operand(2, (0, 1))),))
        lowered.statements.append(LoweredStatement(half, lowered.statements[2].shape, origin=Origin()))
        return lowered

    last = fit([scaled(width) for width in WIDTHS]).statements[-1]
    assert isinstance(last.instruction, Combine)
    (((scale, _operand),)) = last.instruction.terms
    assert scale.order == Fraction(-1, root) and float(scale.at(1)) == pytest.approx(2 ** (1 / root))
    assert (last.over, last.root) == (Scaling.of(1) + Scaling.of(8, -1), root)


@pytest.mark.parametrize("fixed", [24, 1024])
def test_entries_of_an_orthogonal_matrix_follow_its_larger_size(fixed: int) -> None:
    """n x 24 with orthogonal columns from n = 24 on. Entries have size n^-1/2 there, and 24^-1/2 before, which is noted.

    So have those of n x 1024, of which all recorded widths see the rows only.
    """
    lowereds = []
    for width in WIDTHS:
        lowered = _mlp(width)
        scale = Scaling.of(3 * max(width, fixed) ** -0.5)
        leaf = Leaf("parameter", "v", Law("orthogonal", scale=scale))
        lowered.statements.append(LoweredStatement(leaf, (width, fixed), origin=Origin()))
        lowereds.append(lowered)
    fitted = fit(lowereds)
    leaf = fitted.statements[-1].instruction  # type: ignore[assignment]
    assert leaf.law == Law("orthogonal", scale=Scaling.of(3.0, "-1/2"))
    assert any(f"only from the width on at which its growing size exceeds {fixed}" in note for note in fitted.notes)
    assert fitted.late == {"v": pytest.approx(fixed)}


def test_a_matrix_that_looks_orthogonal_at_some_widths_only_is_not() -> None:
    lowereds = []
    for kind in ("orthogonal", "iid", "iid"):
        lowered = _mlp(WIDTHS[len(lowereds)])
        law = Law(kind, scale=Scaling.of(lowered.width**-0.5))  # type: ignore[arg-type]
        first = lowered.statements[0]
        lowered.statements[0] = LoweredStatement(Leaf("parameter", "w", law), first.shape, origin=first.origin)
        lowereds.append(lowered)
    leaf = fit(lowereds).statements[0].instruction
    assert isinstance(leaf, Leaf)
    assert leaf.law.kind == "iid"


def test_an_initialisation_by_inputs_and_outputs_has_the_order_of_large_widths() -> None:
    """Glorot's, of a layer on 50 inputs. At small widths it was read as order 0; it has -1/2."""

    def glorot(width: float) -> float:
        return (2 / (50 + width)) ** 0.5

    made = fit(_measured((0.0,) * 3, tuple(map(glorot, WIDTHS)), 50))
    (leaf,) = (s.instruction for s in made.statements if isinstance(s.instruction, Leaf) and s.instruction.name == "v")
    slope = math.log(glorot(2e6) / glorot(1e6)) / math.log(2)
    assert leaf.law.scale.order == Fraction(-1, 2) == pytest.approx(slope, abs=1e-3)
    assert made.late == {"v": pytest.approx(50)}
    assert any("falls only from width 50 on" in note for note in made.notes)
