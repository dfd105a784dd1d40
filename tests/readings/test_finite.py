"""Does the finite reading compute what the instructions say?"""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import ReadingError
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Law,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import Factor, Parameter, Program, Source, View
from tpdyn.readings.finite import finite, from_view, run, to_view
from tpdyn.readings.interpret import lockstep

N = Scaling.of(1, 1)
ONE = Scaling.of(1)
NORMAL = Law("normal", Scaling(()), Scaling.of(1.0))
DATA = Law("data")
INDEX = Law("index")


def dim(size: int) -> Scaling:
    return Scaling.of(size)


def test_contract_is_a_scaled_einsum() -> None:
    b = Builder()
    w = b.leaf(Leaf("parameter", "w", NORMAL), (dim(3), N))
    x = b.leaf(Leaf("data", "x", DATA), (dim(4), N))
    b.add(Contract((Operand(w, (1, 2)), Operand(x, (0, 2))), Scaling.of(2.0, -1)), (dim(4), dim(3)))
    b.add(Contract((Operand(w, (1, 0)),)), (N,))
    program = b.build()
    x_value = torch.randn(4, 5, dtype=torch.float64)
    values = run(program, 5, leaves={"x": x_value})
    assert torch.allclose(values[2], 2 / 5 * x_value @ values[0].T)
    assert torch.allclose(values[3], values[0].sum(0))


def test_a_result_axis_that_no_operand_has_is_broadcast() -> None:
    b = Builder()
    x = b.leaf(Leaf("data", "x", DATA), (N,))
    b.add(Contract((Operand(x, (1,)),)), (dim(3), N))
    b.add(Combine(((Scaling.of(2), Operand(x, (0,))),), Scaling.of(1.0)), (N, dim(2)))
    values = run(b.build(), 4, leaves={"x": torch.arange(4.0)})
    assert values[1].shape == (3, 4)
    assert torch.equal(values[2], 2 * torch.arange(4.0, dtype=torch.float64)[:, None].expand(4, 2) + 1)


def test_softmax_normalises_along_its_label_also_when_the_operand_is_transposed() -> None:
    b = Builder()
    x = b.leaf(Leaf("data", "x", DATA), (dim(3), dim(4)))
    b.add(Apply("softmax", (Operand(x, (1, 0)),), along=0), (dim(4), dim(3)))
    x_value = torch.randn(3, 4, dtype=torch.float64)
    assert torch.allclose(run(b.build(), 7, leaves={"x": x_value})[1], torch.softmax(x_value.T, 0))


def test_gather_is_an_embedding_lookup_and_scatter_is_its_gradient() -> None:
    b = Builder()
    table = b.leaf(Leaf("parameter", "table", NORMAL), (dim(6), N))
    tokens = b.leaf(Leaf("data", "tokens", INDEX), (dim(2), dim(3)), type="int")
    out = b.add(Gather(Operand(table, (3, 2)), Operand(tokens, (0, 1)), 3), (dim(2), dim(3), N))
    b.add(Scatter(Operand(out, (2, 3, 1)), Operand(tokens, (2, 3)), 0), (dim(6), N))
    index = torch.tensor([[0, 5, 5], [2, 0, 5]])
    values = run(b.build(), 4, leaves={"tokens": index})
    weight = values[0].clone().requires_grad_()
    looked_up = torch.nn.functional.embedding(index, weight)
    assert torch.equal(values[2], looked_up)
    looked_up.backward(looked_up.detach())
    assert torch.allclose(values[3], weight.grad)


def test_gather_picks_jointly_where_labels_are_shared() -> None:
    b = Builder()
    logits = b.leaf(Leaf("data", "logits", DATA), (dim(4), dim(3)))
    labels = b.leaf(Leaf("data", "labels", INDEX), (dim(4),), type="int")
    picked = b.add(Gather(Operand(logits, (0, 1)), Operand(labels, (0,)), 1), (dim(4),))
    b.add(Scatter(Operand(picked, (0,)), Operand(labels, (0,)), 1), (dim(4), dim(3)))
    x, y = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
    values = run(b.build(), 2, leaves={"logits": x, "labels": y})
    assert torch.equal(values[2], x.gather(1, y[:, None])[:, 0])
    assert torch.equal(values[3], torch.zeros(4, 3, dtype=torch.float64).scatter(1, y[:, None], values[2][:, None]))


def test_slices_flip_drop_and_keep_and_concat_lays_end_to_end() -> None:
    b = Builder()
    x = b.leaf(Leaf("data", "x", DATA), (dim(4), N))
    flipped = b.add(Slice.of(Operand(x, (0, 1)), 0, 3, -1, 4), (dim(4), N))
    row = b.add(Slice.of(Operand(x, (1, 0)), 1, 2, 1, 1), (N,))
    parts = (Operand(flipped, (0, 1)), Operand(row, (1,)), None)
    b.add(Concat(parts, (dim(4), ONE, dim(2)), 0), (dim(7), N))
    value = torch.randn(4, 3, dtype=torch.float64)
    values = run(b.build(), 3, leaves={"x": value})
    assert torch.equal(values[1], value.flip(0))
    assert torch.equal(values[2], value[2])
    assert torch.equal(values[3], torch.cat([value.flip(0), value[2:3], torch.zeros(2, 3, dtype=torch.float64)]))


