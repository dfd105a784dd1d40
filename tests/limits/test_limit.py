"""Are limits those that can be written down, and are their errors honest?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
import torch

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.limits.limit import Limit
from tpdyn.limits.points import Stream
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory, ReadingError
from tpdyn.program.law import Law
from tpdyn.program.program import Program, Source

n = Builder.n
ROOT = Scaling.of(1, "-1/2")


def trained(
    *, eta: float = 0.1, xi: float = 1.0, later: float = 1.0, y: float = 1.0, steps: int = 2, square: bool = False
) -> Program:
    """`f = v phi(u xi)` in muP with phi = x or x^2, trained on (xi, y); the last step reads it at xi = `later`."""
    b = Builder()
    inputs = [b.data(name, ()) for name in ("xi", "later")]
    b.parameter("u", (n,))
    b.parameter("v", (n,), std=Scaling.of(1, -1))
    for step in range(steps):
        b.at(step=step, phase="forward")
        at = inputs[-1] if step == steps - 1 else inputs[0]
        h = b.einsum(",n->n", at, b.now("u"))
        z = b.einsum("n,n->n", h, h) if square else h
        f = b.mark("output", "f", b.einsum("n,n->", b.now("v"), z))
        r = b.combine((1, f), constant=-y)
        b.mark("loss", "loss", b.einsum(",->", r, r, scale=0.5))
        b.at(step=step, phase="backward")
        dz = b.einsum(",n->n", r, b.now("v"))
        dh = b.einsum("n,n->n", dz, h, scale=2) if square else dz
        du = b.einsum(",n->n", at, dh)
        b.at(step=step, phase="optimizer")
        b.update("u", b.combine((1, b.now("u")), (Scaling.of(-eta, 1), du)))
        b.update("v", b.combine((1, b.now("v")), (Scaling.of(-eta, -1), b.einsum(",n->n", r, z))))
    return b.build(arrays={"xi": np.array(xi), "later": np.array(later)}, widths=(16, 24))


def deep(eta: float, xi: float, later: float, y: float, sign: bool = False, steps: int = 1) -> Program:
    """`f = v W u xi` in muP, some steps on (xi, y), then read at `later`."""
    b = Builder()
    inputs = [b.data(name, ()) for name in ("xi", "later")]
    b.parameter("u", (n,))
    b.parameter("W", (n, n), std=ROOT)
    b.parameter("v", (n,), std=Scaling.of(1, -1))
    rates = {"u": Scaling.of(-eta, 1), "W": Scaling.of(-eta), "v": Scaling.of(-eta, -1)}
    if sign:
        rates = {"u": Scaling.of(-eta), "W": Scaling.of(-eta, -1), "v": Scaling.of(-eta, -1)}
    for step, at in enumerate([inputs[0]] * steps + inputs[1:]):
        b.at(step=step, phase="forward")
        h = b.einsum(",n->n", at, b.now("u"))
        z = b.matmul(b.now("W"), h)
        f = b.mark("output", "f", b.einsum("n,n->", b.now("v"), z))
        r = b.combine((1, f), constant=-y)
        b.at(step=step, phase="backward")
        dz = b.einsum(",n->n", r, b.now("v"))
        gradients = {
            "u": b.einsum(",n->n", at, b.einsum("m,mn->n", dz, b.now("W"))),
            "W": b.einsum("m,n->mn", dz, h),
            "v": b.einsum(",n->n", r, z),
        }
        b.at(step=step, phase="optimizer")
        for name, gradient in gradients.items():
            change = b.apply("sign", gradient) if sign else gradient
            b.update(name, b.combine((1, b.now(name)), (rates[name], change)))
    return b.build(arrays={"xi": np.array(xi), "later": np.array(later)}, widths=(16, 24))


def outputs(found: Limit) -> list[float]:
    return [float(estimate.value) for estimate in found.outputs]


# -- known answers --------------------------------------------------------------------------------------------------


def test_a_linear_network_is_a_finite_one() -> None:
    """Tensor Programs IV: in the limit it is exactly a network of width d_in + d_out. Here it is the recursion of its
    numbers.
    """
    found = tpdyn.limit(trained(steps=21), 2**10, 2)
    known = [0, 0.2, 0.36288, 0.4979524861, 0.6095535674, 0.7004204926, 0.7730131399]
    assert outputs(found)[:7] == pytest.approx(known, abs=1e-10)
    uu, uv, vv, f = 1.0, 0.0, 1.0, []  # E u^2, E u (n v), E (n v)^2
    for _ in range(21):
        f.append(uv)
        a = 0.1 * (1 - uv)
        uu, uv, vv = uu + 2 * a * uv + a * a * vv, uv + a * (uu + vv) + a * a * uv, vv + 2 * a * uv + a * a * uu
    assert outputs(found) == pytest.approx(f, abs=1e-12)
    assert found.random == ()


def test_the_square_as_activation() -> None:
    eta, xi, later, y = 0.05, 1.3, 0.7, 1.5
    found = tpdyn.limit(trained(eta=eta, xi=xi, later=later, y=y, square=True), 2**14, 4)
    a = eta * y * xi**2
    exact = later**2 * a * (7 + 12 * a**2)
    assert outputs(found)[0] == pytest.approx(0, abs=1e-12)
    assert outputs(found)[1] == pytest.approx(exact, rel=2e-3)
    assert abs(outputs(found)[1] - exact) < 2 * float(found.outputs[1].error)


def test_two_hidden_linear_layers() -> None:
    eta, xi, later, y = 0.1, 1.3, 0.7, 1.5
    found = tpdyn.limit(deep(eta, xi, later, y), 2**16, 2)
    assert outputs(found)[1] == pytest.approx(3 * eta * y * xi * later, rel=1e-3)


class Words:
    """Vectors as polynomials in the first W, with u and v as they start. On the side of u they are rows of coefficients of
    `(W^T W)^k u`, `(W^T W)^k W^T v`. On the side of v they are those of `W (W^T W)^k u`, `(W W^T)^k v`. Means are moments
    of the Marchenko-Pastur law.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.moments = np.array([[math.comb(2 * k, k) / (k + 1) for k in range(i, i + most)] for i in range(most + 1)])

    def start(self, row: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        made = np.zeros((2, self.most))
        made[row, 0] = 1
        return made

    def inner(self, x: np.ndarray, y: np.ndarray, odd: int) -> float:  # type: ignore[type-arg]
        """The mean over the width of a product. odd: the row whose words hold one W more (1 beside u, 0 beside v)."""
        return sum(float(x[row] @ self.moments[(row == odd) :][: self.most] @ y[row]) for row in (0, 1))

    def times(self, x: np.ndarray, row: int) -> np.ndarray:  # type: ignore[type-arg]
        """W times a vector beside u (row 1), or its transpose times one beside v (row 0). The words of a row get longer."""
        made = x.copy()
        made[row, 1:], made[row, 0] = x[row, :-1], 0
        return made


def test_deep_linear_networks_follow_their_exact_recursion() -> None:
    """Three layers in muP, five steps: every vector is a polynomial in W, so that all outputs are known exactly."""
    eta, xi, later, y, steps = 0.15, 1.1, 0.7, 1.4, 5
    words = Words(2 * steps + 4)
    u, v, past, expected = words.start(0), words.start(1), [], []
    for at in [xi] * steps + [later]:
        h = at * u
        z, back = words.times(h, 1), words.times(v, 0)
        for r_, v_, h_ in past:
            z -= eta * r_ * words.inner(h_, h, 1) * v_
            back -= eta * r_ * words.inner(v_, v, 0) * h_
        expected.append(words.inner(v, z, 0))
        r = expected[-1] - y
        past.append((r, v.copy(), h))
        u, v = u - eta * at * r * back, v - eta * r * z
    found = tpdyn.limit(deep(eta, xi, later, y, steps=steps), 2**10, 2)
    assert expected[1] / xi == pytest.approx(3 * eta * y * xi)
    for known, estimate in zip(expected, found.outputs, strict=True):
        assert float(estimate.value) == pytest.approx(known, abs=1e-12)
        assert float(estimate.error) < 1e-12


def test_one_step_of_sign_descent() -> None:
    found = tpdyn.limit(deep(0.1, 1.0, 1.0, 1.0, sign=True), 2**11, 2)
    exact = 0.1 * (2 * math.sqrt(2 / math.pi) + 2 / math.pi)
    assert abs(outputs(found)[1] - exact) < 0.02 * exact


def test_gradient_independence_fails_where_it_should() -> None:
    """`W^T (2 W 1)`: mean 2 and second moment 8, not 0 and 4 as with an independent copy of W."""
    b = Builder()
    w, x = b.parameter("W", (n, n), std=ROOT), b.constant("x", 1, (n,))
    d = b.einsum("i,ij->j", b.matmul(w, x), w, scale=2)
    b.mark("output", "mean", b.einsum("j->", d, scale=Scaling.of(1, -1)))
    b.mark("output", "second moment", b.einsum("j,j->", d, d, scale=Scaling.of(1, -1)))
    found = tpdyn.limit(b.build(widths=(16, 24)), 2**14, 2)
    assert outputs(found) == pytest.approx([2, 8], abs=2e-3)


# -- what stays random ----------------------------------------------------------------------------------------------


def ntp(points: int, scrambles: int) -> Limit:
    b = Builder()
    u, v = b.parameter("u", (n,)), b.parameter("v", (n,))
    b.at(source=Source("here.py", 7, "v @ tanh(u) / n ** 0.5"))
    b.mark("output", "f", b.einsum("n,n->", v, b.apply("tanh", u), scale=ROOT))
    return tpdyn.limit(b.build(widths=(16, 24)), points, scrambles)


def test_an_output_that_stays_random_is_drawn() -> None:
    """A Gaussian of variance E tanh^2 = 0.394; the standard deviation of 400 draws is known to 3.5 %."""
    found = ntp(2**8, 400)
    (f,) = found.outputs
    assert f.random
    assert found.random == ("here.py:7",)
    assert f.draws.shape == (400,)
    assert float(f.spread) == pytest.approx(math.sqrt(0.394), rel=0.15)


def test_logits_divided_by_the_root_stay_random_and_by_the_width_vanish() -> None:
    def logits(power: str) -> Limit:
        b = Builder()
        x = b.parameter("x", (n,))
        q, k = (b.matmul(b.parameter(name, (n, n), std=ROOT), x) for name in "QK")
        b.mark("output", "logit", b.einsum("n,n->", q, k, scale=Scaling.of(1, power)))
        return tpdyn.limit(b.build(widths=(16, 24)), 2**7, 60)

    root, whole = logits("-1/2").outputs[0], logits("-1").outputs[0]
    assert root.random
    assert not whole.random
    assert float(root.spread) == pytest.approx(1, rel=0.45)  # the standard error of a standard deviation is 9 %
    assert float(whole.spread) < 1e-10


@pytest.mark.parametrize(
    ("kind", "rows", "columns", "expected"),
    [
        ("orthogonal", 1, 1, 1),
        ("normal", 1, 1, 2),
        ("orthogonal", 3, 1, 9),
        ("orthogonal", 1, 3, 3),
        ("normal", 1, 3, 4),
    ],
)
def test_the_limit_of_an_orthogonal_matrix_is_its_own(
    kind: Literal["orthogonal", "normal"], rows: int, columns: int, expected: float
) -> None:
    """The mean square of `W^T W x`, entries of W of variance 1/n.

    Orthogonal rows: 3 P x, P a projection on a third of all. Orthogonal columns: 3 x. Gaussian: `n (n + 3 n) / n^2`.
    """
    b, long = Builder(), Scaling.of(columns, 1)
    w = b.parameter("W", (Scaling.of(rows, 1), long), law=Law(kind, scale=ROOT))
    y = b.einsum("i,ij->j", b.matmul(w, b.parameter("x", (long,))), w)
    b.mark("output", "square", b.einsum("j,j->", y, y, scale=Scaling.of(1 / columns, -1)))
    (found,) = tpdyn.limit(b.build(widths=(16, 24)), 2**12, 2).outputs
    assert float(found.value) == pytest.approx(expected, rel=0.02)


def test_points_are_told_which_sums_are_read_first(sgd: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four samples of three numbers meet U; their features, four directions, meet W."""
    told, call = [], Stream.__call__

    def listening(self: Stream, count: int, along: torch.Tensor | None = None) -> torch.Tensor:
        told.append((self.paired, None if along is None else tuple(along.shape)))
        return call(self, count, along)

    monkeypatch.setattr(Stream, "__call__", listening)
    tpdyn.limit(sgd, 2**9, 2)
    assert told[:2] == [(True, (4, 3)), (True, (4, 4))]
    assert all(paired for paired, _ in told)


# -- errors ---------------------------------------------------------------------------------------------------------


def test_the_error_covers_the_difference_to_many_more_points(sgd: Program) -> None:
    rough, fine = tpdyn.limit(sgd, 2**10, 8), tpdyn.limit(sgd, 2**14, 4)
    for one, other in zip(rough.outputs, fine.outputs, strict=True):
        assert bool(((one.value - other.value).abs() <= 2 * one.error + other.error + 1e-12).all())
        assert float(one.error.max()) < 0.02


def test_wide_networks_come_close(sgd: Program) -> None:
    """At n = 40,000 the outputs of one run fluctuate by about n^-1/2 = 0.005."""
    limit, wide = tpdyn.limit(sgd, 2**12, 4), tpdyn.simulate(sgd, width=40_000)
    for one, other in zip(limit.outputs, wide.outputs, strict=True):
        assert float((one.value - other).abs().max()) < 0.03


def test_kernels_and_distributions_are_of_the_features(sgd: Program) -> None:
    found = tpdyn.limit(sgd, 2**12, 2)
    kernel = found.kernels["hidden", 0].value
    wide = tpdyn.simulate(sgd, width=40_000, coordinates=None).value("hidden", 0)
    torch.testing.assert_close(kernel, wide @ wide.T / 40_000, atol=0.02, rtol=0)
    quantiles = found.distributions["hidden", 0].value
    assert quantiles.shape == (4, len(found.levels))
    expected = torch.quantile(wide, torch.tensor(found.levels, dtype=torch.float64), dim=1).T
    torch.testing.assert_close(quantiles, expected, atol=0.03, rtol=0)


def test_kernels_of_gradients_are_those_of_autograd(sgd: Program) -> None:
    """Of a dense network with n = 2000, times n^2. It differs from the limit by about n^-1/2 = 2 % of the largest entry."""
    found = tpdyn.limit(sgd, 2**12, 2)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.tensor(sgd.arrays[name]) for name in "xy")
    u, w, v = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2000, 3), (2000, 2000), (2000,))
    )
    h = (x @ u.T).requires_grad_()
    g = (torch.tanh(h) @ w.T / 2000**0.5).requires_grad_()
    f = torch.tanh(g) @ v / 2000
    for name, at in zip("UW", torch.autograd.grad((f - y).square().sum() / 4, (h, g)), strict=True):
        kernel = found.gradients[name, 0].value
        assert found.gradient_orders[name, 0] == -1
        assert float(kernel.diagonal().max()) > 0.01
        torch.testing.assert_close(kernel, 2000 * at @ at.T, atol=0.1 * float(kernel.max()), rtol=0)
    assert ("v", 0) not in found.gradients  # what comes back to a readout is a number a sample


def test_an_entrywise_optimizer_takes_fewer_points_by_default(sign: Program) -> None:
    from tpdyn.limits.limit import _points

    assert _points(sign) == 2**12


# -- refusals -------------------------------------------------------------------------------------------------------


def test_an_unstable_run_is_refused_with_its_step_and_line() -> None:
    b = Builder()
    b.parameter("u", (n,))
    b.parameter("v", (n,))
    b.at(step=0, phase="forward", source=Source("here.py", 3, "f = v @ u"))
    b.mark("output", "f", b.einsum("n,n->", b.now("v"), b.now("u")))
    with pytest.raises(OutsideTheory, match=r"there is no limit: f has order \+1/2 in step 0[\s\S]*here.py:3"):
        tpdyn.limit(b.build(widths=(16, 24)), 2**8, 2)


def test_an_unstable_training_run_says_why() -> None:
    with pytest.raises(OutsideTheory, match="there is no limit, the run is unstable"):
        tpdyn.limit(unstable(), 2**8, 2)


def unstable() -> Program:
    """muP but for the learning rate of v, which grows."""
    return product(u=Scaling.of(-0.1), v=Scaling.of(-0.1))


def product(**rates: Scaling) -> Program:
    """`f = v u`, trained towards 1 with these (negative) learning rates of u and v."""
    b = Builder()
    b.parameter("u", (n,))
    b.parameter("v", (n,), std=Scaling.of(1, -1))
    for step in range(3):
        b.at(step=step, phase="forward")
        f = b.mark("output", "f", b.einsum("n,n->", b.now("v"), b.now("u")))
        r = b.combine((1, f), constant=-1)
        b.mark("loss", "loss", b.einsum(",->", r, r))
        b.at(step=step, phase="backward")
        gradients = {"u": b.einsum(",n->n", r, b.now("v")), "v": b.einsum(",n->n", r, b.now("u"))}
        b.at(step=step, phase="optimizer")
        for name, gradient in gradients.items():
            b.update(name, b.combine((1, b.now(name)), (rates[name], gradient)), gradient=gradient)
    return b.build(widths=(16, 24))


def test_a_run_that_asks_for_more_directions_than_pairs_have_room_for_is_taken_without_them() -> None:
    """Two steps on one space ask for 9: 32 points have room for 8 in pairs, for 16 without."""
    program = deep(0.1, 1.0, 1.0, 1.0, steps=4)
    assert outputs(tpdyn.limit(program, 2**7, 2)) == pytest.approx(outputs(tpdyn.limit(program, 2**10, 2)), abs=1e-10)
    with pytest.raises(ReadingError, match="directions of a space of 8 points, which have room for 4"):
        tpdyn.limit(program, 2**5, 2)


def test_a_trivial_run_is_said_to_be_one() -> None:
    """The outputs of the square start at zero, and a rate that falls leaves them there."""
    found = tpdyn.limit(falling(), 2**9, 2)
    assert [note for note in found.notes if note.startswith("the run is trivial, so that its limit does not move: ")]
    assert not tpdyn.limit(trained(steps=3), 2**9, 2).notes


def falling() -> Program:
    """`f = v u` in muP but for both learning rates, which are smaller by 1/n."""
    return product(u=Scaling.of(-1), v=Scaling.of(-1, -2))


def test_messages_about_the_width_are_about_points(sgd: Program) -> None:
    with pytest.raises(ValueError, match=r"^points = 1099511627776 \(they stand for the width\): width .* needs about"):
        tpdyn.limit(sgd, 2**40, 2)
    b = Builder()
    half = b.parameter("u", (Scaling.of(Fraction(1, 8), 1),))
    b.mark("output", "f", b.einsum("n,n->", half, half, scale=Scaling.of(1, -1)))
    with pytest.raises(
        ValueError, match=r"^points = 36 \(they stand for the width\): .*the dim n/8 is 9/2 at width 36"
    ):
        tpdyn.limit(b.build(widths=(16, 24)), 36, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((2**8, 1), "scrambles = 1; expected at least 2"), ((8, 2), "points = 8; expected at least 16")],
)
def test_bad_input_is_refused(sgd: Program, arguments: Sequence[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tpdyn.limit(sgd, *arguments)


def test_a_value_that_is_not_there_is_named(sgd: Program) -> None:
    found = tpdyn.limit(sgd, 2**9, 2)
    assert torch.equal(found.value("f", 1).value, found.outputs[1].value)
    with pytest.raises(KeyError, match=r"no finite value 'nothing' in step 0; there are: f \(step 0\)"):
        found.value("nothing", 0)


def test_float32_gives_the_same_limit_to_a_few_digits_less() -> None:
    program = trained(square=True)
    wide, narrow = (tpdyn.limit(program, 1024, 2, dtype=dtype) for dtype in ("float64", "float32"))
    for one, two in zip(wide.outputs, narrow.outputs, strict=True):
        torch.testing.assert_close(one.value, two.value, rtol=0, atol=3e-5)
    assert not torch.equal(wide.outputs[-1].value, narrow.outputs[-1].value)
    with pytest.raises(ValueError, match="dtype = 'half'; expected 'float64' or 'float32'"):
        tpdyn.limit(program, 1024, 2, dtype="half")  # type: ignore[arg-type]
