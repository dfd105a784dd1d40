"""Does the canonical program compute the same, with axes that are split where something splits them, and only there?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from written_scripts import ONE, Script, kinds, made, shapes

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Gather,
    Law,
    Leaf,
    Operand,
    Scatter,
)
from tpdyn.recorder.fitting.widths import FitError
from tpdyn.recorder.record import record


def test_a_network_keeps_its_axes_and_loses_reshapes_and_axes_of_size_1() -> None:
    def build(s: Script, n: int) -> None:
        x, w = s.leaf("x", 7, 1, n), s.leaf("w", 3 * n, n)
        h = s.linear(s.view(x, 7, n), w)
        s.view(h, 7, 1, 3 * n, 1)

    program = made(build).program
    assert shapes(program) == {"x": "7, n", "w": "3*n, n"}
    assert kinds(program) == {"Leaf", "Contract"}
    assert program.marks[-1].view.dims == ((0,), (), (1,), ())


def test_attention_splits_the_heads_finite_factor_first() -> None:
    def build(s: Script, n: int) -> None:
        x = s.leaf("x", 2, 5, n)
        q, k = (s.permute(s.view(s.linear(x, s.leaf(name, n, n)), 2, 5, 8, n // 8), 0, 2, 1, 3) for name in ("q", "k"))
        scores = s.add(Contract((Operand(q, (0, 1, 2, 4)), Operand(k, (0, 1, 3, 4))), Scaling.of(n**-0.5)), 2, 8, 5, 5)
        weights = s.add(Apply("softmax", (s.full(scores),), along=3), 2, 8, 5, 5)
        out = s.add(Contract((Operand(weights, (0, 1, 2, 4)), Operand(k, (0, 1, 4, 3)))), 2, 8, 5, n // 8)
        s.linear(s.view(s.permute(out, 0, 2, 1, 3), 2, 5, n), s.leaf("o", n, n))

    program = made(build).program
    assert shapes(program) == {"x": "2, 5, n", "q": "8, n/8, n", "k": "8, n/8, n", "o": "n, 8, n/8"}
    assert "Combine" not in kinds(program)  # permutations are read through
    assert program.parameter("q").versions[0].dims == ((0, 1), (2,))


def test_only_a_whole_matrix_stays_orthogonal() -> None:
    def build(s: Script, n: int) -> None:
        x, names = s.leaf("x", 5, n), ("whole", "heads")
        first, second = (s.linear(x, s.leaf(name, n, n)) for name in names)
        for position, statement in enumerate(s.lowered.statements):
            if isinstance(statement.instruction, Leaf) and statement.instruction.name in names:
                law = Law("orthogonal", scale=Scaling.of(n**-0.5))
                leaf = replace(statement.instruction, law=law)
                s.lowered.statements[position] = replace(statement, instruction=leaf)
        heads = s.view(second, 5, 8, n // 8)
        s.add(Contract((Operand(heads, (0, 1, 3)), Operand(heads, (0, 2, 3)))), 5, 8, 8)
        s.add(Contract((Operand(first, (0, 2)), Operand(first, (1, 2)))), 5, 5)

    statements = made(build).program.statements
    laws = {s.name: s.instruction.law.kind for s in statements if isinstance(s.instruction, Leaf)}
    assert laws["whole"] == "orthogonal" and laws["heads"] == "iid"


@pytest.mark.parametrize("how", ["chunk", "view", "cat"])
def test_a_fused_projection_is_written_as_its_pieces(how: str) -> None:
    def build(s: Script, n: int) -> None:
        x, w = s.leaf("x", 7, n), s.leaf("w", 3 * n, n)
        if how == "cat":
            w = s.cat([s.cut(w, 0, 2 * n, n), s.cut(w, 0, 0, 2 * n)], [n, 2 * n], 0, 3 * n, n)
        h = s.linear(x, w)
        if how == "view":
            h = s.view(h, 7, 3, n)
            q, k, v = (s.select(h, 1, entry) for entry in range(3))
        else:
            q, k, v = (s.cut(h, 1, entry * n, n) for entry in range(3))
        s.add(Combine(((ONE, s.full(q)), (Scaling.of(2), s.full(k)), (Scaling.of(3), s.full(v)))), 7, n)

    program = made(build).program
    assert shapes(program) == {"x": "7, n", "w[0]": "n, n", "w[1]": "n, n", "w[2]": "n, n"}
    assert kinds(program) == {"Leaf", "Contract", "Combine"}
    weight = program.parameter("w").versions[0]
    assert weight.stacked == 0
    assert len(weight.pieces) == 3


def test_the_gradient_of_a_chunk_has_no_zeros_left_and_contractions_over_pieces_become_sums() -> None:
    def build(s: Script, n: int) -> None:
        a, b, w = s.leaf("a", 7, n), s.leaf("b", 7, n), s.leaf("w", n, 2 * n)
        padded = [s.cat([a, None], [n, n], 1, 7, 2 * n), s.cat([None, b], [n, n], 1, 7, 2 * n)]
        both = s.add(Combine(tuple((ONE, s.full(part)) for part in padded)), 7, 2 * n)
        s.linear(both, w)
        s.lowered.marks = s.lowered.marks[-1:]

    program = made(build).program
    assert kinds(program) == {"Leaf", "Contract", "Combine"}
    assert len([1 for s in program.statements if isinstance(s.instruction, Contract)]) == 2
    assert all(len(s.instruction.terms) > 0 for s in program.statements if isinstance(s.instruction, Combine))


def test_wide_parts_of_unequal_but_commensurate_sizes_are_cut_at_their_common_measure() -> None:
    def build(s: Script, n: int) -> None:
        x, w = s.leaf("x", 7, n), s.leaf("w", 2 * n, n)
        h = s.linear(x, w)
        big, small = s.cut(h, 1, 0, 3 * n // 2), s.cut(h, 1, 3 * n // 2, n // 2)
        s.add(Contract((Operand(big, (0, 1)),)), 7, 3 * n // 2)
        s.cat([small, big], [n // 2, 3 * n // 2], 1, 7, 2 * n)

    program = made(build).program
    assert shapes(program) == {"x": "7, n"} | {f"w[{k}]": "n/2, n" for k in range(4)}


def test_every_other_entry_of_a_wide_dim_is_a_piece() -> None:
    def build(s: Script, n: int) -> None:
        h = s.linear(s.leaf("x", 7, n), s.leaf("w", n, n))
        s.add(Combine(((ONE, s.full(s.cut(h, 1, 0, n // 2, 2))), (ONE, s.full(s.cut(h, 1, 1, n // 2, 2))))), 7, n // 2)

    program = made(build).program
    assert program.parameter("w").versions[0].grid[0].place == 1
    assert kinds(program) == {"Leaf", "Contract", "Combine"}


def test_a_weight_between_two_fused_layers_is_cut_along_both_dims() -> None:
    def build(s: Script, n: int) -> None:
        w = s.leaf("w", 2 * n, 3 * n)
        parts = [s.leaf(f"x{k}", 7, n) for k in range(3)]
        h = s.linear(s.cat(list(parts), [n] * 3, 1, 7, 3 * n), w)
        s.add(Contract((s.full(s.cut(h, 1, 0, n)), s.full(s.cut(h, 1, n, n)))), 7, n)

    program = made(build).program
    view = program.parameter("w").versions[0]
    assert len(view.pieces) == 6
    assert [(f.dim, f.count) for f in view.grid] == [(0, 2), (1, 3)]


def test_slices_and_concatenations_of_finite_dims_stay() -> None:
    def build(s: Script, n: int) -> None:
        table = s.leaf("positions", 9, n)
        first = s.cut(table, 0, 0, 5)
        last = s.select(first, 0, 4)
        s.cat([first, s.view(last, 1, n), None], [5, 1, 2], 0, 8, n)
        s.cut(table, 0, 8, 9, -1)

    program = made(build).program
    assert shapes(program) == {"positions": "9, n"}
    assert kinds(program) == {"Leaf", "Slice", "Concat"}


@pytest.mark.parametrize(("start", "length"), [(0, 4), (4, 4), (2, 4), (3, 1), (1, 5)])
def test_a_finite_dim_that_a_reshape_splits_is_cut_along_or_across_its_factors(start: int, length: int) -> None:
    def build(s: Script, n: int) -> None:
        x = s.leaf("x", 2, 4, n)
        s.add(Apply("tanh", (s.full(x),)), 2, 4, n)
        s.cut(s.view(x, 8, n), 0, start, length)

    made(build)


@pytest.mark.parametrize("sizes", [(2, 6), (3, 5), (4, 4), (1, 7)])
def test_a_split_finite_dim_may_be_joined_from_parts(sizes: tuple[int, int]) -> None:
    def build(s: Script, n: int) -> None:
        parts = [s.leaf(f"x{k}", size, n) for k, size in enumerate(sizes)]
        joined = s.cat(list(parts), list(sizes), 0, 8, n)
        s.add(Apply("tanh", (s.full(s.view(joined, 2, 4, n)),)), 2, 4, n)

    made(build)


def test_flattened_tokens_become_batch_and_token_again() -> None:
    def build(s: Script, n: int) -> None:
        logits = s.linear(s.view(s.leaf("x", 2, 5, n), 10, n), s.leaf("w", 6, n))
        index = s.add(Leaf("data", "labels", Law("index")), 10, type="int")
        s.lowered.leaf_values[index] = torch.arange(10) % 6
        s.add(Gather(Operand(logits, (0, 1)), Operand(index, (0,)), 1), 10)

    program = made(build).program
    assert shapes(program) == {"x": "2, 5, n", "w": "6, n", "labels": "2, 5"}


def _refused(build: Callable[[Script, int], object], message: str) -> FitError:
    with pytest.raises(FitError, match=message) as error:
        made(build)
    return error.value


def test_wide_parts_without_a_common_measure_are_refused_with_their_line() -> None:
    def cut(s: Script, n: int) -> None:
        s.cut(s.leaf("a", 7, n), 1, 0, n - 3)

    error = _refused(
        cut, r"(?s)a fixed number of coordinates.*takes n - 3 of n entries.*net\.py:1.*size n - 3, which is no power"
    )
    assert error.outside

    def powers(s: Script, n: int) -> None:
        both = s.cat([s.leaf("a", 7, n), s.leaf("b", 7, n * n)], [n, n * n], 1, 7, n + n * n)
        s.add(Apply("softmax", (s.full(both),), along=1), 7, n + n * n)

    _refused(powers, r"(?s)without a common measure.*net\.py:2.*needed as a whole.*net\.py:3")


@pytest.mark.parametrize("factors", [(3, 4), (2, 3, 2)])
def test_what_acts_along_a_product_of_finite_axes_merges_them(factors: tuple[int, ...]) -> None:
    def build(s: Script, n: int) -> None:
        x = s.leaf("x", *factors, n)
        s.add(Apply("softmax", (s.full(s.view(x, 12, n)),), along=0), 12, n)

    assert shapes(made(build).program) == {"x": f"{', '.join(map(str, factors))}, n"}

    def looked_up(s: Script, n: int) -> None:
        table, rows = s.view(s.leaf("x", *factors, n), 12, n), s.leaf("rows", 5, n)
        index = s.add(Leaf("data", "index", Law("index")), 5, type="int")
        s.lowered.leaf_values[index] = torch.tensor([7, 0, 11, 7, 3])
        s.add(Gather(Operand(table, (2, 1)), Operand(index, (0,)), 2), 5, n)
        s.view(s.add(Scatter(Operand(rows, (2, 1)), Operand(index, (2,)), 0), 12, n), *factors, n)

    made(looked_up)


def test_a_softmax_along_a_wide_product_of_axes_is_refused_with_its_line() -> None:
    def build(s: Script, n: int) -> None:
        x = s.leaf("x", 3, n, 7)
        s.add(Apply("softmax", (s.full(s.view(x, 3 * n, 7)),), along=0), 3 * n, 7)

    _refused(build, r"(?s)softmax along an axis that is a product \(3 x n\).*net\.py:2")


def test_a_reshape_that_no_refinement_explains_is_refused_with_its_line() -> None:
    def build(s: Script, n: int) -> None:
        s.view(s.leaf("x", 6, 4, n), 8, 3, n)

    _refused(build, r"(?s)sizes 6 and 8 overlap.*net\.py:1")


def test_the_pieces_of_one_view_may_be_permutations_of_other_values() -> None:
    def build(s: Script, n: int) -> None:
        a, b = s.leaf("a", n, 7), s.leaf("b", n, 7)
        s.cat([s.permute(a, 1, 0), s.permute(b, 1, 0)], [n, n], 1, 7, 2 * n)

    program = made(build).program
    assert kinds(program) == {"Leaf"}


def test_a_concatenation_may_read_one_value_with_its_axes_in_several_orders() -> None:
    def build(s: Script, n: int) -> None:
        x = s.leaf("x", n, 7, 7)
        parts = Operand(x, (2, 0, 1)), Operand(x, (2, 1, 0))
        s.add(Concat(parts, (Scaling.of(n), Scaling.of(n)), 2), 7, 7, 2 * n)

    made(build)


def test_what_is_divided_by_no_power_is_multiplied_with_an_inverse() -> None:
    program = record(unbiased, steps=1)
    divisors = [
        statement.instruction.constant
        for statement in program.statements
        if isinstance(statement.instruction, Combine) and not statement.instruction.terms
    ]
    assert divisors and set(divisors) == {ONE + Scaling.of(-1, -1)}


def unbiased(width: int) -> None:
    """The Annotated Transformer's LayerNorm: its standard deviation divides by n - 1."""
    first, last = torch.nn.Linear(5, width), torch.nn.Linear(width, 3)
    optimizer = torch.optim.SGD([*first.parameters(), *last.parameters()], lr=0.1)
    x = torch.randn(4, 5)
    while True:
        h = first(x)
        h = (h - h.mean(-1, keepdim=True)) / (h.std(-1, keepdim=True) + 1e-6)
        optimizer.zero_grad()
        last(h).square().mean().backward()
        optimizer.step()
