"""How does a program read? Its stable text form: formulas as in a paper, one statement a line."""

from __future__ import annotations

from tpdyn.program.program import Program


def show(program: Program, step: int | None = None, phases: tuple[str, ...] | None = None) -> str:
    """The program as text (all of it, or one step, or some phases)."""
    return "\n".join(
        show_statement(program, position)
        for position, statement in enumerate(program.statements)
        if (step is None or statement.origin.step == step) and (phases is None or statement.origin.phase in phases)
    )


def show_statement(program: Program, position: int) -> str:
    """One statement as text; safe on ill-formed programs."""
    statement = program.statements[position]
    dims = ", ".join(str(dim) for dim in statement.shape)
    return f"{statement.name} = {statement.instruction}   [{dims}]"