def test_a_slice_may_start_and_end_where_the_width_says() -> None:
    b = Builder()
    x = b.leaf(Leaf("data", "x", DATA), (Scaling.of(3, 1),))
    middle = b.add(Slice(Operand(x, (0,)), 0, N, 1, N), (N,))
    b.add(Slice(Operand(middle, (0,)), 0, N + Scaling.of(-1), -1, N), (N,))
    value = torch.randn(12, dtype=torch.float64)
    values = run(b.build(), 4, leaves={"x": value})
    assert torch.equal(values[1], value[4:8])
    assert torch.equal(values[2], value[4:8].flip(0))


def test_eigenvalues_and_functions_of_a_matrix_whose_rows_are_a_product_of_axes() -> None:
    """One matrix for each of four, with rows [n, 2]; weights of the descending order."""
    b = Builder()
    x = b.leaf(Leaf("data", "x", DATA), (dim(4), N, dim(2), N, dim(2)))
    w = b.leaf(Leaf("data", "w", DATA), (dim(4), Scaling.of(2, 1)))
    value = Operand(x, (0, 2, 3, 4, 5))
    b.add(Eigenvalues(value, (2, 3), (4, 5), 1, True), (dim(4), Scaling.of(2, 1)))
    value = Operand(x, (0, 1, 2, 3, 4))
    b.add(Spectral(Operand(w, (0, 5)), value, (1, 2), (3, 4), 5, True), (dim(4), N, dim(2), N, dim(2)))
    matrix = torch.randn(4, 6, 6, dtype=torch.float64)
    matrix = matrix + matrix.mT
    weights = torch.randn(4, 6, dtype=torch.float64)
    values = run(b.build(), 3, leaves={"x": matrix.reshape(4, 3, 2, 3, 2), "w": weights})
    along, vectors = torch.linalg.eigh(matrix)
    assert torch.allclose(values[2], along.flip(-1))
    made = vectors.flip(-1) @ torch.diag_embed(weights) @ vectors.flip(-1).mT
    assert torch.allclose(values[3], made.reshape(4, 3, 2, 3, 2))
    again = run(b.build(), 3, leaves={"x": matrix.reshape(4, 3, 2, 3, 2), "w": values[2]})
    assert torch.allclose(again[3].reshape(4, 6, 6), matrix)


def test_one_matrix_may_have_many_functions() -> None:
    b = Builder()
    x = b.leaf(Leaf("data", "x", DATA), (N, N))
    w = b.leaf(Leaf("data", "w", DATA), (N, dim(4)))
    b.add(Spectral(Operand(w, (3, 0)), Operand(x, (1, 2)), (1,), (2,), 3), (dim(4), N, N))
    matrix = torch.randn(3, 3, dtype=torch.float64)
    matrix, weights = matrix + matrix.mT, torch.randn(3, 4, dtype=torch.float64)
    made = run(b.build(), 3, leaves={"x": matrix, "w": weights})[2]
    vectors = torch.linalg.eigh(matrix).eigenvectors
    for k in range(4):
        assert torch.allclose(made[k], vectors @ weights[:, k].diag() @ vectors.mT)


def _descent() -> Program:
    """w_1 = w_0 - 0.5 x, w_2 = w_1 - 0.5 x, each step's output is w.x"""
    b = Builder()
    w = b.leaf(Leaf("parameter", "w_0", NORMAL), (N,))
    x = b.leaf(Leaf("data", "x", DATA), (N,))
    versions = [w]
    for step in (0, 1):
        b.at(step=step, phase="forward")
        b.add(Contract((Operand(versions[-1], (0,)), Operand(x, (0,)))), (), name=f"f@{step}")
        b.at(phase="optimizer")
        terms = ((ONE, Operand(versions[-1], (0,))), (Scaling.of(-0.5), Operand(x, (0,))))
        versions.append(b.add(Combine(terms), (N,), name=f"w_{step + 1}"))
    b.parameters.append(Parameter("w", tuple(View((v,), ((0,),)) for v in versions), (None, None)))
    return b.build(steps=2)


def test_the_base_program_keeps_the_initial_parameters() -> None:
    program = _descent()
    x = torch.ones(3, dtype=torch.float64)
    values, base = run(program, 3, leaves={"x": x}), run(program, 3, leaves={"x": x}, base=True)
    outputs = [k for k, s in enumerate(program.statements) if s.name.startswith("f@")]
    assert torch.equal(values[outputs[0]], base[outputs[0]])
    assert torch.equal(base[outputs[1]], base[outputs[0]])
    assert torch.allclose(values[outputs[1]], base[outputs[1]] - 1.5)


