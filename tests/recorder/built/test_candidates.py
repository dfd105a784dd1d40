"""Mirrors tpdyn/recorder/built/candidates.py: what data, targets and lookups meet does not grow, all else could."""

from __future__ import annotations

import pytest
import torch
from written_scripts import Script

from tpdyn.program.instructions import Apply, Gather, Law, Leaf, Operand
from tpdyn.recorder.built.candidates import Candidates, check_growth, find_candidates
from tpdyn.recorder.fitting.widths import FitError
from tpdyn.recorder.lowered import Lowered, LoweredMark


def network(n: int = 12, hidden: int = 20) -> Lowered:
    """Tokens looked up in a table of 7, a hidden layer, an output of 3."""
    s = Script(n)
    index = s.add(Leaf("data", "tokens", Law("index")), 5, type="int")
    s.lowered.leaf_values[index] = torch.arange(5)
    table = s.leaf("table", 7, n)
    x = s.add(Gather(Operand(table, (2, 1)), Operand(index, (0,)), 2), 5, n)
    h = s.add(Apply("tanh", (s.full(s.linear(x, s.leaf("up", hidden, n))),)), 5, hidden)
    out = s.linear(h, s.leaf("out", 3, hidden))
    s.lowered.marks = [LoweredMark("output", "output", 0, out)]
    return s.lowered


def test_tokens_rows_that_are_looked_up_and_outputs_are_fixed_with_their_reasons() -> None:
    found = find_candidates(network())
    assert found.wide == {"table": (False, True), "up": (True, True), "out": (False, True)}
    assert found.why == {"table:0": "looked up by an index", "out:0": "a dim of the output"}
    assert 5 in found.fixed and found.factors == {12, 20}


def test_what_is_declared_to_be_finite_is() -> None:
    assert find_candidates(network(), ("up:0",)).wide["out"] == (False, False)
    assert find_candidates(network(), fixed_sizes=frozenset({12})).wide["table"] == (False, False)
    assert find_candidates(network(), ("up:0",)).why["up:0"] == "declared to be finite"


def test_the_base_is_the_commonest_size_that_weights_read_and_its_unit_keeps_all_whole() -> None:
    found = find_candidates(network())
    assert found.base == 12  # table and up read 12, out reads 20
    assert found.unit(12) == 3  # at 3, what is 20 at 12 is 5
    assert find_candidates(network(), ("*",)).base is None


def test_a_softmax_and_a_picked_entry_fix_their_dim() -> None:
    def along(softmax: bool) -> Candidates:
        s = Script(12)
        h = s.linear(s.leaf("x", 5, 12), s.leaf("w", 20, 12))
        s.add(Apply("softmax", (s.full(h),), along=1), 5, 20) if softmax else s.select(h, 1, 3)
        s.lowered.marks = []
        return find_candidates(s.lowered)

    assert along(True).why["w:0"] == "what a softmax runs along"
    assert along(False).why["w:0"] == "an entry of it is picked"


def test_of_several_factors_of_a_dim_the_innermost_grows() -> None:
    s = Script(12)
    h = s.view(s.linear(s.leaf("x", 5, 12), s.leaf("w", 24, 12)), 5, 4, 6)
    s.add(Apply("tanh", (s.full(h),)), 5, 4, 6)
    s.lowered.marks = []
    found = find_candidates(s.lowered)
    assert found.wide["w"] == (True, True) and 6 in found.factors and 4 in found.fixed


def test_a_copy_whose_other_dims_grew_is_refused_with_the_line() -> None:
    found = find_candidates(network())
    right, wrong = network(24, 40), network(24, 44)
    check_growth(found, network(), right, 12)
    with pytest.raises(FitError, match=r"(?s)shape \(20, 12\) has shape \(44, 24\) at width 24; expected \(40, 24\)"):
        check_growth(found, network(), wrong, 12)
