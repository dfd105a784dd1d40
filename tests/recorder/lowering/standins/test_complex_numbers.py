"""Do complex operations, lowered as pairs of real ones, give the values of the live script, forward and backward?

Scripts run in float64, so that the lowered program must agree to 1e-10 of each tensor's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import tpdyn
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import verify_tape
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering import LoweringError, lower
from tpdyn.recorder.lowering.evaluate import evaluate


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Two(nn.Module):
    """Two parameters of shape (2, 3, 4), complex ones where `dtype` says so, and a real function of them."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.x, self.y = (
            nn.Parameter(torch.randn(2, 3, 4, dtype=dtype)),
            nn.Parameter(torch.randn(2, 3, 4, dtype=dtype)),
        )
        self.function = function

    def forward(self) -> Tensor:
        return self.function(self.x, self.y)


def agreeing(
    function: Callable[[Tensor, Tensor], Tensor],
    dtype: torch.dtype = torch.float64,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
) -> Lowered:
    """Two steps on a generic linear form of the function, lowered; each named value is what the script had."""

    def train(width: int) -> None:
        model = Two(function, dtype)
        steps = optimizer(model.parameters(), lr=0.1)
        while True:
            steps.zero_grad()
            out = model()
            (out * torch.linspace(-1.0, 1.3, out.numel()).reshape(out.shape)).sum().backward()
            steps.step()

    tape = record_tape(train, 4, 2, 0)
    verify_tape(tape)
    lowered = lower(tape)
    values = evaluate(lowered)
    assert len(lowered.live) > 3
    for position, live in lowered.live.items():
        assert float((values[position] - live).abs().max()) <= 1e-10 * max(1.0, float(live.abs().max()))
    return lowered


def z(x: Tensor) -> Tensor:
    """The first half of x as real part, the second as imaginary part."""
    return torch.complex(x[0], x[1])


TABLE = torch.polar(torch.ones(3, 2, dtype=torch.float64), torch.arange(6, dtype=torch.float64).view(3, 2))

FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rotation": lambda x, y: torch.view_as_real(torch.view_as_complex(x.view(2, 3, 2, 2)) * TABLE).flatten(2) * y,
    "product": lambda x, y: torch.view_as_real(z(x) * z(y)),
    "quotient": lambda x, y: torch.view_as_real(z(x) / z(y)),
    "quotient by a real": lambda x, y: torch.view_as_real(z(x) / (1 + y[0] ** 2) - z(y) / 2),
    "inverse": lambda x, y: torch.view_as_real(2 / z(x) + z(y).reciprocal()),
    "sum and difference with reals": lambda x, y: torch.view_as_real(z(x) - 2 * z(y) + y[1] + 0.5 - (1 - z(x))),
    "product with reals": lambda x, y: torch.view_as_real(z(x) * y[0] * 3),
    "complex numbers": lambda x, y: torch.view_as_real(z(x) * (0.5 + 2j) + 1j * y[0]),
    "conjugates": lambda x, y: (z(x).conj() * z(y)).real + (z(x) * z(y).conj()).conj().imag,
    "conjugates resolved": lambda x, y: torch.view_as_real((z(x).conj().resolve_conj() + z(y)).conj_physical()),
    "imaginary part of a conjugate": lambda x, y: z(x).conj().imag * z(y).imag + z(y).mH.real.t(),
    "sizes": lambda x, y: z(x).abs() * z(y).abs() ** 2,
    "angles": lambda x, y: z(x).angle() + torch.atan2(y[0], y[1]),
    "directions": lambda x, y: torch.view_as_real(z(x).sgn() * z(y)),
    "polar": lambda x, y: torch.view_as_real(torch.polar(x[0].abs(), x[1]) * z(y)),
    "exponential": lambda x, y: torch.view_as_real(torch.exp(z(x) * 1j) * z(y)),
    "logarithm": lambda x, y: torch.view_as_real(torch.log(z(x)) * z(y)),
    "powers": lambda x, y: torch.view_as_real(z(x) ** 3 + z(y) ** -2 + z(x).square()),
    "matrices": lambda x, y: torch.view_as_real(z(x) @ z(y).mT @ torch.ones(3, 2, dtype=torch.complex128)),
    "batches of matrices": lambda x, y: torch.view_as_real(torch.einsum("bi,bij->bj", z(x), z(y).view(3, 2, 2).repeat(1, 2, 1))),
    "vectors": lambda x, y: torch.view_as_real(torch.dot(z(x)[0], z(y)[0]) * torch.vdot(z(x)[1], z(y)[1])),
    "outer product": lambda x, y: torch.view_as_real(torch.outer(z(x)[0], z(y)[1].conj())),
    "matrices and an addend": lambda x, y: torch.view_as_real(torch.addmm(z(x), z(y)[:, :3], z(x), alpha=2.0)),
    "sums and means": lambda x, y: torch.view_as_real(z(x).sum(0) * z(y).mean(0, keepdim=True) + z(x).mean()),
    "cumulative sums": lambda x, y: torch.view_as_real(z(x).cumsum(0) * z(y)),
    "laid together": lambda x, y: torch.view_as_real(torch.cat([z(x), z(y), z(x)[:1]]).sum(0) + torch.stack([z(x), z(y)])[:, 1]),
    "looked up": lambda x, y: torch.view_as_real(z(x)[torch.tensor([1, 0, 1])] * z(y).index_select(0, torch.tensor([2, 1, 0]))),
    "chosen": lambda x, y: torch.view_as_real(torch.where(x[0] > 0, z(x), z(y)).masked_fill(y[1] > 1, 0.0)),
    "written": lambda x, y: torch.view_as_real(written(z(x), z(y))),
    "a recurrence": lambda x, y: recurrence(z(x), z(y)).real,
    "transform of reals": lambda x, y: torch.view_as_real(torch.fft.rfft(x, dim=1) * torch.fft.rfft(y, n=4, dim=-1)[:, :2, :1]),
    "there and back": lambda x, y: torch.fft.irfft(torch.fft.rfft(x, n=8) * torch.fft.rfft(y, n=8), n=8)[..., :4],
    "there and back, odd": lambda x, y: torch.fft.irfft(torch.fft.rfft(x, dim=1) * 2, n=3, dim=1, norm="ortho") * y,
    "transforms of two dims": lambda x, y: torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real * y + torch.fft.fft2(y).imag,
    "inverse transform": lambda x, y: torch.view_as_real(torch.fft.ifft(z(x), norm="ortho") * z(y)),
}  # fmt: skip


