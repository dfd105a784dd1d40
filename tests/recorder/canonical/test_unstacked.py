"""Mirrors tpdyn/recorder/canonical/unstacked.py: parts of wide dims are written out, rows of images are not."""

from __future__ import annotations

import pytest
import torch
from written_scripts import ONE, Script, kinds, made, shapes

from tpdyn.program.instructions import Apply, Combine, Contract, Gather, Law, Leaf, Operand
from tpdyn.recorder.fitting.widths import FitError


def test_a_factor_of_a_wide_dim_is_written_out_only_where_a_cut_picks_from_it() -> None:
    def heads(s: Script, n: int, picks: bool) -> None:
        h = s.view(s.linear(s.leaf("x", 7, n), s.leaf("w", n, n)), 7, 4, n // 4)
        s.add(Apply("tanh", (s.full(s.select(h, 1, 2) if picks else h),)), *((7, n // 4) if picks else (7, 4, n // 4)))

    assert len(made(lambda s, n: heads(s, n, True)).program.parameter("w").versions[0].pieces) == 4
    assert len(made(lambda s, n: heads(s, n, False)).program.parameter("w").versions[0].pieces) == 1


def test_a_cut_of_tokens_is_a_slice_even_beside_a_wide_axis() -> None:
    def build(s: Script, n: int) -> None:
        s.cut(s.leaf("x", 7, n), 0, 0, 6)

    assert shapes(made(build).program) == {"x": "7, n"}


def test_rows_that_a_lookup_reads_are_not_written_out_though_flattening_makes_them_a_factor() -> None:
    """A padded image. A convolution looks up its rows, and they are a factor of the readout's n * 3 inputs."""

    def build(s: Script, n: int, looked_up: bool) -> None:
        x = s.leaf("x", 3, n)
        rows = s.cut(x, 0, 1, 2)
        if looked_up:
            index = s.add(Leaf("data", "index", Law("index")), 4, type="int")
            s.lowered.leaf_values[index] = torch.tensor([0, 2, 1, 1])
            s.add(Gather(Operand(x, (2, 1)), Operand(index, (0,)), 2), 4, n)
        w = s.leaf("w", 5, 3 * n)
        flat = s.view(x, 3 * n)
        s.add(Contract((Operand(flat, (1,)), Operand(w, (0, 1)))), 5)
        s.add(Combine(((ONE, s.full(rows)),)), 2, n)

    assert "Slice" in kinds(made(lambda s, n: build(s, n, True)).program)
    assert "Slice" not in kinds(made(lambda s, n: build(s, n, False)).program)


def test_a_value_in_too_many_pieces_is_refused_with_its_line() -> None:
    def build(s: Script, n: int) -> None:
        s.cut(s.leaf("w", 300 * n, 5), 0, 0, 7 * n)

    with pytest.raises(FitError, match=r"(?s)would be written out in 300 pieces.*net\.py:0"):
        made(build)
