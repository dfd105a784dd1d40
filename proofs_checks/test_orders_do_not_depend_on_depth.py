"""A network of many blocks is in the regime of one of few. What a value has not met is not aligned with it.

A residual network with normalised branches under NTP is kernel at any depth. With parities forgotten beyond 48 sources it
was read as unstable from 10 blocks on, with outputs of order +1/2. Measured at depth 12 they do not grow.
"""

import importlib.util
from pathlib import Path

import pytest
from growth import measured

import tpdyn
from tpdyn.regimes.prediction import Regime

SPEC = importlib.util.spec_from_file_location("depth", Path(__file__).parents[1] / "benchmarks" / "depth.py")
assert SPEC is not None and SPEC.loader is not None
depth_benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(depth_benchmark)


@pytest.mark.parametrize("function", ["relu", "tanh"])
def test_orders_of_a_residual_network_do_not_depend_on_its_depth(function: str) -> None:
    predictions = {}
    for depth in (2, 12):
        program = tpdyn.record(depth_benchmark.script(depth, function), widths=(16, 24, 40), steps=3)
        predictions[depth] = tpdyn.predict(program, remedy=False)
    kept = ("embed", "norms.0", "branches.0", "norms.1", "branches.1", "readout", "output")
    shallow, deep = (
        {(row.kind, row.name, row.step): (row.size, row.change) for row in predictions[depth].table if row.name in kept}
        for depth in (2, 12)
    )
    assert shallow == deep
    assert all(prediction.regime == Regime.KERNEL for prediction in predictions.values())


def test_the_measured_output_of_a_deep_network_does_not_grow() -> None:
    program = tpdyn.record(depth_benchmark.script(12), widths=(16, 24, 40), steps=2)
    outputs = [mark.view.var for mark in program.marks if mark.kind == "output" and mark.step]
    growth = measured(program, (64, 256), seeds=8)
    for position in outputs:
        for slope in (growth.size[position], growth.change[position]):
            assert slope is not None and slope < 0.3, slope
