"""Programs by hand that the tests of the sampler share."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Law
from tpdyn.program.program import Program

X = np.random.default_rng(0).normal(size=(4, 3))
Y = np.array([1.0, -1.0, 0.5, 0.0])


def network(steps: int = 3, optimizer: Literal["sgd", "adam"] = "sgd", law: Law | None = None) -> Program:
    """A tanh network with one hidden matrix in muP, trained on four examples, as a program."""
    b, n = Builder(), Builder.n
    x, y = b.data("x", (4, 3)), b.data("y", (4,))
    b.parameter("U", (n, 3))
    b.parameter("W", (n, n), std=Scaling.of(1, "-1/2"), law=law)
    b.parameter("v", (n,), std=Scaling.of(1, -1))
    rates = {"U": Scaling.of(-0.2, 1), "W": Scaling.of(-0.2), "v": Scaling.of(-0.2, -1)}
    if optimizer == "adam":
        rates = {"U": Scaling.of(-0.1), "W": Scaling.of(-0.1, -1), "v": Scaling.of(-0.1, -1)}
    for step in range(steps):
        b.at(step=step, phase="forward")
        a = b.apply("tanh", b.einsum("bi,ni->bn", x, b.now("U")))
        z = b.apply("tanh", b.einsum("bn,mn->bm", a, b.now("W")))
        b.mark("module", "hidden", z)
        f = b.mark("output", "f", b.einsum("bm,m->b", z, b.now("v")))
        r = b.combine((1, f), (-1, y))
        b.mark("loss", "loss", b.einsum("b,b->", r, r, scale=0.25))
        b.at(step=step, phase="backward")
        dg = b.einsum("bm,bm->bm", b.einsum("b,m->bm", r, b.now("v"), scale=0.5), slope(b, z))
        dh = b.einsum("bn,bn->bn", b.einsum("bm,mn->bn", dg, b.now("W")), slope(b, a))
        gradients = {
            "U": b.einsum("bn,bi->ni", dh, x),
            "W": b.einsum("bm,bn->mn", dg, a),
            "v": b.einsum("b,bm->m", r, z, scale=0.5),
        }
        b.at(step=step, phase="optimizer")
        for name, gradient in gradients.items():
            change = gradient if optimizer == "sgd" else b.apply("sign", gradient)
            b.update(name, b.combine((1, b.now(name)), (rates[name], change)), gradient=gradient)
    return b.build(arrays={"x": X, "y": Y}, widths=(16, 24, 40))


def slope(b: Builder, z: int) -> int:
    """The slope of tanh where its value is z."""
    return b.combine((-1, b.einsum("bn,bn->bn", z, z)), constant=1)


@pytest.fixture(scope="session")
def sgd() -> Program:
    """Three steps of gradient descent."""
    return network()


@pytest.fixture(scope="session")
def sign() -> Program:
    """Three steps of sign descent: an entrywise optimizer."""
    return network(optimizer="adam")
