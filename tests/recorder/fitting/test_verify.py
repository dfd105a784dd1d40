"""Mirrors tpdyn/recorder/fitting/verify.py: round-off that a nearly singular matrix multiplies is told from a wrong program."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine
from tpdyn.recorder.canonical import Canonical, canonical
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting import verify
from tpdyn.recorder.fitting.verify import verify_program
from tpdyn.recorder.fitting.widths import fit
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.record import How, lowered_at


def train(width: int) -> None:
    """Inverse roots of sums of squares, kept from being singular by 1e-12 only."""
    model = nn.Sequential(nn.Linear(8, width, bias=False), nn.Tanh(), nn.Linear(width, 3, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    squares = {p: 1e-12 * torch.eye(len(p)) for p in model.parameters()}
    x, y = torch.randn(16, 8), torch.randint(0, 3, (16,))
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for p, square in squares.items():
            assert p.grad is not None
            square += p.grad @ p.grad.T
            values, vectors = torch.linalg.eigh(square)
            p.grad.copy_((vectors * values.clamp_min(1e-12) ** -0.5) @ vectors.T @ p.grad)
        optimizer.step()


@pytest.fixture(scope="module")
def recorded() -> tuple[Canonical, Lowered]:
    made = canonical(fit([lowered_at(train, width, How(3, 0, verify=False)) for width in (16, 24)]))
    return made, lowered_at(train, 56, How(3, 0, verify=False), double=True)


def test_the_round_off_of_a_nearly_singular_matrix_is_no_mismatch(
    recorded: tuple[Canonical, Lowered], monkeypatch: pytest.MonkeyPatch
) -> None:
    verify_program(*recorded)
    monkeypatch.setattr(verify, "RELATIVE", 1e-15)
    monkeypatch.setattr(verify, "ABSOLUTE", 0.0)
    verify_program(*recorded)  # nothing but the multiplied round-off is left to explain the differences
    monkeypatch.setattr(verify, "ROUND_OFF", 0)
    with pytest.raises(RecordingError, match="differs by up to"):
        verify_program(*recorded)


def test_a_wrong_constant_is_a_mismatch_all_the_same(recorded: tuple[Canonical, Lowered]) -> None:
    made, held_out = recorded
    position = made.program.parameters[0].versions[1].var
    statement = made.program.statements[position]
    combine = statement.instruction
    assert isinstance(combine, Combine)
    terms = tuple((scale * Scaling.of(1.001), operand) for scale, operand in combine.terms)
    wrong = replace(statement, instruction=replace(combine, terms=terms))
    statements = (*made.program.statements[:position], wrong, *made.program.statements[position + 1 :])
    with pytest.raises(RecordingError, match="after 1 steps"):
        verify_program(Canonical(replace(made.program, statements=statements), made.views), held_out)


def normalised(width: int) -> None:
    """A bias before a normalisation, whose gradient is zero: Adam divides its round-off by 1e-8, at a rate of 1."""
    model = nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width, affine=False), nn.Tanh(), nn.Linear(width, 3))
    nn.init.zeros_(model[0].bias)  # type: ignore[arg-type]
    rates = [{"params": [model[0].bias], "lr": 1.0}, {"params": [model[0].weight, *model[3].parameters()]}]
    optimizer = torch.optim.Adam(rates, lr=1e-3)
    x, y = torch.randn(16, 8), torch.randint(0, 3, (16,))
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def test_a_parameter_that_is_nothing_but_round_off_is_no_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    made = canonical(fit([lowered_at(normalised, width, How(2, 0, verify=False)) for width in (16, 24)]))
    held_out = lowered_at(normalised, 56, How(2, 0, verify=False), double=True)
    verify_program(made, held_out)
    monkeypatch.setattr(verify, "NOTHING", 0.0)
    with pytest.raises(RecordingError, match="bias after 1 steps differs by up to"):
        verify_program(made, held_out)
