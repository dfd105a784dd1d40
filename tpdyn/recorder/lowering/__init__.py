"""How does a recorded tape become closed instructions? One rule for each aten operation, nothing guessed.

`lower(tape)` walks the tape once. Only what parameters, gradients and marks depend on is lowered; constants are folded;
initial values of parameters become leaves with the law they were drawn from. An operation without a rule is named with
its source line, all of them at once. The rules stand in files by family, each with its dict `RULES`.
"""

from __future__ import annotations

from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering.lower import lower
from tpdyn.recorder.lowering.values import LoweringError

__all__ = ["Lowered", "LoweringError", "lower"]
