"""Which values of a program are a parameter's? Its versions, what each of them began as, and its gradients.

A parameter is held in pieces (one, as a rule). An optimizer step gives each piece that it updates a new version.
"""

from __future__ import annotations

from collections.abc import Mapping

from tpdyn.program.base import later_versions
from tpdyn.program.program import Program


def owner(program: Program) -> Mapping[int, str]:
    """Map each version of a parameter, the leaf included, to its name."""
    return {var: p.name for p in program.parameters for view in p.versions for var in view.pieces}


def gradient_of(program: Program) -> Mapping[int, str]:
    """Map each gradient, as the script's optimizer receives it, to its parameter."""
    return {var: p.name for p in program.parameters for view in p.gradients if view is not None for var in view.pieces}


def initial_of(program: Program) -> Mapping[int, int]:
    """Map each later version to its piece of the leaf, which the base program reads instead."""
    return {var: later.first for var, later in later_versions(program).items()}


def previous_of(program: Program) -> Mapping[int, int]:
    """Map each later version to the version before its step."""
    return {var: later.previous for var, later in later_versions(program).items()}


def finite_parameters(program: Program) -> frozenset[str]:
    """Name the parameters whose dims do not grow (the bias of an output)."""
    return frozenset(p.name for p in program.parameters if not program.statements[p.versions[0].var].wide_axes)
