"""How does a recorded tape become closed instructions? By one rule for each aten operation, without guessing.

`lower(tape)` walks the tape once. It lowers the operations that parameters, gradients and marks depend on, and folds constants.
Initial values of parameters become leaves with their law. All operations without a rule are named at once, with their source
lines. The rules stand in files by family, each with its dict `RULES`.
"""

from __future__ import annotations

from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering.lower import lower
from tpdyn.recorder.lowering.values import LoweringError

__all__ = ["Lowered", "LoweringError", "lower"]
