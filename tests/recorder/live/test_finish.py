"""Mirrors tpdyn/recorder/live/finish.py: what nothing named depends on is dropped, and inputs are told apart."""

from __future__ import annotations

import torch
from torch import nn

from tpdyn.program.program import Origin
from tpdyn.recorder.live.finish import returned
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.tape import Node, Ref, Tape, TapeMark, behind


def node(*args: object, **kwargs: object) -> Node:
    return Node("aten.add.Tensor", None, args, kwargs, (), Origin())


def test_a_node_reads_the_refs_in_its_nested_arguments() -> None:
    assert node(1, Ref(3), [Ref(4), (Ref(5, 1), "x")], None, at=Ref(6)).reads == [Ref(3), Ref(4), Ref(5, 1), Ref(6)]


def test_ancestors_are_all_that_a_root_depends_on_by_arguments_of_either_kind() -> None:
    nodes = [node(), node(Ref(0)), node([Ref(1)]), node(Ref(0), out=Ref(2)), node(Ref(3))]
    assert set(behind(nodes, [Ref(3)])) == {0, 1, 2, 3}
    assert set(behind(nodes, [Ref(1), Ref(0)])) == {0, 1}


def recorded() -> Tape:
    built = nn.Linear(3, 4)  # a model from outside of the recording
    built.register_buffer("scale", torch.ones(4))
    data = torch.arange(6.0).reshape(2, 3)

    def train(width: int) -> None:
        noise = torch.randn(2, 3)  # data: nothing of the model depends on it
        first = nn.Linear(3, 4)
        optimizer = torch.optim.SGD([*first.parameters(), *built.parameters()], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            out = built(data + noise) * built.scale + first(data)
            out.exp().cosh()  # a metric that nobody keeps
            out.square().mean().backward()
            optimizer.step()

    return record_tape(train, 4, 2, seed=0)


def test_a_tape_keeps_what_is_named_and_names_what_it_keeps() -> None:
    tape = recorded()
    assert not any(each.op in ("aten.exp.default", "aten.cosh.default") for each in tape.nodes)
    inputs = {each.name: each.input_kind for each in tape.nodes if each.op == "input" and each.name}
    assert inputs["data"] == "data"
    assert "parameter" in inputs.values()
    for position, each in enumerate(tape.nodes):
        assert all(ref.node < position for ref in each.reads)


def test_what_is_drawn_before_training_is_initialisation_if_parameters_depend_on_it_and_data_if_not() -> None:
    tape = recorded()
    phases = {each.op: set() for each in tape.nodes if each.random}
    for each in tape.nodes:
        if each.random:
            phases[each.op].add(each.origin.phase)
    assert phases["aten.randn.default"] == {"data"}
    assert {"initialization"} in phases.values()


def test_every_parameter_has_a_gradient_for_each_step_and_a_version_more() -> None:
    tape = recorded()
    assert [(len(p.versions), len(p.gradients)) for p in tape.parameters] == [(3, 2)] * 4


def test_what_a_teacher_returns_is_no_output_though_it_is_called_first() -> None:
    marks = [TapeMark("output", "output", 0, Ref(0)), TapeMark("module", "Student", 0, Ref(1))]

    def kinds(**trained: bool) -> list[str]:
        return [mark.kind for mark in returned(marks, {name.replace("root", ""): it for name, it in trained.items()})]

    assert kinds(root=True, Student=True) == ["output", "module"]
    assert kinds(root=False, Student=True) == ["module", "module"]
    assert kinds(root=False, Student=False) == kinds(Student=True) == ["output", "module"]