def written(x: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[0] = x[1] * y[0]
    out[1:, ::2] = y[1:, ::2]
    out[1:, 1] *= 2
    return out + x


def recurrence(decay: Tensor, push: Tensor) -> Tensor:
    """A diagonal state-space layer: h = exp(a) h + x."""
    h = torch.zeros(4, dtype=torch.complex128)
    states = []
    for t in range(3):
        h = torch.exp(torch.complex(-decay[t].real.exp(), decay[t].imag)) * h + push[t]
        states.append(h)
    return torch.stack(states)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_complex_functions_of_real_parameters_give_the_live_values(name: str) -> None:
    agreeing(FUNCTIONS[name])


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_complex_parameters_are_two_real_ones(optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    lowered = agreeing(lambda x, y: (x * y.conj()).real + (x @ y.mT).abs().mean(), torch.complex128, optimizer)
    assert [p.name for p in lowered.parameters] == ["x.real", "x.imag", "y.real", "y.imag"]
    assert all(len(p.versions) == 3 and len(p.gradients) == 2 for p in lowered.parameters)


def test_the_law_of_a_complex_draw_is_that_of_its_parts() -> None:
    lowered = agreeing(lambda x, y: (x * y).real, torch.complex128)
    laws = [lowered.statements[p.versions[0]].instruction.law for p in lowered.parameters]  # type: ignore[union-attr]
    assert {law.kind for law in laws} == {"normal"}
    assert [float(law.scale.constant) for law in laws] == pytest.approx([0.5**0.5] * 4)


def test_a_complex_operation_without_a_rule_is_named_with_its_line() -> None:
    with pytest.raises(
        LoweringError, match=r"no rule for aten.tanh.default of complex numbers at .*test_complex_numbers"
    ):
        agreeing(lambda x, y: torch.tanh(z(x)).real * y[0])


def test_a_power_of_complex_numbers_that_is_not_whole_is_refused() -> None:
    with pytest.raises(LoweringError, match="a power of complex numbers other than a small whole one"):
        agreeing(lambda x, y: (z(x) ** 0.5).real * y[0])


def test_a_transform_over_the_width_is_outside_the_theory_and_one_over_tokens_is_not() -> None:
    def script(dim: int) -> Callable[[int], None]:
        def train(width: int) -> None:
            first, last = nn.Linear(2, width), nn.Linear(width, 1)
            steps = torch.optim.SGD([*first.parameters(), *last.parameters()], lr=0.1)
            x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
            while True:
                steps.zero_grad()
                last(torch.fft.fft(torch.tanh(first(x)), dim=dim).real).square().mean().backward()
                steps.step()

        return train

    over_width, over_tokens = (tpdyn.predict(tpdyn.record(script(d), widths=(8, 12, 20), steps=2)) for d in (1, 0))
    assert not over_tokens.outside
    assert "a fixed matrix both of whose dims grow" in over_width.outside[0].text
    assert "torch.fft.fft" in over_width.outside[0].source.text
