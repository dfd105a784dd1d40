"""What does a network predict that is a Gaussian process, or that trains in the kernel regime? Closed forms from its kernels.

Infinitely wide networks are Gaussian processes at initialisation (`gp_predict`: the posterior, exact Bayesian inference). In
the kernel regime their outputs follow linear dynamics under gradient flow or descent (`ntk_predict`), from a random start. The
mean and the covariance over initialisations are known at every time. Source: Lee et al. (arXiv 1902.06720), section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class Prediction:
    """Outputs on test inputs: their mean "test outputs", and their covariance "test test" where it was asked for.

    Outputs are independent of each other and alike, so one covariance serves them all.
    """

    mean: Tensor
    covariance: Tensor | None = None


def gp_predict(
    train_train: Tensor, y: Tensor, test_train: Tensor, test_test: Tensor | None = None, *, ridge: float = 0.0
) -> Prediction:
    """Compute the posterior of a Gaussian process.

    Args:
        train_train: the kernel on training inputs, "train train". y: targets, "train outputs".
        test_train: "test train". test_test: "test test", for the covariance.
        ridge: added to the diagonal, relative to the mean of the diagonal.

    Raises:
        ValueError: shapes that do not fit together; a kernel that is not positive definite.

        kernel = tpdyn.nngp(make, x_train)
        mean = tpdyn.gp_predict(kernel, y, tpdyn.nngp(make, x_test, x_train)).mean
    """
    _fit(train_train, y, test_train, test_test)
    try:
        root = torch.linalg.cholesky(_ridged(train_train, ridge))
    except RuntimeError as error:
        raise ValueError(
            "the kernel on the training inputs is not positive definite (equal inputs? float32?); use float64, or ridge=1e-6"
        ) from error
    mean = test_train @ torch.cholesky_solve(_matrix(y), root)
    if test_test is None:
        return Prediction(mean)
    half = torch.linalg.solve_triangular(root, test_train.T, upper=False)
    return Prediction(mean, test_test - half.T @ half)


def ntk_predict(
    train_train: Tensor,
    y: Tensor,
    test_train: Tensor,
    *,
    t: float = math.inf,
    rate: float = 1.0,
    method: Literal["flow", "descent"] = "flow",
    start: tuple[Tensor, Tensor] | None = None,
    nngp: tuple[Tensor, Tensor, Tensor] | None = None,
    ridge: float = 0.0,
) -> Prediction:
    """Compute outputs at time t of training in the kernel regime, on the loss `mean over samples and outputs of (f - y)^2 / 2`.

    Args:
        train_train, test_train: tangent kernels. y: targets, "train outputs".
        t: the time (for "descent": the number of steps); infinity for the end of training.
        rate: the learning rate.
        method: "flow" (gradient flow) or "descent" (full-batch gradient descent).
        start: outputs at initialisation on training and test inputs; zero (the mean over initialisations) unless given.
        nngp: the output's covariance at initialisation, (train train, test train, test test), for the covariance.
        ridge: added to the diagonal, relative to the mean of the diagonal.

    Raises:
        ValueError: shapes that do not fit together, a negative time, or a rate at which descent diverges.
    """
    _fit(train_train, y, test_train, None)
    targets = _matrix(y)
    if math.isnan(t) or t < 0 or rate <= 0:
        raise ValueError(f"t = {t}, rate = {rate}; expected t >= 0 and rate > 0")
    values, vectors = torch.linalg.eigh(_ridged(train_train, ridge))
    speed = rate / targets.numel()
    if method == "descent" and speed * float(values[-1]) > 2:
        raise ValueError(
            f"gradient descent diverges: rate {rate} is above {2 * targets.numel() / float(values[-1]):.4g}. That is two over the "
            "largest eigenvalue of the kernel (over samples and outputs). Use a smaller rate"
        )
    gone = _integrated(values, speed, t, method)
    moves = (test_train @ vectors) * gone @ vectors.T  # how test outputs follow residuals at the start
    first, first_test = (
        start if start is not None else (torch.zeros_like(targets), targets.new_zeros(len(test_train), 1))
    )
    mean = _matrix(first_test) - moves @ (_matrix(first) - targets)
    if nngp is None:
        return Prediction(mean)
    k, k_test, k_both = nngp
    cross = moves @ k_test.T
    return Prediction(mean, k_both + moves @ k @ moves.T - cross - cross.T)


def _integrated(values: Tensor, speed: float, t: float, method: str) -> Tensor:
    """Compute `(1 - decay(t)) / eigenvalue`: what has been learnt of each eigenvector, over its eigenvalue; finite at zero."""
    positive = values.clamp_min(torch.finfo(values.dtype).tiny)
    if math.isinf(t):
        floor = float(values[-1]) * len(values) * torch.finfo(values.dtype).eps
        return torch.where(values > floor, 1 / positive, torch.zeros_like(values))
    if method == "descent":
        return (1 - (1 - speed * values) ** t) / positive
    return torch.where(
        values * speed * t > 1e-12, -torch.expm1(-speed * t * values) / positive, speed * t * torch.ones_like(values)
    )


def _ridged(kernel: Tensor, ridge: float) -> Tensor:
    if ridge < 0:
        raise ValueError(f"ridge = {ridge}; expected a number that is not negative")
    if ridge == 0:
        return kernel
    return kernel + ridge * kernel.diagonal().mean() * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)


def _matrix(y: Tensor) -> Tensor:
    return y[:, None] if y.dim() == 1 else y


def _fit(train_train: Tensor, y: Tensor, test_train: Tensor, test_test: Tensor | None) -> None:
    n = len(train_train)
    right = train_train.shape == (n, n) and len(y) == n and test_train.dim() == 2 and test_train.shape[1] == n
    if not right or (test_test is not None and test_test.shape != (len(test_train),) * 2):
        both = "" if test_test is None else f", test_test {tuple(test_test.shape)}"
        raise ValueError(
            f"train_train {tuple(train_train.shape)}, y {tuple(y.shape)}, test_train {tuple(test_train.shape)}{both}; expected "
            '"train train", "train outputs", "test train" and "test test"'
        )
