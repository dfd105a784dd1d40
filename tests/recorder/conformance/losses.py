"""Losses of torch, with the weights, masks and mixtures that people give them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.case import Case, labels, numbers

CLASSES = labels(3, 4)
SOME = torch.tensor([0, -100, 2, 1])
SOFT = numbers(4, 3).softmax(-1)
BITS = (numbers(4, 3) > 0).float()
WEIGHTS = torch.tensor([0.5, 2.0, 1.0])


def mixup(logits: Tensor) -> Tensor:
    """The loss of two labels, in the proportion in which the inputs would be mixed."""
    share, other = np.random.default_rng(0).beta(0.4, 0.4), torch.randperm(4)
    return share * F.cross_entropy(logits, CLASSES) + (1 - share) * F.cross_entropy(logits, CLASSES[other])


def contrastive(z: Tensor) -> Tensor:
    """InfoNCE of the first two rows against the last two: each is to find its partner."""
    one, other = F.normalize(z, dim=-1).chunk(2)
    logits = one @ other.t() / 0.1
    target = torch.arange(2)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


def simclr(z: Tensor) -> Tensor:
    """NT-Xent over all pairs, each row's likeness to itself left out."""
    z = F.normalize(z, dim=-1)
    logits = (z @ z.t() / 0.5).masked_fill(torch.eye(4, dtype=torch.bool), -math.inf)
    return F.cross_entropy(logits, torch.tensor([2, 3, 0, 1]))


def off_diagonal(c: Tensor) -> Tensor:
    """As the public codes of Barlow Twins and VICReg cut it out."""
    n = len(c)
    return c.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()


def vicreg(z: Tensor) -> Tensor:
    """Two views alike, each entry spread out, and entries uncorrelated (Bardes et al., arXiv 2105.04906)."""
    n, (one, other) = z.shape[1], z.chunk(2)
    loss = 25 * F.mse_loss(one, other)
    for view in (one, other):
        view = view - view.mean(0)
        covariance = view.T @ view / (len(view) - 1)
        loss = loss + 25 * F.relu(1 - torch.sqrt(view.var(0) + 1e-4)).mean() / 2
        loss = loss + off_diagonal(covariance).pow_(2).sum().div(n)
    return loss


def barlow_twins(z: Tensor) -> Tensor:
    """The correlation of two views is the identity matrix (Zbontar et al., arXiv 2103.03230)."""
    norm, (one, other) = nn.BatchNorm1d(z.shape[1], affine=False), z.chunk(2)
    correlation = norm(one).T @ norm(other)
    correlation.div_(len(one))
    on_diagonal = torch.diagonal(correlation).add_(-1).pow_(2).sum()
    return on_diagonal + 0.0051 * off_diagonal(correlation).pow_(2).sum()


def whitened(z: Tensor) -> Tensor:
    """The distance of a covariance from the identity matrix, entries off the diagonal weighted."""
    distance = (z.T @ z / len(z) - torch.eye(z.shape[1])).pow(2)
    distance[~torch.eye(z.shape[1], dtype=torch.bool)] *= 0.1
    return distance.sum()


def clip(z: Tensor) -> Tensor:
    one, other = F.normalize(z, dim=-1).chunk(2)
    logits = one @ other.t() * torch.tensor(1 / 0.07).log().exp()
    return F.cross_entropy(logits, torch.arange(2))


def distilled(logits: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(logits / 2, -1), F.softmax(numbers(4, 3) / 2, -1), reduction="batchmean") * 4


