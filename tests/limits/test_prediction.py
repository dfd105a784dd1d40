"""Mirrors tpdyn/limits/prediction.py: closed forms are those of plain linear algebra, and of steps taken one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import tpdyn
from tpdyn.limits.prediction import gp_predict, ntk_predict


def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A kernel on 5 training and 3 test inputs, and targets of two outputs."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 12, generator=generator, dtype=torch.float64)
    kernel = features @ features.T / 12
    return kernel[:5, :5], torch.randn(5, 2, generator=generator, dtype=torch.float64), kernel[5:, :5], kernel[5:, 5:]


def test_the_posterior_is_that_of_plain_linear_algebra() -> None:
    k, y, k_test, k_both = problem()
    found = gp_predict(k, y, k_test, k_both, ridge=0.1)
    inverse = torch.linalg.inv(k + 0.1 * k.diagonal().mean() * torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(found.mean, k_test @ inverse @ y)
    torch.testing.assert_close(found.covariance, k_both - k_test @ inverse @ k_test.T)


def test_descent_is_what_its_steps_give_one_by_one() -> None:
    k, y, k_test, _ = problem()
    start = torch.ones(5, 2, dtype=torch.float64), -torch.ones(3, 2, dtype=torch.float64)
    train, test = start
    for _ in range(7):
        residual = train - y
        train, test = train - 0.5 / 10 * k @ residual, test - 0.5 / 10 * k_test @ residual
    found = ntk_predict(k, y, k_test, t=7, rate=0.5, method="descent", start=start)
    torch.testing.assert_close(found.mean, test)


def test_flow_ends_at_interpolation_and_starts_at_the_start() -> None:
    k, y, k_test, _ = problem()
    torch.testing.assert_close(ntk_predict(k, y, k).mean, y)
    torch.testing.assert_close(ntk_predict(k, y, k_test, t=0).mean, torch.zeros(3, 2, dtype=torch.float64))
    torch.testing.assert_close(ntk_predict(k, y, k_test, t=1e6).mean, ntk_predict(k, y, k_test).mean)


def test_the_covariance_is_that_of_networks_started_at_random() -> None:
    """The mean is linear in the start, so its covariance is that of the map applied to the start's covariance."""
    k, y, k_test, k_both = problem()
    columns = []
    for index in range(8):
        unit = torch.zeros(8, 2, dtype=torch.float64)
        unit[index, 0] = 1
        moved = ntk_predict(k, y, k_test, t=3.0, start=(unit[:5], unit[5:])).mean
        columns.append((moved - ntk_predict(k, y, k_test, t=3.0).mean)[:, 0])
    linear = torch.stack(columns, 1)
    start = torch.cat([torch.cat([k, k_test.T], 1), torch.cat([k_test, k_both], 1)])
    found = ntk_predict(k, y, k_test, t=3.0, nngp=(k, k_test, k_both))
    torch.testing.assert_close(found.covariance, linear @ start @ linear.T)


class Perceptron(nn.Module):
    """One hidden layer in the NTK parametrization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.out = (nn.Parameter(torch.randn(shape)) for shape in ((width, 3), (1, width)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x @ self.enter.T / 3**0.5) @ self.out.T / self.out.shape[1] ** 0.5


def distance(width: int, seeds: int, seed: int = 0) -> float:
    """Root mean square, over networks of one width, of what training adds to the prediction from each one's own start."""
    generator = torch.Generator().manual_seed(0)
    x, x_test, y = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((6, 3), (4, 3), (6, 1)))
    k, k_test = tpdyn.ntk(Perceptron, x), tpdyn.ntk(Perceptron, x_test, x)
    generator.manual_seed(seed)
    enter, out = (torch.randn(seeds, width, size, generator=generator, dtype=torch.float64) for size in (3, 1))
    parameters = [each.requires_grad_() for each in (enter, out)]

    def outputs(x: Tensor) -> Tensor:
        return torch.erf(x @ enter.mT / 3**0.5) @ out / width**0.5

    start = outputs(x).detach(), outputs(x_test).detach()
    for _ in range(40):
        loss = 0.5 * (outputs(x) - y).square().mean((1, 2)).sum()
        for each, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            each.data.sub_(gradient)
    expected = [
        ntk_predict(k, y, k_test, t=40, rate=1.0, method="descent", start=each).mean
        for each in zip(*start, strict=True)
    ]
    return float((outputs(x_test).detach() - torch.stack(expected)).square().mean().sqrt())


def test_training_in_the_ntk_parametrization_approaches_the_prediction_as_the_width_grows() -> None:
    """16 times the width makes the distance four times smaller; over 20 seeds the ratio was 3.0 to 5.5."""
    far, near = distance(32, 24), distance(512, 24)
    assert near < 0.05
    assert 2.5 < far / near < 6.5


def test_a_flat_direction_of_the_kernel_stays_where_it_is() -> None:
    k = torch.ones(3, 3, dtype=torch.float64)
    y = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(ntk_predict(k, y, k).mean.flatten(), torch.full((3,), 2.0, dtype=torch.float64))


def test_what_cannot_be_is_refused() -> None:
    k, y, k_test, _ = problem()
    with pytest.raises(ValueError, match="diverges"):
        ntk_predict(k, y, k_test, rate=1e3, method="descent", t=3)
    with pytest.raises(ValueError, match="not positive definite"):
        gp_predict(torch.ones(5, 5, dtype=torch.float64), y, k_test)
    with pytest.raises(ValueError, match="train_train"):
        gp_predict(k, y[:3], k_test)
    with pytest.raises(ValueError, match="expected t >= 0"):
        ntk_predict(k, y, k_test, t=math.nan)
