"""Mirrors tpdyn/reporting/graph.py: a node a statement, scoped by step, phase and module, coloured by its change."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.exponents import Order, show_order
from tpdyn.program.builder import Builder
from tpdyn.program.program import Program
from tpdyn.reporting.graph import device_of, graph_of


@pytest.mark.parametrize(
    ("order", "colour"),
    [(Fraction(1, 2), "grows"), (Fraction(0), "stays"), (Fraction(-1, 2), "vanishes"), (None, "vanishes")],
)
def test_the_colour_is_what_the_change_does(order: Order, colour: str) -> None:
    assert device_of(order) == f"/order/device:{colour}:0"


def test_every_statement_is_a_node_with_its_operands_formula_and_orders(program: Program) -> None:
    count = len(program.statements)
    graph = graph_of(program, [Fraction(0)] * count, [Fraction(1, 2)] * count)
    nodes = {node.name: node for node in graph.node}
    assert len(nodes) == count
    product = nodes["step_1/forward/fc2/h2_1"]
    assert list(product.input) == ["step_1/forward/fc2/a1_1", "initialization/fc2/fc2.weight"]
    assert nodes["step_1/forward/fc2/a1_1"].op == "tanh" and product.op == "Contract"
    assert nodes["initialization/fc2/fc2.weight"].op == "parameter leaf"
    assert product.attr["order of the change"].s == show_order(Fraction(1, 2)).encode()
    assert product.attr["source"].s.startswith(b"train.py:12")
    shape = product.attr["_output_shapes"].list.shape[0]
    assert [dim.size for dim in shape.dim] == [7, 40]  # at the largest recorded width


def test_equal_names_are_told_apart_and_odd_letters_replaced() -> None:
    b = Builder()
    b.at(phase="forward", module="bloc ks.0")
    x = b.data("x y", (3,))
    b.apply("tanh", x, name="h 0")
    b.apply("exp", x, name="h_0")
    program = b.build()
    names = [node.name for node in graph_of(program, [None] * 3, [None] * 3).node]
    assert names == ["step_0/forward/bloc_ks/0/x_y", "step_0/forward/bloc_ks/0/h_0", "step_0/forward/bloc_ks/0/h_0_2"]
