"""Which rules are sabotaged, and how? Each mutant is a line of this package and the line that replaces it.

One module an area; `ALL` is their sum. A mutant whose line is gone is stale: it moves with the code, or is deleted.
"""

from tpdyn.testing.mutants import fitting, kernels, lowering, orders, sampled, statistics, terms
from tpdyn.testing.mutants.mutant import Mutant

ALL: tuple[Mutant, ...] = (
    *orders.MUTANTS,
    *terms.MUTANTS,
    *sampled.MUTANTS,
    *kernels.MUTANTS,
    *lowering.MUTANTS,
    *fitting.MUTANTS,
    *statistics.MUTANTS,
)
"""Every mutant, area by area."""

__all__ = ["ALL", "Mutant"]
