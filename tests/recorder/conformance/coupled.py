"""Is a simulated run of a script a dense run? Simulated, then replayed with the dense matrices that its answers imply.

Docs: the column "coupled" of docs/conformance.md. proofs_checks/test_simulations_are_exact.py says what must come of each script.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program
from tpdyn.readings import finite

sys.path.append(str(Path(__file__).resolve().parents[3] / "proofs_checks"))  # where proofs and tests have their helpers
from implied import implied

LARGEST = 1e-11
"""What the two runs may differ by, relative to the largest entry. Seen: 1e-14 at most."""


def coupled(program: Program) -> tuple[float | None, str]:
    """Return the difference at the largest recorded width, or None and the sampler's refusal."""
    try:
        return difference(program, max(program.widths)), ""
    except OutsideTheory as error:
        return None, str(error)


def difference(program: Program, width: int) -> float:
    """Return the largest difference of an output or a loss, relative to its largest entry."""
    named = {mark.view.var for mark in program.marks if mark.kind in ("loss", "output")}
    values, leaves = implied(program, width, 3, vars=named, leaves=_given(program, width))
    dense = finite.run(program, width, vars=named, leaves=leaves)
    assert values
    worst = 0.0
    for var in values:  # those that are stored: a module's output may be a matrix
        proper = torch.isfinite(dense[var])
        if not torch.equal(proper, torch.isfinite(values[var])):
            return float("inf")
        if bool(proper.any()):
            size = float(dense[var][proper].abs().max()) or 1.0
            worst = max(worst, float((values[var] - dense[var])[proper].abs().max()) / size)
    return worst


def place(message: str) -> str:
    """Return the line that a refusal names, as "file.py:12"; empty where it names none."""
    found = re.search(r"(\w+\.py:\d+)", message)
    return found[1] if found else ""


def _given(program: Program, width: int) -> dict[str, torch.Tensor]:
    """Return any numbers for what grows with the width and has no law: indices are 0."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for statement in program.statements:
        leaf = statement.instruction
        if isinstance(leaf, Leaf) and leaf.law.kind in ("data", "array", "index") and leaf.name not in program.arrays:
            shape = tuple(dim.size_at(width) for dim in statement.shape)
            numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
            found[leaf.name] = torch.zeros(shape, dtype=torch.int64) if leaf.law.kind == "index" else numbers
    return found
