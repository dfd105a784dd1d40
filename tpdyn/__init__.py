"""What does a training script do as its width grows? Record it, predict its regime, measure real runs, compare.

    import tpdyn
    program = tpdyn.record(train, widths=(16, 24, 40), steps=3)
    prediction = tpdyn.predict(program)
    measurement = tpdyn.measure(train, widths=(64, 128, 256, 512), seeds=8, steps=3)
    report = tpdyn.compare(prediction, measurement)
    report.show()
    tpdyn.log(report, "logs/my-run")

This module is the public face. It imports nothing heavy: each name below is fetched at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tpdyn.claims.report import Report, compare
    from tpdyn.limits.comparison import approach
    from tpdyn.limits.empirical import empirical_ntk
    from tpdyn.limits.forecast import forecast
    from tpdyn.limits.kernels import kernels, nngp, ntk
    from tpdyn.limits.limit import limit
    from tpdyn.limits.prediction import gp_predict, ntk_predict
    from tpdyn.measuring.measure import measure
    from tpdyn.measuring.measurement import Measurement
    from tpdyn.monitoring.monitor import monitor
    from tpdyn.parametrizing.apply import parametrize
    from tpdyn.parametrizing.derive import derive
    from tpdyn.parametrizing.maps.cover import PhaseCells, phase_cells
    from tpdyn.parametrizing.maps.diagram import PhaseDiagram, phase_diagram
    from tpdyn.parametrizing.maps.formulas import formulas
    from tpdyn.parametrizing.parametrization import Parametrization
    from tpdyn.program.program import Program
    from tpdyn.readings.sampled.simulate import simulate
    from tpdyn.recorder.built.widened import widened
    from tpdyn.recorder.record import record, recording
    from tpdyn.regimes.predict import predict
    from tpdyn.regimes.prediction import Prediction, Regime
    from tpdyn.reporting.tensorboard import log
    from tpdyn.store.table import runs
    from tpdyn.tuning.transfer import transfer

__version__ = "0.1.0"

__all__ = [
    "Measurement",
    "Parametrization",
    "PhaseCells",
    "PhaseDiagram",
    "Prediction",
    "Program",
    "Regime",
    "Report",
    "__version__",
    "approach",
    "compare",
    "derive",
    "empirical_ntk",
    "forecast",
    "formulas",
    "gp_predict",
    "kernels",
    "limit",
    "log",
    "measure",
    "monitor",
    "nngp",
    "ntk",
    "ntk_predict",
    "parametrize",
    "phase_cells",
    "phase_diagram",
    "predict",
    "record",
    "recording",
    "runs",
    "simulate",
    "transfer",
    "widened",
]

_HOMES = {
    name: f"tpdyn.{module}"
    for module, names in (
        ("claims.report", "Report compare"),
        ("limits.comparison", "approach"),
        ("limits.empirical", "empirical_ntk"),
        ("limits.forecast", "forecast"),
        ("limits.kernels", "kernels nngp ntk"),
        ("limits.limit", "limit"),
        ("limits.prediction", "gp_predict ntk_predict"),
        ("measuring.measure", "measure"),
        ("measuring.measurement", "Measurement"),
        ("monitoring.monitor", "monitor"),
        ("parametrizing.apply", "parametrize"),
        ("parametrizing.derive", "derive"),
        ("parametrizing.maps.cover", "PhaseCells phase_cells"),
        ("parametrizing.maps.diagram", "PhaseDiagram phase_diagram"),
        ("parametrizing.maps.formulas", "formulas"),
        ("parametrizing.parametrization", "Parametrization"),
        ("program.program", "Program"),
        ("readings.sampled.simulate", "simulate"),
        ("recorder.built.widened", "widened"),
        ("recorder.record", "record recording"),
        ("regimes.predict", "predict"),
        ("regimes.prediction", "Prediction Regime"),
        ("reporting.tensorboard", "log"),
        ("store.table", "runs"),
        ("tuning.transfer", "transfer"),
    )
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tpdyn' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def _show(report: Report) -> None:
    """Print a verdict for `report.show()`. A report lies below what prints it; the face knows both."""
    from tpdyn.reporting.terminal import show

    show(report)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
