"""What do the theorems say of a multilayer perceptron? The abc-parametrizations of Tensor Programs IV and IVb.

An MLP has L hidden layers and a readout ("layer L+1"). The weights of layer l are `W = n^-a_l w`, `w ~ N(0, n^-2b_l)`
entrywise, and the learning rate is `eta n^-c_l`. Written down here word by word, independently of the orders reading,
so that the reading can be compared with it. Orders have this project's sign (`Theta(n^order)`), the papers' r is minus
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from tpdyn.regimes.prediction import Regime


@final
@dataclass(frozen=True, slots=True)
class Abc:
    """The exponents of each layer, input layer first, readout last."""

    a: tuple[Fraction, ...]
    b: tuple[Fraction, ...]
    c: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        if not len(self.a) == len(self.b) == len(self.c) >= 2:
            raise ValueError(
                f"exponents for {len(self.a)}, {len(self.b)} and {len(self.c)} layers; expected as many of a, b "
                "and c. At least two are needed: one hidden layer and the readout"
            )

    @property
    def well_initialised(self) -> bool:
        """Hidden layers of order 0 and outputs that do not grow, at initialisation."""
        sums = [a + b for a, b in zip(self.a, self.b, strict=True)]
        return sums[0] == 0 and all(s == Fraction(1, 2) for s in sums[1:-1]) and sums[-1] >= Fraction(1, 2)

    @property
    def vanishing(self) -> tuple[int, ...]:
        """Hidden layers that are too small at initialisation. The papers do not call such a point stable. This project
        reports it ("vanishes at initialisation") and goes on, since a residual branch may well start at zero."""
        sums = [a + b for a, b in zip(self.a, self.b, strict=True)]
        return tuple(layer for layer, s in enumerate(sums[:-1]) if s > (Fraction(1, 2) if layer else 0))


@final
@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a theorem says. changes[l] is the order of the change of hidden layer l (valid when stable)."""

    stable: bool
    nontrivial: bool
    changes: tuple[Fraction, ...]

    @property
    def regime(self) -> Regime:
        """Unstable, trivial, feature learning (r = 0) or kernel (r > 0)."""
        if not self.stable:
            return Regime.UNSTABLE
        if not self.nontrivial:
            return Regime.TRIVIAL
        return Regime.FEATURE_LEARNING if max(self.changes) == 0 else Regime.KERNEL


def sgd(point: Abc) -> Conclusion:
    """Apply Tensor Programs IV (arXiv 2011.14522): stability, nontriviality and the exponents r_l under SGD.

    Raises ValueError unless the learning rate is the same in all layers, as in the paper.
    """
    if len(set(point.c)) != 1:
        raise ValueError(f"learning-rate exponents {point.c}; this theorem has one for all layers")
    c, out_a, out_b = point.c[0], point.a[-1], point.b[-1]
    gradient = min(out_a + out_b, 2 * out_a + c) + c - 1
    r = [gradient + 2 * a + (1 if layer == 0 else 0) for layer, a in enumerate(point.a[:-1])]
    smallest = min(r)
    stable = point.well_initialised and smallest >= 0 and 2 * out_a + c >= 1 and out_a + out_b + smallest >= 1
    nontrivial = 2 * out_a + c == 1 or out_a + out_b + smallest == 1
    return Conclusion(stable, nontrivial, tuple(-min(r[: layer + 1]) for layer in range(len(r))))


def entrywise(point: Abc) -> Conclusion:
    """Apply Tensor Programs IVb (arXiv 2308.01814): the same for optimizers that normalise entry by entry (Adam, sign-SGD).

    Holds for faithful points: the readout's initial entries are not smaller than its updates (`faithful`).
    """
    r = [c + a - (0 if layer == 0 else 1) for layer, (a, c) in enumerate(zip(point.a, point.c, strict=True))]
    smallest = min(r[:-1])
    out = point.a[-1] + point.b[-1]
    stable = point.well_initialised and min(r) >= 0 and out + smallest >= 1
    nontrivial = point.a[-1] + point.c[-1] == 1 or out + smallest == 1
    return Conclusion(stable, nontrivial, tuple(-min(r[: layer + 1]) for layer in range(len(r) - 1)))


def faithful(point: Abc) -> bool:
    """Tell whether gradients keep their initial order, by the condition of IVb: b_out <= c_out."""
    return point.b[-1] <= point.c[-1]


def standard(layers: int, rate: Sequence[Fraction | int] | Fraction | int = 0) -> Abc:
    """Return the standard parametrization (as torch initialises: fan-in) with `layers` hidden layers."""
    half = Fraction(1, 2)
    return Abc((Fraction(0),) * (layers + 1), (Fraction(0), *(half,) * layers), _rates(rate, layers))


def neural_tangent(layers: int, rate: Sequence[Fraction | int] | Fraction | int = 0) -> Abc:
    """Return the neural tangent parametrization: unit Gaussians, multipliers n^-1/2."""
    half = Fraction(1, 2)
    return Abc((Fraction(0), *(half,) * layers), (Fraction(0),) * (layers + 1), _rates(rate, layers))


def maximal_update(layers: int) -> Abc:
    """Return muP for SGD (Tensor Programs IV): a = (-1/2, 0, ..., 1/2), b = 1/2, c = 0."""
    half = Fraction(1, 2)
    return Abc((-half, *(Fraction(0),) * (layers - 1), half), (half,) * (layers + 1), (Fraction(0),) * (layers + 1))


def maximal_update_adam(layers: int) -> Abc:
    """Return muP for Adam (Tensor Programs IVb): a = (0, 0, ..., 1), b = (0, 1/2, ..., 0), c = (0, 1, ..., 0)."""
    half, one, zero = Fraction(1, 2), Fraction(1), Fraction(0)
    hidden = layers - 1
    return Abc((zero, *(zero,) * hidden, one), (zero, *(half,) * hidden, zero), (zero, *(one,) * hidden, zero))


def _rates(rate: Sequence[Fraction | int] | Fraction | int, layers: int) -> tuple[Fraction, ...]:
    if isinstance(rate, Sequence):
        return tuple(Fraction(c) for c in rate)
    return (Fraction(rate),) * (layers + 1)
