"""Which rules are sabotaged, and how? Each mutant is a line of this package and the line that replaces it.

They are data: `<area>.diff` beside this file holds those of an area (`mutant.read`). A mutant whose line is gone is stale: it
moves with the code, or is deleted.
"""

from pathlib import Path

from tpdyn.testing.mutants.mutant import Mutant, read

AREAS = ("orders", "sampled", "kernels", "lowering", "fitting", "statistics")

ALL: tuple[Mutant, ...] = tuple(
    mutant for area in AREAS for mutant in read(area, Path(__file__).with_name(f"{area}.diff").read_text("utf-8"))
)
"""Every mutant, area by area."""

__all__ = ["ALL", "Mutant"]
