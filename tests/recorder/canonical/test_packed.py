"""Mirrors tpdyn/recorder/canonical/packed.py: dims of parts of different sizes are written part by part. All verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
from written_scripts import ONE, Script, kinds, made, shapes

from tpdyn.exponents import Scaling
from tpdyn.program.check import script_shape
from tpdyn.program.instructions import Apply, Combine, Contract, Law, Leaf, Operand
from tpdyn.program.program import Program
from tpdyn.recorder.fitting.widths import FitError


def test_a_weight_is_one_leaf_for_each_part_and_one_parameter() -> None:
    """As in Mamba-2: a wide part, two fixed ones, a wide one; the middle is cut again."""

    def build(s: Script, n: int) -> None:
        rows = 2 * n + 6 + n // 2
        out = s.linear(s.leaf("x", 5, n), s.leaf("w", rows, n))
        middle = s.cut(out, 1, n, n + 6)
        inner, b = s.cut(middle, 1, 0, n), s.cut(middle, 1, n, 2)
        s.add(Apply("tanh", (s.full(inner),)), 5, n)
        s.add(Apply("tanh", (s.full(b),)), 5, 2)
        s.cut(middle, 1, n + 2, 4)
        s.cut(out, 1, 2 * n + 6, n // 2)

    program = made(build).program
    assert shapes(program) == {
        "x": "5, n", "w[0:n]": "n, n", "w[n:2*n]": "n, n", "w[2*n:2*n+2]": "2, n", "w[2*n+2:2*n+6]": "4, n",
        "w[2*n+6:5/2*n+6]": "n/2, n",
    }  # fmt: skip
    assert kinds(program) == {"Leaf", "Contract", "Apply"}
    (w,) = [parameter for parameter in program.parameters if parameter.name == "w"]
    assert [str(dim) for dim in script_shape(program, w.versions[0])] == ["5/2*n + 6", "n"]
    assert Program.from_json(program.to_json()) == program


def test_a_sum_over_a_packed_dim_is_a_sum_of_sums() -> None:
    """Of products, with a bias. Columns of a weight are packed as rows are."""

    def build(s: Script, n: int) -> None:
        joined = s.cat([s.leaf("a", 5, n), None, s.leaf("b", 5, 3)], [n, 4, 3], 1, 5, n + 7)
        shifted = s.add(Combine(((ONE, s.full(joined)), (ONE, Operand(s.leaf("bias", n + 7), (1,))))), 5, n + 7)
        s.linear(shifted, s.leaf("w", 6, n + 7))
        s.add(Contract((Operand(shifted, (0, 2)), Operand(shifted, (1, 2)))), 5, 5)

    program = made(build).program
    assert "w[:,0:n]" in shapes(program) and "bias[n+4:n+7]" in shapes(program)


def test_a_packed_part_lies_behind_another() -> None:
    """As in the gradient of Mamba-2's projection: that of the gate, then that of all that is convolved."""

    def build(s: Script, n: int) -> None:
        middle = s.cat([s.leaf("inner", 5, n), s.leaf("b", 5, 3)], [n, 3], 1, 5, n + 3)
        s.cat([s.leaf("gate", 5, 2 * n), middle, s.leaf("dt", 5, n)], [2 * n, n + 3, n], 1, 5, 4 * n + 3)

    assert kinds(made(build).program) == {"Leaf"}


def test_a_packed_dim_is_regrouped_from_outside() -> None:
    """As in Falcon with more and more heads: rows of n + 2 heads, of 4 entries each."""

    def build(s: Script, n: int) -> None:
        flat = s.linear(s.leaf("x", 5, n), s.leaf("w", 4 * (n + 2), n))
        heads = s.view(flat, 5, n + 2, 4)
        s.cut(heads, 1, 0, n)
        s.select(heads, 1, n)
        s.cut(heads, 1, n + 1, 1)
        s.view(s.add(Apply("tanh", (s.full(heads),)), 5, n + 2, 4), 5, 4 * (n + 2))

    assert shapes(made(build).program) == {
        "x": "5, n", "w[0:4*n]": "n, 4, n", "w[4*n:4*n+4]": "4, n", "w[4*n+4:4*n+8]": "4, n",
    }  # fmt: skip


