"""A small program, its prediction and a measurement, all made by hand: reporting needs no training to be tested."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from tpdyn.claims.report import Report, compare
from tpdyn.exponents import Scaling
from tpdyn.measuring.measurement import SPLIT, Measurement
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Apply, Contract, Law, Leaf, Operand
from tpdyn.program.program import Mark, Origin, Parameter, Program, Source, View
from tpdyn.regimes.prediction import Prediction, Reason, Regime, Row

N = Scaling.of(1, 1)
ONE = Scaling.of(1)
BATCH = Scaling.of(7)
FC1 = Source("train.py", 11, "h = self.fc1(x)")
FC2 = Source("train.py", 12, "h = self.fc2(torch.tanh(h))")
OUT = Source("train.py", 13, "return h.mean(-1)")
WIDTHS = (64, 128, 256, 512)
STEPS = 3


@pytest.fixture
def program() -> Program:
    """h1 = x W1, h2 = tanh(h1) W2: the first forward pass of an MLP, twice (two steps)."""
    build = Builder()
    build.at(step=0, phase="initialization", module="fc1")
    w1 = build.leaf(Leaf("parameter", "fc1.weight", Law("normal", Scaling(()), ONE)), (N, Scaling.of(5)))
    build.at(module="fc2")
    w2 = build.leaf(Leaf("parameter", "fc2.weight", Law("normal", Scaling(()), Scaling.of(1, "-1/2"))), (N, N))
    for step in range(2):
        build.at(step=step, phase="data", module="")
        x = build.leaf(Leaf("data", f"x_{step}", Law("data")), (BATCH, Scaling.of(5)))
        build.origin = Origin(step, "forward", "fc1", FC1)
        h1 = build.add(Contract((Operand(x, (0, 2)), Operand(w1, (1, 2)))), (BATCH, N), name=f"h1_{step}")
        build.origin = Origin(step, "forward", "fc2", FC2)
        a1 = build.add(Apply("tanh", (Operand(h1, (0, 1)),)), (BATCH, N), name=f"a1_{step}")
        h2 = build.add(Contract((Operand(a1, (0, 2)), Operand(w2, (1, 2)))), (BATCH, N), name=f"h2_{step}")
        build.marks.append(Mark("module", "fc1", step, View((h1,), ((0,), (1,)))))
        build.marks.append(Mark("module", "fc2", step, View((h2,), ((0,), (1,)))))
        build.origin = Origin(step, "forward", "", OUT)
        f = build.add(Contract((Operand(h2, (0, 1)),), Scaling.of(1, -1)), (BATCH,), name=f"f_{step}")
        build.marks.append(Mark("output", "output", step, View((f,), ((0,),))))
    build.parameters += [
        Parameter("fc1.weight", (View((w1,), ((0,), (1,))),), ()),
        Parameter("fc2.weight", (View((w2,), ((0,), (1,))),), ()),
    ]
    return build.build(steps=STEPS, widths=(16, 24, 40), verified=64)


@pytest.fixture
def predicted(program: Program) -> Callable[..., Prediction]:
    """Makes a prediction: regime, orders of the change of fc1, fc2 and the output, outside or not."""

    def make(
        regime: Regime = Regime.KERNEL,
        fc1: Fraction | None = Fraction(-1, 2),
        fc2: Fraction | None = Fraction(-1, 2),
        output: Fraction | None = Fraction(0),
        outside: bool = False,
    ) -> Prediction:
        positions = {statement.name: position for position, statement in enumerate(program.statements)}
        table = []
        for step in range(STEPS):
            for name, change, source in (("fc1", fc1, FC1), ("fc2", fc2, FC2)):
                position = positions[f"h{name[-1]}_{min(step, 1)}"]
                moved = None if step == 0 else change
                learns = moved is not None and moved >= 0
                table.append(Row("module", name, step, Fraction(0), moved, source, position, learns=learns))
            position, moved = positions[f"f_{min(step, 1)}"], None if step == 0 else output
            table.append(Row("output", "output", step, Fraction(0), moved, OUT, position, wide=False))
        reason = Reason(
            "every hidden representation is frozen", "h2_1", "fc2", FC2, "raise the learning rate by sqrt(n)"
        )
        count = len(program.statements)
        return Prediction(
            program=program,
            regime=regime,
            reasons=(reason,),
            table=tuple(table),
            sizes=(Fraction(0),) * count,
            changes=(None, None, *(Fraction(-1, 2),) * (count - 2)),
            outside=(Reason("two dims grow", "h1_0", "fc1", FC1, "keep the batch fixed"),) if outside else (),
        )

    return make


@pytest.fixture
def measured() -> Callable[..., Measurement]:
    """Makes a measurement whose changes follow n^order with a little noise."""

    def make(
        fc1: float = -0.5, fc2: float = -0.5, output: float = 0.0, seeds: int = 6, noise: float = 0.02
    ) -> Measurement:
        random = np.random.default_rng(0)
        shape = (len(WIDTHS), seeds, STEPS, 3)
        laws = np.array([[width**fc1, width**fc2, width**output] for width in WIDTHS])[:, None, None, :]
        steps = np.arange(STEPS)[None, None, :, None]
        change = laws * steps * np.exp(noise * random.standard_normal(shape))
        size = np.exp(noise * random.standard_normal(shape))
        parameters = np.ones((*shape[:3], 2))
        return Measurement(
            widths=WIDTHS,
            seeds=tuple(range(seeds)),
            steps=STEPS,
            names=("fc1", "fc2", "output"),
            parameters=("fc1.weight", "fc2.weight"),
            size=size,
            rms=size,
            change=change,
            change_rms=change,
            nonfinite=np.zeros(shape),
            epsilon=np.full(shape, 1.2e-7),
            split=np.full((*shape, len(SPLIT)), np.nan),
            parameter_size=parameters,
            parameter_change=parameters,
            gradient_size=parameters,
            loss=np.full(shape[:3], 2.3),
            diverged=np.zeros(shape[:3], dtype=np.bool_),
            completed=np.ones(shape[:2], dtype=np.bool_),
        )

    return make


@pytest.fixture
def report(predicted: Callable[..., Prediction], measured: Callable[..., Measurement]) -> Report:
    """The kernel regime, confirmed by runs."""
    return compare(predicted(), measured())