def test_only_the_values_asked_for_are_kept_in_the_base_program_too() -> None:
    program = _descent()
    x = torch.ones(3, dtype=torch.float64)
    last = len(program) - 1
    for base in (False, True):
        every = run(program, 3, leaves={"x": x}, base=base)
        some = run(program, 3, leaves={"x": x}, base=base, vars=(2, last))
        assert sorted(some) == [2, last] and all(torch.equal(some[var], every[var]) for var in some)
    moved: list[float] = []
    lockstep(
        program,
        finite(program, 3, leaves={"x": x}),
        finite(program, 3, leaves={"x": x}, base=True),
        vars=(),
        listener=lambda position, statement, pair: moved.append(float((pair[0] - pair[1]).abs().max())),
    )
    assert moved == pytest.approx([0, 0, 0, 0.5, 1.5, 1.0])


def test_leaves_are_drawn_from_their_laws_reproducibly_and_each_from_a_stream_of_its_own() -> None:
    b = Builder()
    half = Scaling.of(1.0, Fraction(-1, 2))
    laws = {
        "normal": Law("normal", Scaling(()), half),
        "uniform": Law("uniform", ONE, half),
        "bernoulli": Law("bernoulli", Scaling.of(0.25)),
        "constant": Law("constant", Scaling.of(3)),
        "zero": Law("zero"),
    }
    for name, law in laws.items():
        b.leaf(Leaf("random", name, law), (N, N))
    program = b.build()
    normal, uniform, bernoulli, constant, zero = run(program, 200, seed=1).values()
    # 40000 entries: a relative error of 1/sqrt(2*40000) = 0.0035 in a standard deviation; 5 of them allowed
    assert normal.std().item() == pytest.approx(200**-0.5, rel=0.018)
    assert uniform.std().item() == pytest.approx(200**-0.5 / 3**0.5, rel=0.018)
    assert uniform.mean().item() == pytest.approx(1, abs=5 * 200**-0.5 / 200)
    assert bernoulli.mean().item() == pytest.approx(0.25, abs=5 * 0.44 / 200)
    assert torch.equal(constant, torch.full((200, 200), 3.0, dtype=torch.float64))
    assert not zero.any()
    assert torch.equal(normal, run(program, 200, seed=1)[0])
    assert not torch.equal(normal, run(program, 200, seed=2)[0])


def test_missing_data_are_named_with_their_source_line() -> None:
    b = Builder()
    b.at(source=Source("train.py", 7, "x = load()"))
    b.leaf(Leaf("data", "x", DATA), (N,))
    with pytest.raises(ReadingError, match=r"(?s)the leaf x is data.*train\.py:7"):
        run(b.build(), 3)


def test_a_leaf_of_another_shape_or_name_is_refused() -> None:
    program = _descent()
    with pytest.raises(ReadingError, match=r"shape \(2,\); expected \(3,\)"):
        run(program, 3, leaves={"x": torch.ones(2)})
    with pytest.raises(ValueError, match="no such leaves"):
        run(program, 3, leaves={"y": torch.ones(2)})


def test_a_dim_that_is_not_whole_at_the_width_is_refused() -> None:
    b = Builder()
    b.leaf(Leaf("parameter", "w", NORMAL), (Scaling.of(Fraction(1, 8), 1),))
    with pytest.raises(ReadingError, match="not a whole number"):
        run(b.build(), 12)


@given(st.permutations([0, 1, 2]), st.integers(0, 2), st.booleans(), st.integers(1, 3), st.integers(1, 3))
def test_from_view_is_the_inverse_of_to_view(order: list[int], cut: int, inner: bool, first: int, second: int) -> None:
    """dims: some grouping of permuted axes; pieces: a grid of `first` x `second` along two factors."""
    dims = (tuple(order[:cut]), (), tuple(order[cut:]))
    grid = (Factor(0, 0, first), Factor(2, len(dims[2]) if inner else 0, second))
    view = View(tuple(range(first * second)), dims, 0, grid)
    shape = (2, 3, 4)
    values = [torch.randn(shape) for _ in view.pieces]
    tensor = to_view(view, values)
    assert tensor.numel() == 24 * first * second
    back = from_view(view, tensor, dict.fromkeys(view.pieces, shape))
    assert all(torch.equal(back[piece], values[piece]) for piece in view.pieces)


def test_a_view_in_pieces_is_the_tensor_that_chunk_takes_apart() -> None:
    tensor = torch.randn(6, 4)
    view = View((0, 1, 2), ((0,), (1,)), stacked=0)
    assert torch.equal(to_view(view, list(tensor.chunk(3))), tensor)