def test_a_packed_dim_may_be_repeated() -> None:
    """As heads in multi-head latent attention, a growing part and a fixed one each; taken apart, and put together again."""

    def build(s: Script, n: int) -> None:
        flat = s.linear(s.leaf("x", 5, n), s.leaf("w", 2 * (n + 3), n))
        heads = s.permute(s.view(flat, 5, 2, n + 3), 1, 0, 2)
        s.add(Contract((Operand(heads, (0, 1, 3)), Operand(heads, (0, 2, 3)))), 2, 5, 5)
        s.cut(heads, 2, 0, n)
        back = s.cat([None, s.cut(heads, 2, n, 3)], [n, 3], 2, 2, 5, n + 3)
        both = s.add(Combine(((ONE, s.full(heads)), (ONE, s.full(back)))), 2, 5, n + 3)
        s.view(s.permute(both, 1, 0, 2), 5, 2 * (n + 3))

    assert shapes(made(build).program) == {
        "x": "5, n", "w[0:n]": "n, n", "w[n:n+3]": "3, n", "w[n+3:2*n+3]": "n, n", "w[2*n+3:2*n+6]": "3, n",
    }  # fmt: skip


@pytest.mark.parametrize("root", [1, 2, 4])
def test_a_product_may_be_divided_by_a_root_of_the_number_of_entries(root: int) -> None:
    """No root of a sum of two powers of the width is such a sum. It is a number of the program."""

    def build(s: Script, n: int) -> None:
        x, y = (s.cat([s.leaf(f"a{k}", 5, n), s.leaf(f"b{k}", 5, 3)], [n, 3], 1, 5, n + 3) for k in range(2))
        s.add(Contract((Operand(x, (0, 2)), Operand(y, (1, 2))), Scaling.of(2 * (n + 3) ** (-1 / root))), 5, 5)

    program = made(build).program
    (power,) = [s.instruction for s in program.statements if isinstance(s.instruction, Apply)]
    assert power.function == ("reciprocal" if root == 1 else "power")
    assert "3*n^-1" in program.show()


def _softmax(s: Script, n: int) -> None:
    both = s.cat([s.leaf("a", 5, n), s.leaf("b", 5, 3)], [n, 3], 1, 5, n + 3)
    s.add(Apply("softmax", (s.full(both),), along=1), 5, n + 3)


def _inside(s: Script, n: int) -> None:
    both = s.cat([s.leaf("a", n, n), s.leaf("b", n, 3)], [n, 3], 1, n, n + 3)
    s.view(both, n * (n + 3))


def _neighbours(s: Script, n: int) -> None:
    x = s.leaf("x", 5, n)
    s.add(Combine(((ONE, s.full(s.cut(x, 1, 1, n - 1))), (ONE, s.full(s.cut(x, 1, 0, n - 1))))), 5, n - 1)


def _half_a_head(s: Script, n: int) -> None:
    flat = s.leaf("x", 5, 4 * n + 8)
    s.cut(flat, 1, 0, 4 * n + 2)
    s.view(flat, 5, n + 2, 4)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (_softmax, "needed as a whole.*softmax.*net.py:3"),
        (_inside, "makes it one with others.*net.py:3"),
        (_neighbours, "would have more than 64 parts|no power of the width"),
        (_half_a_head, "no multiple of 4"),
    ],
)
def test_what_needs_a_packed_dim_as_a_whole_is_refused(build: Callable[[Script, int], object], why: str) -> None:
    with pytest.raises(FitError, match=rf"(?s)outside the theory.*cannot be followed one by one.*({why})") as error:
        made(build)
    assert error.value.outside


def test_a_draw_of_which_one_part_is_read_is_drawn_as_a_whole() -> None:
    """And data are no draws: a part of them may be of another size."""

    def build(s: Script, n: int, kind: Literal["random", "data"]) -> None:
        noise = s.leaf("noise", 5, n + 3)
        law = Law("normal", scale=ONE) if kind == "random" else Law("data")
        s.lowered.statements[noise] = replace(s.lowered.statements[noise], instruction=Leaf(kind, "noise", law))
        s.lowered.parameters.clear()
        s.cut(noise, 1, 0, n)

    assert shapes(made(lambda s, n: build(s, n, "random")).program) == {
        "noise[:,0:n]": "5, n",
        "noise[:,n:n+3]": "5, 3",
    }
    with pytest.raises(FitError, match=r"(?s)without a common measure.*its entries are given.*Leaf noise.*net.py:0"):
        made(lambda s, n: build(s, n, "data"))


def test_parts_of_an_orthogonal_matrix_are_read_as_independent_entries() -> None:
    def build(s: Script, n: int) -> None:
        w = s.leaf("w", n + 3, n)
        leaf = Leaf("parameter", "w", Law("orthogonal", scale=Scaling.of((n + 3) ** -0.5)))
        s.lowered.statements[w] = replace(s.lowered.statements[w], instruction=leaf)
        s.cut(w, 0, 0, n)

    assert {s.instruction.law.kind for s in made(build).program.statements if isinstance(s.instruction, Leaf)} == {
        "iid"
    }
