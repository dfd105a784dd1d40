"""Which values of a program are a parameter's? Its versions, what each of them began as, and its gradients.

A parameter is held in pieces (one, as a rule). An optimizer step makes a new version of each; a step that leaves a piece alone
makes none, so the value stays the version it was.
"""

from __future__ import annotations

from collections.abc import Mapping

from tpdyn.program.base import later_versions
from tpdyn.program.program import Program


def owner(program: Program) -> Mapping[int, str]:
    """The parameter of which each value is a version, the leaf included."""
    return {var: p.name for p in program.parameters for view in p.versions for var in view.pieces}


def gradient_of(program: Program) -> Mapping[int, str]:
    """The parameter of which each value is a gradient, as the script's optimizer is given it."""
    return {var: p.name for p in program.parameters for view in p.gradients if view is not None for var in view.pieces}


def initial_of(program: Program) -> Mapping[int, int]:
    """Where each later version began: its piece in the leaf, which the base program reads in its place."""
    return {var: later.first for var, later in later_versions(program).items()}


def previous_of(program: Program) -> Mapping[int, int]:
    """What each later version was before the step that made it."""
    return {var: later.previous for var, later in later_versions(program).items()}


def finite_parameters(program: Program) -> frozenset[str]:
    """The names of parameters without a dim that grows (the bias of an output)."""
    return frozenset(p.name for p in program.parameters if not program.statements[p.versions[0].var].wide_axes)
