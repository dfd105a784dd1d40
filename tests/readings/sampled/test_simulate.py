"""Does a simulated run do what a dense run would?"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Law, Leaf
from tpdyn.program.program import Program

n = Builder.n


def counter_example() -> Program:
    """`W^T (2 W 1)`, the gradient of a mean of squares: here W^T may not be taken for independent of W."""
    b = Builder()
    w, x = b.parameter("W", (n, n), std=Scaling.of(1, "-1/2")), b.constant("x", 1, (n,))
    h = b.matmul(w, x)
    d = b.einsum("i,ij->j", h, w, scale=2)
    b.mark("output", "mean", b.einsum("j->", d, scale=Scaling.of(1, -1)))
    b.mark("output", "second moment", b.einsum("j,j->", d, d, scale=Scaling.of(1, -1)))
    return b.build(widths=(16, 24))


def test_gradient_independence_fails_where_it_should() -> None:
    """Mean 2 and second moment 8; with an independent copy in place of W^T they would be 0 and 4."""
    mean, second = tpdyn.simulate(counter_example(), width=400_000).outputs
    assert float(mean) == pytest.approx(2, abs=0.03)  # standard error: sqrt(4 + 2 * 2 * 4 * ...) / sqrt(n), below 0.01
    assert float(second) == pytest.approx(8, abs=0.1)


def test_a_result_names_its_values(sgd: Program) -> None:
    run = tpdyn.simulate(sgd, width=2000, coordinates=50)
    assert len(run.losses) == len(run.outputs) == 3
    assert run.losses[2] < run.losses[0]
    assert run.value("hidden", 2).shape == (4, 50)
    assert run.value("f", 1).shape == (4,)
    torch.testing.assert_close(run.value("f", 1), run.outputs[1])
    assert run.sizes["hidden", 0] == pytest.approx(float(run.value("hidden", 0).abs().mean()), rel=0.2)
    assert tpdyn.simulate(sgd, width=200, coordinates=None).value("hidden", 0).shape == (4, 200)
    with pytest.raises(KeyError, match=r"no value 'hidden' in step 7; it has steps \[0, 1, 2\]"):
        run.value("hidden", 7)
    with pytest.raises(KeyError, match="there are: f, hidden, loss"):
        run.value("nothing", 0)


def test_the_same_seed_gives_the_same_run(sgd: Program) -> None:
    one, two, other = (tpdyn.simulate(sgd, width=500, seed=seed).losses for seed in (3, 3, 4))
    assert one == two != other


def test_float32_follows_float64_as_far_as_its_precision_goes(sgd: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same noise in both types: losses agree to 1e-5."""
    from tpdyn.readings.sampled import noise

    def fresh(
        self: noise.Independent, position: int, axes: tuple[int, ...], shape: tuple[int, ...], number: int
    ) -> object:
        generator = torch.Generator().manual_seed(hash((position, axes, number)) % 2**31)
        size = math.prod(shape[axis] for axis in axes)
        return lambda k, along=None: torch.randn(k, size, generator=generator, dtype=torch.float64).to(self.one)

    monkeypatch.setattr(noise.Independent, "draw", fresh)
    exact = tpdyn.simulate(sgd, width=20_000)
    rough = tpdyn.simulate(sgd, width=20_000, dtype="float32")
    assert rough.losses == pytest.approx(exact.losses, rel=1e-5)


def test_an_entrywise_optimizer_never_stores_its_update(sign: Program) -> None:
    run = tpdyn.simulate(sign, width=600)
    assert run.losses[2] < run.losses[0]


