"""Slopes are those of sums that are known, and a wrong order is noticed."""

from dataclasses import replace
from fractions import Fraction

from growth import measured, too_fast

from tpdyn.claims.theorems import Abc
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Combine, Contract, Law, Leaf, Operand
from tpdyn.program.program import Parameter, Program, View
from tpdyn.readings.orders.reading import read
from tpdyn.readings.orders.terms import Term, Value
from tpdyn.testing.perceptrons import WIDE, mlp_program


def mean_square() -> Program:
    """A vector that is doubled in a step, and the mean of its squares."""
    build = Builder()
    build.at(phase="forward")
    first = build.leaf(Leaf("parameter", "v", Law("normal", Scaling(()), Scaling.of(1))), (WIDE,))
    build.at(phase="optimizer")
    second = build.add(Combine(((Scaling.of(2), Operand(first, (0,))),)), (WIDE,))
    build.at(phase="forward", step=1)
    build.add(Contract((Operand(second, (0,)), Operand(second, (0,)))), (), name="square")
    build.parameters.append(Parameter("v", (View((first,), ((0,),)), View((second,), ((0,),))), (None,)))
    return build.build(steps=1)


def test_a_sum_of_squares_grows_with_the_width_and_so_does_its_change() -> None:
    growth = measured(mean_square(), (32, 512), 9)
    square = len(growth.size) - 1
    for slope in (growth.size[square], growth.change[square]):
        assert slope is not None
        assert abs(slope - 1) < 0.2
    assert growth.change[0] is None  # the leaf itself does not move


def test_an_order_that_is_too_small_is_noticed_in_size_and_in_change() -> None:
    program = mean_square()
    growth, orders = measured(program, (32, 512), 9), read(program)
    assert not too_fast(program, orders, growth)
    for wrong in (Value((Term(Fraction(1, 4)),), (Term(Fraction(1)),)), Value((Term(Fraction(1)),), ())):
        spoilt = replace(orders, values=(*orders.values[:-1], wrong))
        assert len(too_fast(program, spoilt, growth)) == 1


def test_no_value_of_a_trained_perceptron_outgrows_its_orders() -> None:
    half, zero = Fraction(1, 2), Fraction(0)
    kernel = Abc((zero, half, half), (zero, zero, zero), (zero, zero, zero))
    program = mlp_program(2, "tanh", "sgd", steps=2, point=kernel)
    assert not too_fast(program, read(program), measured(program, (32, 128), 4))