def focal(logits: Tensor) -> Tensor:
    each = F.cross_entropy(logits, CLASSES, reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def dice(logits: Tensor) -> Tensor:
    p = logits.sigmoid()
    return 1 - (2 * (p * BITS).sum(0) + 1).div((p + BITS).sum(0) + 1).mean()


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross entropy, label smoothing": lambda x: F.cross_entropy(x, CLASSES, label_smoothing=0.1),
    "cross entropy, class weights": lambda x: F.cross_entropy(x, CLASSES, weight=WEIGHTS),
    "cross entropy, smoothing and weights": lambda x: F.cross_entropy(x, CLASSES, weight=WEIGHTS, label_smoothing=0.1),
    "cross entropy, ignore_index": lambda x: F.cross_entropy(x, SOME, ignore_index=-100),
    "cross entropy, ignored at random": lambda x: F.cross_entropy(
        x, torch.where(torch.rand(4) < 0.4, -1, CLASSES), ignore_index=-1
    ),
    "cross entropy of chances": lambda x: F.cross_entropy(x, SOFT),
    "cross entropy, rows masked by hand": lambda x: (
        (F.cross_entropy(x, CLASSES, reduction="none") * BITS[:, 0]).sum() / BITS[:, 0].sum()
    ),
    "mixup": mixup,
    "NLL": lambda x: F.nll_loss(F.log_softmax(x, -1), CLASSES, weight=WEIGHTS),
    "BCE": lambda x: F.binary_cross_entropy(x.sigmoid(), BITS),
    "BCE with logits": lambda x: F.binary_cross_entropy_with_logits(x, BITS, pos_weight=WEIGHTS),
    "KL, distillation": distilled,
    "MSE": lambda x: F.mse_loss(x, SOFT),
    "L1": lambda x: F.l1_loss(x, SOFT),
    "Huber": lambda x: F.huber_loss(x, SOFT, delta=0.3),
    "smooth L1": lambda x: F.smooth_l1_loss(x, SOFT, beta=0.3),
    "Poisson": lambda x: F.poisson_nll_loss(x, BITS),
    "Poisson, full": lambda x: F.poisson_nll_loss(x, BITS * 3, full=True),
    "Gaussian NLL": lambda x: F.gaussian_nll_loss(x, SOFT, F.softplus(x) + 0.1),
    "hinge embedding": lambda x: F.hinge_embedding_loss(x, 2 * BITS - 1),
    "soft margin": lambda x: F.soft_margin_loss(x, 2 * BITS - 1),
    "multi-label soft margin": lambda x: F.multilabel_soft_margin_loss(x, BITS),
    "multi margin": lambda x: F.multi_margin_loss(x, CLASSES),
    "margin ranking": lambda x: F.margin_ranking_loss(x[:, 0], x[:, 1], 2 * BITS[:, 0] - 1, margin=0.1),
    "triplet": lambda x: F.triplet_margin_loss(x[:2], x[1:3], x[2:]),
    "triplet by cosine": lambda x: F.triplet_margin_with_distance_loss(
        x[:2], x[1:3], x[2:], distance_function=lambda a, b: 1 - F.cosine_similarity(a, b)
    ),
    "cosine embedding": lambda x: F.cosine_embedding_loss(x[:2], x[2:], torch.tensor([1.0, -1.0])),
    "CTC": lambda x: F.ctc_loss(
        x.log_softmax(-1).unsqueeze(1), torch.tensor([[1, 2]]), torch.tensor([4]), torch.tensor([2])
    ),
    "focal": focal,
    "dice": dice,
    "contrastive": contrastive,
    "contrastive, NT-Xent": simclr,
    "contrastive, CLIP": clip,
    "VICReg": vicreg,
    "Barlow Twins": barlow_twins,
    "whitened": whitened,
    "policy gradient": lambda x: (
        -(torch.distributions.Categorical(logits=x).log_prob(CLASSES) * torch.tensor([1.0, -0.5, 2.0, 0.1])).mean()
    ),
    "policy gradient, clipped": lambda x: (
        -torch.min(
            (r := (F.log_softmax(x, -1).gather(1, CLASSES[:, None]).squeeze(1) + 1.1).exp()) * WEIGHTS[CLASSES],
            r.clamp(0.8, 1.2) * WEIGHTS[CLASSES],
        ).mean()
    ),
}
ON_FEATURES = ("contrastive", "triplet", "cosine", "VICReg", "Barlow", "whitened")
"""Losses of vectors that grow with the width (all others are of three numbers a row)."""


def training(loss: Callable[[Tensor], Tensor], outputs: int | None) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width if outputs is None else outputs))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = numbers(4, 4)
        for _ in range(5):
            optimizer.zero_grad()
            loss(model(x)).backward()
            optimizer.step()

    return train


def cases() -> list[Case]:
    return [
        Case("losses", name, "SGD", training(loss, None if name.startswith(ON_FEATURES) else 3))
        for name, loss in LOSSES.items()
    ]