def test_progress_is_told_statement_by_statement(sgd: Program) -> None:
    told: list[tuple[int, int]] = []
    tpdyn.simulate(sgd, width=100, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (1, len(sgd))
    assert told[-1] == (len(sgd), len(sgd))


def test_an_overflow_is_a_number_like_others_and_the_notes_say_where() -> None:
    b = Builder()
    w, x = b.parameter("W", (n, n), std=1e200), b.constant("x", 1e200, (n,))
    b.mark("output", "f", b.einsum("i->", b.matmul(w, x)))
    run = tpdyn.simulate(b.build(widths=(16, 24)), width=50)
    assert not math.isfinite(float(run.outputs[0]))
    assert run.notes[-1].startswith("the run overflows at width 50: f is NaN or infinite from step 0 on [")


def test_uniform_weights_are_replaced_and_the_notes_say_so() -> None:
    b = Builder()
    w = b.parameter("W", (n, n), law=Law("uniform", scale=Scaling.of(1, "-1/2")))
    b.mark("module", "h", b.matmul(w, b.constant("x", 1, (n,))))
    run = tpdyn.simulate(b.build(widths=(16, 24)), width=20_000)
    assert run.notes == ("W (uniform) is replaced by Gaussian entries of the same mean and standard deviation",)
    assert float(run.value("h", 0).square().mean()) == pytest.approx(1 / 3, rel=0.2)


def test_a_size_that_falls_only_from_some_width_on_is_told_below_it(sgd: Program) -> None:
    late = dataclasses.replace(sgd, late={"U": 300.0})
    assert tpdyn.simulate(late, width=100).notes == ("U has the initial size that it has from width 300 on",)
    assert tpdyn.simulate(late, width=400).notes == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width = 0; expected a positive whole number"),
        ({"width": 10, "dtype": "half"}, "expected 'float64' or 'float32'"),
        ({"width": 10, "coordinates": 0}, "expected a positive number, or None"),
        ({"width": 10, "leaves": {"nothing": torch.ones(1)}}, "the program has no such leaves; it has U, W"),
    ],
)
def test_bad_input_is_refused_at_the_door(sgd: Program, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tpdyn.simulate(sgd, **arguments)  # type: ignore[arg-type]


def test_a_program_of_one_width_is_refused() -> None:
    program = Builder()
    program.parameter("w", (16,))
    with pytest.raises(ValueError, match="recorded at width 16 only"):
        tpdyn.simulate(program.build(widths=(16,)), width=100)


def test_a_width_that_is_no_number_of_the_program_is_refused_with_its_statement() -> None:
    b = Builder()
    b.parameter("heads", (Scaling.of(1, 1) * Scaling.of(0.125), 8))
    with pytest.raises(ValueError, match=r"heads .*the dim .* is .*, not a whole number"):
        tpdyn.simulate(b.build(widths=(16, 24)), width=100)


def test_data_that_are_no_numbers_are_refused_unless_the_program_asks_which() -> None:
    b = Builder()
    x = b.data("x", (2,))
    b.mark("output", "f", b.einsum("i->", x))
    arrays = {"x": np.array([1.0, math.nan])}
    with pytest.raises(ValueError, match=r"the data x \[.*\]: 1 entries are NaN; expected numbers"):
        tpdyn.simulate(b.build(widths=(16, 24), arrays=arrays), width=100)
    b.mark("output", "g", b.einsum("i->", b.apply("where", b.apply("isnan", x), b.constant("zero", 0, (2,)), x)))
    assert float(tpdyn.simulate(b.build(widths=(16, 24), arrays=arrays), width=100).outputs[1]) == 1


def test_data_that_grow_are_asked_for_by_name() -> None:
    b = Builder()
    b.mark("output", "f", b.einsum("i->", b.data("wide", (n,)), scale=Scaling.of(1, -1)))
    program = b.build(widths=(16, 24))
    with pytest.raises(RuntimeError, match=r"give it by leaves=\{'wide': ...\} with shape \(100,\)"):
        tpdyn.simulate(program, width=100)
    run = tpdyn.simulate(program, width=100, leaves={"wide": torch.full((100,), 3.0)})
    assert float(run.outputs[0]) == pytest.approx(3)


# -- outside --------------------------------------------------------------------------------------------------------


def outside(build: Builder) -> str:
    with pytest.raises(OutsideTheory) as caught:
        tpdyn.simulate(build.build(widths=(16, 24)), width=64)
    assert "here.py:7" in str(caught.value)
    return str(caught.value)


def leaves() -> tuple[Builder, int, int]:
    from tpdyn.program.program import Source

    b = Builder()
    b.at(source=Source("here.py", 7, "the line"))
    std = Scaling.of(1, "-1/2")
    return b, b.parameter("W", (n, n), std=std), b.parameter("V", (n, n), std=std)


def test_a_product_of_two_gaussian_leaves_is_outside() -> None:
    b, w, v = leaves()
    b.matmul(w, v)
    assert "a product of two Gaussian leaves, W and V. Apply them to a vector" in outside(b)


def test_squares_of_a_leaf_as_in_adam_with_l2_are_outside() -> None:
    b, w, _ = leaves()
    b.einsum("ij,ij->ij", w, w)
    assert "a product of entries of W itself" in outside(b)


def test_a_function_of_the_entries_of_a_leaf_is_outside() -> None:
    b, w, _ = leaves()
    b.matmul(b.apply("tanh", w), b.constant("x", 1, (n,)))
    assert "a function of the entries of W itself" in outside(b)


def test_an_entrywise_inner_product_with_a_leaf_is_outside() -> None:
    b, w, _ = leaves()
    u = b.constant("x", 1, (n,))
    b.einsum("ij,ij->", w, b.apply("tanh", b.einsum("i,j->ij", u, u)))
    assert "an entrywise inner product of W itself with a function of a matrix" in outside(b)


def test_the_norm_of_a_leaf_has_its_law_and_its_square_is_outside() -> None:
    b, w, _ = leaves()
    b.mark("output", "norm", b.einsum("ij,ij->", w, w))
    b.mark("output", "rows", b.einsum("i->", b.einsum("ij,ij->i", w, w)))
    run = tpdyn.simulate(b.build(widths=(16, 24)), width=1000)
    assert float(run.outputs[0]) == pytest.approx(1000, abs=10)  # 7 standard deviations of chi-squared / n
    assert float(run.outputs[1]) == pytest.approx(float(run.outputs[0]))
    b, w, _ = leaves()
    b.einsum("ij,ji->", w, w)
    assert "an inner product of W and its own transpose" in outside(b)


def test_an_inner_product_of_two_leaves_is_outside() -> None:
    b, w, v = leaves()
    b.einsum("ij,ij->", w, v)
    assert "an inner product of two Gaussian leaves, W and V" in outside(b)


def test_three_wide_axes_and_picked_entries_are_outside() -> None:
    b, w, _ = leaves()
    b.matmul(b.parameter("T", (n, n, n)), b.constant("x", 1, (n,)))
    assert "T is a Gaussian leaf with 3 wide axes" in outside(b)
    b, w, _ = leaves()
    b.leaf(Leaf("constant", "picked", Law("index")), (), type="int")
    index = len(b.statements) - 1
    b.gather(w, index)
    program = b.build(widths=(16, 24), arrays={"picked": np.array(3)})
    with pytest.raises(OutsideTheory, match="gather of a matrix whose rows and columns both grow"):
        tpdyn.simulate(program, width=64)
