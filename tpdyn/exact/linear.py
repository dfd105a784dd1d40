"""Where does a linear program on exponents have its optimum, exactly? HiGHS proposes, rational arithmetic decides.

Solutions in floating point are rounded to rationals of small denominators, as those of exponents are. Else they are
solved for exactly on the active constraints. Then every constraint is checked exactly. An infeasibility comes with a
certificate that is checked too. By Farkas' lemma, nonnegative multiples of the constraints add up to a negative constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

from tpdyn.exact.forms import Constraint, Form, Point
from tpdyn.exponents import ZERO

_DENOMINATOR = 720
_NEAR = 1e-7


class Unbounded(ArithmeticError):
    """The objective is unbounded on the constraints."""


@final
@dataclass(frozen=True)
class Infeasible:
    """The constraints contradict each other. certificate: the positions of constraints that contradict each other."""

    certificate: tuple[int, ...]


def nullspace(rows: Sequence[Point], size: int) -> list[Point]:
    """Return a basis of the vectors on which all rows vanish, with one free coordinate 1 each."""
    pivots = _reduced(rows)
    basis = []
    for free in range(size):
        if free in pivots:
            continue
        vector = [ZERO] * size
        vector[free] = Fraction(1)
        for column, row in pivots.items():
            vector[column] = -row.get(free, ZERO)
        basis.append(tuple(vector))
    return basis


def solve(rows: Sequence[Point], size: int) -> Point | None:
    """Solve the equations `row[:size] . x + row[size] = 0` (free coordinates 0); None if there is none."""
    pivots = _reduced(rows)
    if size in pivots:
        return None
    return tuple(-pivots[column].get(size, ZERO) if column in pivots else ZERO for column in range(size))


def independent(forms: Sequence[Form]) -> list[Form]:
    """Find forms that vanish where all the given ones do, as few as possible, in echelon form and primitive."""
    return [_form(row, len(forms[0].coefficients)).primitive() for row in _reduced(list(map(_row, forms))).values()]


def remainder(form: Form, equations: Sequence[Form]) -> Form:
    """Reduce a form modulo equations (forms that are 0): their leading symbols do not enter the result."""
    row = {column: value for column, value in enumerate(_row(form)) if value}
    for lead, pivot in _reduced(list(map(_row, equations))).items():
        if lead in row:
            _subtract(row, pivot, row[lead])
    return _form(row, len(form.coefficients))


def _row(form: Form) -> Point:
    return (*form.coefficients, form.constant)


def _form(row: Mapping[int, Fraction], size: int) -> Form:
    return Form(row.get(size, ZERO), tuple(row.get(column, ZERO) for column in range(size)))


def _reduced(rows: Sequence[Point]) -> dict[int, dict[int, Fraction]]:
    """Compute the reduced row echelon form, sparse: pivot column -> row."""
    pivots: dict[int, dict[int, Fraction]] = {}
    for given in rows:
        row = {column: value for column, value in enumerate(given) if value}
        for column in [c for c in row if c in pivots]:
            _subtract(row, pivots[column], row[column])
        if not row:
            continue
        lead = min(row)
        row = {column: value / row[lead] for column, value in row.items()}
        for other in pivots.values():
            if lead in other:
                _subtract(other, row, other[lead])
        pivots[lead] = row
    return pivots


def _subtract(row: dict[int, Fraction], other: dict[int, Fraction], factor: Fraction) -> None:
    for column, value in other.items():
        left = row.get(column, ZERO) - factor * value
        if left:
            row[column] = left
        else:
            row.pop(column, None)


def minimise(objective: Form, constraints: Sequence[Constraint], *, nonnegative: bool = False) -> Point | Infeasible:
    """Minimise the objective over the closure of all constraints ('>' counts as '>='); return a point.

    nonnegative: every coordinate is 0 or more, on top of the constraints.

    The point is checked exactly; that nothing smaller exists is HiGHS's word. Raises Unbounded where there is no minimum,
    ArithmeticError where no exact point is found near the one proposed.
    """
    size = len(objective.coefficients)
    if not size:
        contradicted = [k for k, c in enumerate(constraints) if not _closed(c).holds(())]
        return Infeasible(tuple(contradicted)) if contradicted else ()
    done = _highs(objective, constraints, nonnegative)
    if done.status == 2:
        return Infeasible(() if nonnegative else _contradiction(constraints, size))
    if done.status != 0:
        raise Unbounded("the objective has no minimum on the constraints")
    for candidate in (_rounded(done.x), _solved(done.x, constraints)):
        if candidate is None or (nonnegative and min(candidate) < 0):
            continue
        if any(abs(float(exact) - x) > _NEAR for exact, x in zip(candidate, done.x, strict=True)):
            continue
        if all(_closed(c).holds(candidate) for c in constraints):
            return candidate
    raise ArithmeticError("no exact point near the solution in floating point satisfies every constraint")


def compromise(wanted: Sequence[Form], weights: Sequence[Fraction], away: Sequence[Fraction]) -> Point:
    """Find a point at which `form >= 0` is missed by little, for all forms together, each by its weight.

    away: what it costs to move one coordinate from 0. The point is that of HiGHS, rounded to small denominators; nothing is
    checked, since forms may contradict each other.
    """
    size, count = len(away), len(wanted)
    constraints = [
        Constraint(
            Form(
                form.constant,
                (
                    *form.coefficients,
                    *(-c for c in form.coefficients),
                    *(Fraction(int(i == k)) for i in range(count)),
                ),
            ),
            ">=",
        )
        for k, form in enumerate(wanted)
    ]
    found = _highs(Form(ZERO, (*away, *away, *weights)), constraints, nonnegative=True).x
    x = (ZERO,) * (2 * size) if found is None else _rounded(found)  # numerical trouble: nothing moves
    return tuple(up - down for up, down in zip(x[:size], x[size : 2 * size], strict=True))


def inside(constraints: Sequence[Constraint], size: int) -> Point | None:
    """Find a point that satisfies every constraint, strict ones strictly, far from the bounds; None if there is none."""
    slack = tuple([ZERO] * size + [Fraction(-1)])
    widened = [
        Constraint(Form(c.form.constant, (*c.form.coefficients, Fraction(-1 if c.relation != "=" else 0))), c.relation)
        for c in constraints
    ]
    widened.append(Constraint(Form(Fraction(1), slack), ">="))
    solution = minimise(Form(ZERO, slack), widened)
    if isinstance(solution, Infeasible):
        return None
    point = solution[:-1]
    return point if all(c.holds(point) for c in constraints) else None


def facets(constraints: Sequence[Constraint], size: int) -> tuple[Constraint, ...]:
    """Return the inequalities that are not implied by the others. Each has an exact point that violates it alone."""
    kept = list(constraints)
    for constraint in constraints:
        if constraint.relation == "=":
            continue
        others = [c for c in kept if c is not constraint]
        floor = Constraint(Form(constraint.form.constant + 1, constraint.form.coefficients), ">=")  # keeps it bounded
        try:
            lowest = minimise(constraint.form, [*others, floor])
        except ArithmeticError:
            continue
        if isinstance(lowest, Infeasible) or constraint.form.at(lowest) >= 0:
            kept = others
    return tuple(kept)


def _closed(constraint: Constraint) -> Constraint:
    return constraint if constraint.relation == "=" else Constraint(constraint.form, ">=")


def _highs(objective: Form, constraints: Sequence[Constraint], nonnegative: bool) -> Any:
    import numpy as np
    from scipy.optimize import linprog

    above = [c for c in constraints if c.relation != "="]
    equal = [c for c in constraints if c.relation == "="]

    def matrix(rows: list[Constraint], sign: int) -> tuple[Any, Any]:
        if not rows:
            return None, None
        left = np.array([[sign * float(x) for x in row.form.coefficients] for row in rows])
        return left, np.array([-sign * float(row.form.constant) for row in rows])

    upper, bound = matrix(above, -1)
    same, target = matrix(equal, 1)
    bounds = (0, None) if nonnegative else (None, None)
    weights = np.array([float(x) for x in objective.coefficients])
    done = linprog(weights, A_ub=upper, b_ub=bound, A_eq=same, b_eq=target, bounds=bounds, method="highs")
    if done.status == 4 or (done.status not in (0, 2, 3)):  # "infeasible or unbounded" and numerical trouble
        feasible = linprog(0 * weights, A_ub=upper, b_ub=bound, A_eq=same, b_eq=target, bounds=bounds)
        done.status = 3 if feasible.status == 0 else 2
    return done


def _rounded(x: Any) -> Point:
    return tuple(Fraction(float(value)).limit_denominator(_DENOMINATOR) for value in x)


def _solved(x: Any, constraints: Sequence[Constraint]) -> Point | None:
    """Round x to a rational point on all constraints that are active there; free directions stay as rounded."""
    near = _rounded(x)
    size = len(near)
    rows = []
    for constraint in constraints:
        coefficients, constant = constraint.form.coefficients, constraint.form.constant
        value = float(constant) + sum(float(c) * float(v) for c, v in zip(coefficients, x, strict=True))
        if constraint.relation == "=" or abs(value) < _NEAR:
            rows.append((*coefficients, constant))
    pivots = _reduced(rows)
    if size in pivots:
        return None
    point = list(near)
    for column, row in pivots.items():
        point[column] = -row.get(size, ZERO) - sum(
            (value * near[other] for other, value in row.items() if other not in (column, size)), ZERO
        )
    return tuple(point)


def _contradiction(constraints: Sequence[Constraint], size: int) -> tuple[int, ...]:
    """Find which of infeasible constraints contradict each other: the support of a Farkas certificate, checked exactly.

    The linear program over multipliers chooses a certificate of small weight. A vertex of it is minimal: it needs each
    of its constraints.
    """
    # Multipliers y: sum_k y_k form_k is the constant -1, y_k >= 0 for inequalities.
    columns = len(constraints)
    rows = []
    for axis in range(size + 1):
        values = tuple(c.form.coefficients[axis] if axis < size else c.form.constant for c in constraints)
        rows.append(Constraint(Form(ZERO if axis < size else Fraction(1), values), "="))
    # A multiplier of an equation may be negative: it is the difference of two that are not.
    equal = [k for k, c in enumerate(constraints) if c.relation == "="]
    widened = [
        Constraint(Form(r.form.constant, (*r.form.coefficients, *(-r.form.coefficients[k] for k in equal))), "=")
        for r in rows
    ]
    weights = (Fraction(1),) * (columns + len(equal))
    solution = minimise(Form(ZERO, weights), widened, nonnegative=True)
    if isinstance(solution, Infeasible):
        raise ArithmeticError("constraints are neither satisfiable nor contradictory in floating point")
    return tuple(k for k in range(columns) if solution[k] or (k in equal and solution[columns + equal.index(k)]))
