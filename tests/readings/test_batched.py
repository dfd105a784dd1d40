"""Mirrors tpdyn/readings/batched.py: many seeds at once, the base program beside, are separate runs of `finite`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import ReadingError
from tpdyn.program.instructions import Apply, Combine, Contract, Law, Leaf, Operand
from tpdyn.program.program import Parameter, Program, View
from tpdyn.readings.batched import Batched
from tpdyn.readings.finite import finite
from tpdyn.readings.interpret import Pair, Rule, interpret, lockstep
from tpdyn.testing.strategies import training_programs

N = Scaling.of(1, 1)
ONE = Scaling.of(1)
NORMAL = Law("normal", Scaling(()), Scaling.of(1.0))


def heard(program: Program, rule: Rule[Pair[Tensor]]) -> dict[int, Pair[Tensor]]:
    """What a listener is told, copied: memory is used again."""
    found: dict[int, Pair[Tensor]] = {}

    def listener(position: int, statement: object, pair: Pair[Tensor]) -> None:
        one, base = (None if each is None else each.clone() for each in pair)
        found[position] = (one, base)

    interpret(program, rule, vars=(), listener=listener)
    return found


def position_of(program: Program, name: str) -> int:
    return next(k for k, statement in enumerate(program.statements) if statement.name == name)


def data_of(program: Program, width: int) -> dict[str, Tensor]:
    """Values for the leaves that have no law."""
    found, random = {}, torch.Generator().manual_seed(1)
    for statement in program.statements:
        leaf, shape = statement.instruction, tuple(dim.size_at(width) for dim in statement.shape)
        if isinstance(leaf, Leaf) and leaf.law.is_given and leaf.name not in program.arrays:
            real = torch.randn(shape, generator=random, dtype=torch.float64)
            found[leaf.name] = real if statement.type == "float" else (real > 0).long()
    return found


def separate(program: Program, width: int, seed: int, leaves: Mapping[str, Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    both = [finite(program, width, seed=seed, leaves=leaves, base=base) for base in (False, True)]
    return lockstep(program, *both)


def compare(
    program: Program, width: int, found: Mapping[int, Pair[Tensor]], seeds: Sequence[int], leaves: Mapping[str, Tensor]
) -> None:
    """Compare with separate runs; a product of two large values may cancel, so their round-off counts."""
    round_off = max(1e-9, 1e-13 * largest(found) ** 2)
    for number, seed in enumerate(seeds):
        alone = separate(program, width, seed, leaves)
        for position, pair in found.items():
            for mine, its in zip(pair, alone[position], strict=True):
                if mine is not None:
                    torch.testing.assert_close(
                        mine[min(number, len(mine) - 1)], its, rtol=1e-8, atol=round_off, equal_nan=True,
                        msg=lambda text, at=position: f"{program.statements[at].name}: {text}",
                    )  # fmt: skip


def largest(found: Mapping[int, Pair[Tensor]]) -> float:
    """The largest finite entry."""
    values = [each.double().abs().nan_to_num(0, 0) for pair in found.values() for each in pair if each is not None]
    return max((float(each.max()) for each in values if each.numel()), default=0.0)


def divides_round_off(program: Program, found: Mapping[int, Pair[Tensor]]) -> bool:
    """Whether Adam divides a gradient that cancels by what round-off leaves of it: then no two ways of summing agree."""
    inverses = (found[k][0] for k, each in enumerate(program.statements) if is_inverse(each.instruction))
    return any(each is not None and float(each.abs().max()) > 1e12 for each in inverses)


def is_inverse(instruction: object) -> bool:
    return isinstance(instruction, Apply) and instruction.function in ("reciprocal", "rsqrt")


def small() -> Program:
    """x (later version of w), with a function of it that nothing wanted reads."""
    b = Builder()
    w = b.leaf(Leaf("parameter", "w", NORMAL), (N, Scaling.of(3)))
    x = b.leaf(Leaf("data", "x", Law("data")), (Scaling.of(4), Scaling.of(3)))
    noise = b.leaf(Leaf("random", "noise", NORMAL), (N, Scaling.of(3)))
    later = b.add(Combine(((ONE, Operand(w, (0, 1))), (Scaling.of(0.1), Operand(noise, (0, 1))))), (N, Scaling.of(3)))
    out = b.add(Contract((Operand(x, (0, 2)), Operand(later, (1, 2)))), (Scaling.of(4), N), name="out")
    b.add(Apply("tanh", (Operand(out, (0, 1)),)), (Scaling.of(4), N), name="aside")
    b.parameters.append(Parameter("w", (View.plain(w, 2), View.plain(later, 2)), (None,)))
    return b.build(steps=1)


def test_seeds_lie_along_an_axis_in_front_and_only_what_is_wanted_is_computed() -> None:
    program, given_ = small(), {"x": torch.randn(4, 3, dtype=torch.float64)}
    seeds, out = (0, 5, 9), position_of(program, "out")
    found = heard(program, Batched(program, 6, (out,), leaves=given_).rule(seeds))
    assert found[position_of(program, "aside")] == (None, None)
    assert found[1][0].shape[0] == 1  # data: the same for every seed
    assert found[out][0].shape == (3, 4, 6)
    compare(program, 6, found, seeds, given_)


@given(training_programs())
@settings(max_examples=12)
def test_seeds_of_training_programs_are_the_separate_runs_to_round_off(program: Program) -> None:
    leaves = data_of(program, 8)
    batched = Batched(program, 8, range(len(program)), leaves=leaves)
    for seeds in ((3, 4), (5,)):  # prepared once
        found = heard(program, batched.rule(seeds))
        assume(not divides_round_off(program, found) and largest(found) < 1e5)  # nor explodes
        compare(program, 8, found, seeds, leaves)


def test_memory_is_used_again_only_where_nobody_reads_it_afterwards() -> None:
    b = Builder()
    x = b.leaf(Leaf("data", "x", NORMAL), (N,))
    w = b.leaf(Leaf("parameter", "w", NORMAL), (N,))
    later = b.add(Combine(((Scaling.of(0.5), Operand(w, (0,))),)), (N,), name="w_1")
    twice = b.add(Combine(((Scaling.of(2.0), Operand(x, (0,))),)), (N,), name="twice")  # the same in the base program
    same = b.add(Combine(((ONE, Operand(twice, (0,))),)), (N,), name="same")  # a view of it
    sum_ = b.add(Combine(((Scaling.of(3.0), Operand(twice, (0,))), (ONE, Operand(later, (0,))))), (N,), name="sum")
    square = b.add(Contract((Operand(sum_, (0,)), Operand(sum_, (0,)))), (N,), name="square")
    root = b.add(Apply("sqrt", (Operand(square, (0,)),)), (N,), name="root")
    end = b.add(Combine(((ONE, Operand(root, (0,))), (Scaling.of(4.0), Operand(same, (0,)))), ONE), (N,), name="end")
    b.add(Combine(((Scaling.of(2.0), Operand(w, (0,))),)), (N,), name="w again")
    b.parameters.append(Parameter("w", (View.plain(w, 1), View.plain(later, 1)), (None,)))
    program = b.build(steps=1)
    batched = Batched(program, 5, range(len(program)))
    assert batched.spent[root] == batched.spent[end] == 0
    assert sum_ not in batched.spent  # the base program reads `twice` once more, and the leaf instead of w_1
    compare(program, 5, heard(program, batched.rule((1, 2))), (1, 2), {})


def test_the_root_of_zero_is_zero_and_of_a_negative_number_none() -> None:
    b = Builder()
    x = b.leaf(Leaf("data", "x", Law("data")), (Scaling.of(4),))
    b.add(Apply("sqrt", (Operand(x, (0,)),)), (Scaling.of(4),), name="root")
    program = b.build()
    given_ = {"x": torch.tensor([0.0, 4.0, -1.0, float("inf")], dtype=torch.float64)}
    found = heard(program, Batched(program, 5, (1,), leaves=given_).rule((1,)))
    compare(program, 5, found, (1,), given_)
    assert found[1][0][0, 0] == 0


def test_a_dim_that_is_not_whole_is_refused_at_its_statement() -> None:
    b = Builder()
    b.leaf(Leaf("data", "x", NORMAL), (Scaling.of(Fraction(1, 8), 1),))
    program = b.build()
    with pytest.raises(ReadingError, match="not a whole number"):
        heard(program, Batched(program, 12, (0,)).rule((1,)))
