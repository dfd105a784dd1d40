"""The orders reading against the theorems on MLPs, and rule by rule on programs of a few lines."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdyn.claims import theorems
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Apply, Combine, Contract, Gather, Law, Leaf, Operand, Scatter, Slice
from tpdyn.program.program import Parameter, View
from tpdyn.readings.orders.reading import read
from tpdyn.testing.perceptrons import WIDE, exponents, layer_names, mlp_program
from tpdyn.testing.strategies import abc_parametrizations

HALF = Fraction(1, 2)
UNIT = Law("normal", Scaling(()), Scaling.of(1))
MLPS = {
    (layers, function, optimizer): mlp_program(layers, function, optimizer)
    for layers in (1, 2)
    for function in ("tanh", "relu")
    for optimizer in ("sgd", "sign")
}


def changes(program, orders, name: str) -> Fraction | None:
    found = [orders.values[m.view.var].moved for m in program.marks if m.name == name]
    return max((order for order in found if order is not None), default=None)


@given(st.data())
@settings(max_examples=40)
def test_orders_of_an_mlp_are_those_of_the_theorem(data: st.DataObject) -> None:
    layers, function, optimizer = data.draw(st.sampled_from(sorted(MLPS)))
    point = data.draw(abc_parametrizations(layers, "sgd" if optimizer == "sgd" else "entrywise"))
    theorem = theorems.sgd if optimizer == "sgd" else theorems.entrywise
    if optimizer != "sgd" and not theorems.faithful(point):
        return
    expected = theorem(point)
    program = MLPS[layers, function, optimizer]
    orders = read(program, exponents(point, layer_names(layers)))
    hidden = [changes(program, orders, f"h{layer + 1}") for layer in range(layers)]
    output = changes(program, orders, "output")
    stable = point.well_initialised and all(h is None or h <= 0 for h in hidden) and (output is None or output <= 0)
    assert stable == expected.stable
    if stable:
        assert (output == 0) == expected.nontrivial
        assert tuple(hidden) == expected.changes


def tiny() -> Builder:
    build = Builder()
    build.at(phase="forward")
    return build


def vector(build: Builder, name: str, law: Law = UNIT) -> int:
    return build.leaf(Leaf("parameter", name, law), (WIDE,))


def test_a_sum_of_aligned_products_is_larger_by_n_and_of_unaligned_ones_by_root_n() -> None:
    build = tiny()
    v, w = vector(build, "v"), vector(build, "w")
    same = build.add(Contract((Operand(v, (0,)), Operand(v, (0,)))), ())
    other = build.add(Contract((Operand(v, (0,)), Operand(w, (0,)))), ())
    mean = build.add(Contract((Operand(v, (0,)),), Scaling.of(1, -1)), ())
    values = read(build.build()).values
    assert [values[k].size for k in (same, other, mean)] == [1, HALF, -HALF]


def test_a_reading_of_orders_ends_where_it_is_asked_to() -> None:
    """Phases need no more than the first value that grows."""
    build = tiny()
    v = vector(build, "v")
    same = build.add(Contract((Operand(v, (0,)), Operand(v, (0,)))), ())
    build.add(Apply("tanh", (Operand(same, ()),)), ())
    program = build.build()
    assert len(read(program).values) == 3
    grows = read(program, until=lambda position, statement, value: value.size is not None and value.size > 0)
    assert [value.size for value in grows.values] == [0, 1]


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_values_do_not_depend_on_whether_contributions_are_noted(data: st.DataObject) -> None:
    made, names = mlp_program(2, "tanh", "adam"), layer_names(2)
    at = exponents(data.draw(abc_parametrizations(2, "entrywise")), names)
    noted, bare = read(made, at), read(made, at, contributions=False)
    assert noted.contributions and not bare.contributions
    assert noted.values == bare.values
    part = read(made, at, until=40, contributions=False).again(at)  # as far as the first, and as bare
    assert part.values == noted.values[:41] and not part.contributions


def test_a_matrix_and_its_transpose_meet_again_in_the_dot() -> None:
    build = tiny()
    matrix = build.leaf(Leaf("parameter", "W", Law("normal", Scaling(()), Scaling.of(1, -HALF))), (WIDE, WIDE))
    v = vector(build, "v")
    back = build.add(Contract((Operand(matrix, (1, 0)), Operand(v, (1,)))), (WIDE,))
    forth = build.add(Contract((Operand(matrix, (0, 1)), Operand(back, (1,)))), (WIDE,))
    dot = build.add(Contract((Operand(v, (0,)), Operand(forth, (0,))), Scaling.of(1, -1)), ())
    square = build.add(Contract((Operand(back, (0,)), Operand(back, (0,)))), (WIDE,))
    forth_again = build.add(Contract((Operand(matrix, (0, 1)), Operand(square, (1,)))), (WIDE,))
    no_dot = build.add(Contract((Operand(v, (0,)), Operand(forth_again, (0,))), Scaling.of(1, -1)), ())
    values = read(build.build()).values
    assert values[dot].size == 0  # <v, W W^T v> / n
    assert values[no_dot].size == -HALF  # <v, W (W^T v)^2> / n: odd in v


def test_an_odd_function_of_two_independent_signs_has_no_mean() -> None:
    build = tiny()
    v, w = vector(build, "v"), vector(build, "w")
    both = build.add(Combine(((Scaling.of(1), Operand(v, (0,))), (Scaling.of(1), Operand(w, (0,))))), (WIDE,))
    means = []
    for function in ("tanh", "relu"):
        made = build.add(Apply(function, (Operand(both, (0,)),)), (WIDE,))
        means.append(build.add(Contract((Operand(made, (0,)),), Scaling.of(1, -1)), ()))
    values = read(build.build()).values
    assert [values[k].size for k in means] == [-HALF, 0]


def test_small_arguments_go_by_their_taylor_coefficients() -> None:
    build = tiny()
    v = vector(build, "v", Law("normal", Scaling(()), Scaling.of(1, -HALF)))
    orders = {}
    for function in ("tanh", "sigmoid", "cos", "gelu"):
        made = build.add(Apply(function, (Operand(v, (0,)),)), (WIDE,))
        mean = build.add(Contract((Operand(made, (0,)),), Scaling.of(1, -1)), ())
        orders[function] = (made, mean)
    values = read(build.build()).values
    found = {name: (values[a].size, values[b].size) for name, (a, b) in orders.items()}
    assert found == {
        "tanh": (-HALF, -1),
        "sigmoid": (0, 0),
        "cos": (0, 0),
        "gelu": (-HALF, -1),
    }


def looked_up(build: Builder, kind: str) -> tuple[int, int]:
    """A table of n rows that tokens filled, and what the same tokens pick from it."""
    tokens = build.leaf(Leaf("data", "tokens", Law("index")), (Scaling.of(7),), type="int")
    rows = build.leaf(Leaf("data", "rows", UNIT), (Scaling.of(7), Scaling.of(3)))
    first = build.leaf(Leaf("parameter", "table", Law("zero")), (WIDE, Scaling.of(3)))
    table = build.add(Scatter(Operand(rows, (2, 1)), Operand(tokens, (2,)), 0), (WIDE, Scaling.of(3)))
    if kind == "computed":
        table = build.add(Apply("tanh", (Operand(table, (0, 1)),)), (WIDE, Scaling.of(3)))
    else:
        views = tuple(View((var,), ((0,), (1,))) for var in (first, table))
        build.parameters.append(Parameter("table", views, (None,)))
    return table, build.add(Gather(Operand(table, (2, 1)), Operand(tokens, (0,)), 2), (Scaling.of(7), Scaling.of(3)))


def test_rows_that_data_filled_are_not_rare_where_data_pick_them() -> None:
    """An update of an embedding of n rows is of mean order -1. For the tokens that made it, it is of order 0."""
    build = tiny()
    table, picked = looked_up(build, "parameter")
    values = read(build.build(steps=1)).values
    assert (values[table].moved, values[picked].moved) == (-1, 0)


def test_data_that_pick_entries_of_a_growing_output_are_outside_the_theory() -> None:
    build = tiny()
    looked_up(build, "computed")
    with pytest.raises(OutsideTheory, match="data pick entries of a computed wide dim"):
        read(build.build())


def test_a_product_of_two_untrained_matrices_is_outside_the_theory() -> None:
    build = tiny()
    w = [build.leaf(Leaf("parameter", name, UNIT), (WIDE, WIDE)) for name in ("W", "V")]
    build.add(Contract((Operand(w[0], (0, 2)), Operand(w[1], (2, 1)))), (WIDE, WIDE))
    with pytest.raises(OutsideTheory, match="two untrained Gaussian matrices"):
        read(build.build())


def test_a_constant_that_guards_a_division_counts_only_as_written() -> None:
    build = tiny()
    v = vector(build, "v", Law("normal", Scaling(()), Scaling.of(1, -1)))
    size = build.add(Apply("abs", (Operand(v, (0,)),)), (WIDE,))
    guarded = build.add(Combine(((Scaling.of(1), Operand(size, (0,))),), Scaling.of(1e-8), epsilon=True), (WIDE,))
    program = build.build()
    assert read(program).values[guarded].size == -1
    assert read(program, epsilon=True).values[guarded].size == 0


@given(st.data())
@settings(max_examples=15)
def test_the_symmetry_of_the_parametrization_comes_out(data: st.DataObject) -> None:
    """(a + s, b - s, c - 2s) for SGD, (a + s, b - s, c - s) for entrywise optimizers, layer by layer."""
    optimizer = data.draw(st.sampled_from(["sgd", "sign"]))
    program = MLPS[2, "tanh", optimizer]
    point = data.draw(abc_parametrizations(2, "entrywise"))
    layer, shift = data.draw(st.integers(0, 2)), data.draw(st.sampled_from([HALF, -1, Fraction(3, 4)]))
    moved = theorems.Abc(
        tuple(a + shift * (k == layer) for k, a in enumerate(point.a)),
        tuple(b - shift * (k == layer) for k, b in enumerate(point.b)),
        tuple(c - shift * (2 if optimizer == "sgd" else 1) * (k == layer) for k, c in enumerate(point.c)),
    )
    one, other = (read(program, exponents(p, layer_names(2))) for p in (point, moved))
    for name in ("h1", "x1", "h2", "x2", "output"):
        assert changes(program, one, name) == changes(program, other, name)


def moved_after(*updates: list[tuple[Scaling, str]]) -> Fraction | None:
    """The order of a weight's change after these updates. Each update has terms of the weight "w", or of the gradients "g"
    and "w g".
    """
    build = Builder()
    build.parameter("w", (WIDE,))
    gradient = build.data("g", (WIDE,))
    for step, terms in enumerate(updates):
        build.at(step=step, phase="backward")
        w = build.now("w")
        values = {"w": w, "g": gradient, "w g": build.einsum("a,a->a", w, gradient)}
        build.at(step=step, phase="optimizer")
        build.update("w", build.combine((1, w), *((scale, values[name]) for scale, name in terms)))
    return read(build.build()).values[build.now("w")].moved


def test_weight_decay_changes_a_weight_by_as_much_as_it_takes_off() -> None:
    tiny = Scaling.of(-1, -2)
    assert moved_after([(tiny, "g")]) == -2
    assert moved_after([(Scaling.of(-1, -1), "w"), (tiny, "g")]) == -1


def test_an_earlier_update_stays_in_the_change() -> None:
    assert moved_after([(Scaling.of(1), "g")], [(Scaling.of(1, -1), "g")]) == 0


def test_an_update_is_as_large_as_the_gradient_in_training_not_as_at_the_start() -> None:
    grown = [(Scaling.of(1, 1), "g")]
    assert moved_after(grown, [(Scaling.of(1, 1), "w g")]) == 2


def test_what_an_update_contributes_counts_behind_the_multiplier_that_follows() -> None:
    """`n^-1/2 (W x)`: the change of W, a constant of size 1, contributes n n^-1/2, in training as by itself."""
    b = Builder()
    w, x = b.parameter("W", (WIDE, WIDE), std=Scaling.of(1, -HALF)), b.constant("x", 1, (WIDE,))
    for step in range(2):
        b.at(step=step, phase="forward")
        h = b.combine((Scaling.of(1, -HALF), b.matmul(b.now("W"), x)))
        b.mark("module", "h", h)
        b.at(step=step, phase="optimizer")
        b.update("W", b.combine((1, b.now("W")), constant=1), gradient=w)
    (noted,) = [each for each in read(b.build()).contributions if each.step == 1]
    assert (noted.order, noted.alone) == (HALF, HALF)


def test_a_part_of_a_wide_dim_is_as_large_as_the_whole_and_a_vanishing_part_is_refused() -> None:
    build = tiny()
    x = build.leaf(Leaf("parameter", "x", Law("normal", Scaling(()), Scaling.of(1, HALF))), (Scaling.of(2, 1),))
    part = build.add(Slice(Operand(x, (0,)), 0, Scaling.of(1, 1), 1, Scaling.of(1, 1)), (Scaling.of(1, 1),))
    total = build.add(Contract((Operand(part, (0,)),)), ())
    values = read(build.build()).values
    assert values[part].size == HALF and values[total].size == HALF + HALF
    build.add(Slice(Operand(x, (0,)), 0, Scaling(()), 1, Scaling.of(1, HALF)), (Scaling.of(1, HALF),))
    with pytest.raises(OutsideTheory, match="a vanishing part"):
        read(build.build())
