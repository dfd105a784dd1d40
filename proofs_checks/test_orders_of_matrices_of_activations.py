"""A matrix that is made of vectors acts on vectors as an updated weight does.

Linear attention keeps `phi(K)^T V`, a sum over tokens of outer products. VICReg and Barlow Twins take the covariance of an
embedding, and the entries off its diagonal. MAML applies `W - rate * gradient`, and spectral
norm W over the length of `W v`. All are programs with nonlinear outer products (Tensor Programs IVb, arXiv 2308.01814). Each
script trains under muP, so that FEATURE_LEARNING is right.

Beside each verdict stand the measured slopes of all values that have names, from widths 64 to 512 (quick: 256). They are
within `TOLERANCE` of their orders on both sides where they are sums of many. A median of 5 draws of |N(0, 1)| has a
logarithm of standard deviation 0.42. So a number (an output) has slopes of standard deviation 0.42 * sqrt(2) / log(8) =
0.29. It is only bounded from above, by 1/2 more than its order.
"""

from collections.abc import Callable

import pytest
import torch
from growth import measured
from hypothesis import settings
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

import tpdyn
from tpdyn.readings.orders.reading import read
from tpdyn.regimes.prediction import Regime

QUICK = settings.default is not None and settings.default.max_examples == 25
WIDTHS, SEEDS = (64, 256 if QUICK else 512), 3 if QUICK else 5
TOLERANCE = 0.4
DATA = torch.Generator().manual_seed(0)
TOKENS = torch.randint(0, 7, (3, 5), generator=DATA)
X, Y = torch.randn(4, 5, generator=DATA), torch.randn(4, 3, generator=DATA)

Script = Callable[[int], None]


class LinearAttention(nn.Module):
    """Katharopoulos et al. (arXiv 2006.16236): `phi(q) (phi(k)^T v) / phi(q) sum phi(k)`, or over d, perhaps causal."""

    def __init__(self, width: int, causal: bool, normalised: bool) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, width), nn.Linear(width, 7, bias=False)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.causal, self.normalised = causal, normalised
        nn.init.normal_(self.head.weight, std=1 / width)

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits."""
        x = self.table(tokens)
        q, k, v = F.elu(self.q(x)) + 1, F.elu(self.k(x)) + 1, self.v(x)
        if self.causal:
            y = torch.einsum("btd,btde->bte", q, torch.einsum("btd,bte->btde", k, v).cumsum(1))
            weight = (q * k.cumsum(1)).sum(-1, keepdim=True)
        else:
            y, weight = q @ (k.transpose(1, 2) @ v), (q * k.sum(1, keepdim=True)).sum(-1, keepdim=True)
        return self.head(x + self.o(y / weight if self.normalised else y / x.shape[-1]))  # type: ignore[no-any-return]


def attending(width: int, causal: bool, normalised: bool, adam: bool) -> None:
    net = LinearAttention(width, causal, normalised)
    matrices = [net.q.weight, net.k.weight, net.v.weight, net.o.weight]
    rates = (0.1, 1 / width, 1 / width) if adam else (0.1 * width, 0.1, 0.1 / width)
    parts = ([net.table.weight], matrices, [net.head.weight])
    groups = [{"params": part, "lr": rate} for part, rate in zip(parts, rates, strict=True)]
    optimizer = torch.optim.Adam(groups) if adam else torch.optim.SGD(groups)
    while True:
        optimizer.zero_grad()
        F.cross_entropy(net(TOKENS[:, :-1]).flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
        optimizer.step()


class Perceptron(nn.Module):
    """Weights of order 0, -1/2 and -1; `wrap` is put around the hidden layer."""

    def __init__(self, width: int, wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(5, width, bias=False), nn.Linear(width, 3, bias=False)
        self.b = wrap(nn.Linear(width, width, bias=False))
        nn.init.normal_(self.c.weight, std=1 / width)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs."""
        return self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))  # type: ignore[no-any-return]


def rates_of(net: nn.Module, width: int, adam: bool) -> dict[str, float]:
    """The rates of muP: of the input layer, the hidden one and the readout."""
    rates = {"a": 0.03, "b": 0.3 / width, "c": 0.3 / width} if adam else {"a": 0.3 * width, "b": 0.3, "c": 0.3 / width}
    return {name: rates[name[0]] for name, _ in net.named_parameters()}


def normed(width: int, adam: bool) -> None:
    """Spectral norm: every pass makes a step of the power iteration."""
    net = Perceptron(width, spectral_norm)
    rates = rates_of(net, width, adam)
    groups = [{"params": [w], "lr": rates[name]} for name, w in net.named_parameters()]
    optimizer = torch.optim.Adam(groups) if adam else torch.optim.SGD(groups)
    while True:
        optimizer.zero_grad()
        (net(X) - Y).square().mean().backward()
        optimizer.step()


def meta_learning(width: int) -> None:
    """MAML: the loss behind an inner step, differentiated through that step."""
    net = Perceptron(width)
    rates = rates_of(net, width, adam=False)
    optimizer = torch.optim.SGD([{"params": [w], "lr": rates[name]} for name, w in net.named_parameters()])
    while True:
        named = dict(net.named_parameters())
        slopes = torch.autograd.grad((net(X) - Y).square().mean(), list(named.values()), create_graph=True)
        moved = {name: w - rates[name] * g for (name, w), g in zip(named.items(), slopes, strict=True)}
        optimizer.zero_grad()
        (functional_call(net, moved, (-X,)) - Y).square().mean().backward()
        optimizer.step()


def off_diagonal(c: Tensor) -> Tensor:
    """The entries off the diagonal, as the public codes of Barlow Twins and VICReg cut them out."""
    n = len(c)
    return c.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()


def vicreg(one: Tensor, other: Tensor) -> Tensor:
    """Bardes et al. (arXiv 2105.04906), with weights of 1: those of the paper hide the covariance up to n = 1000."""
    loss = F.mse_loss(one, other)
    for z in (one, other):
        z = z - z.mean(0)
        covariance = z.T @ z / (len(z) - 1)
        loss = loss + F.relu(1.5 - (z.var(0) + 1e-4).sqrt()).mean()
        loss = loss + off_diagonal(covariance).pow_(2).sum().div(z.shape[1])
    return loss


def barlow_twins(one: Tensor, other: Tensor) -> Tensor:
    """Zbontar et al. (arXiv 2103.03230)."""
    norm = nn.BatchNorm1d(one.shape[1], affine=False)
    correlation = norm(one).T @ norm(other)
    correlation.div_(len(one))
    return torch.diagonal(correlation).add_(-1).pow_(2).sum() + 0.5 * off_diagonal(correlation).pow_(2).sum()


def embedding(
    width: int, loss: Callable[[Tensor, Tensor], Tensor], powers: tuple[int, int], adam: bool = False
) -> None:
    """Two views of a batch, embedded in n dims; rates of the two layers `0.05 n^power`, as they are derived."""
    net = nn.Sequential(nn.Linear(5, width, bias=False), nn.Tanh(), nn.Linear(width, width, bias=False))
    for weight, std in zip(net.parameters(), (1.0, width**-0.5), strict=True):
        nn.init.normal_(weight, std=std)
    rates = zip(net.parameters(), powers, strict=True)
    groups = [{"params": [weight], "lr": 0.05 * width**power} for weight, power in rates]
    optimizer = torch.optim.Adam(groups) if adam else torch.optim.SGD(groups)
    while True:
        optimizer.zero_grad()
        loss(net(X), net(X + 0.5 * X.roll(1, 0))).backward()
        optimizer.step()


def contrastive(width: int, adam: bool = True) -> None:
    """NT-Xent (arXiv 2002.05709) of a network that returns vectors of length 1: their entries are of order -1/2."""
    net = Perceptron(width)
    net.c = nn.Linear(width, width, bias=False)
    rates = [0.03, 0.3 / width, 0.3 / width] if adam else [0.1 * width, 0.1, 0.1]
    groups = [{"params": [w], "lr": rate} for w, rate in zip((net.a.weight, net.b.weight, net.c.weight), rates)]
    optimizer = torch.optim.Adam(groups) if adam else torch.optim.SGD(groups)
    unit = nn.Sequential(net, Unit())
    while True:
        z = unit(torch.cat([X, X + 0.5 * X.roll(1, 0)]))
        logits = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.arange(len(z)).roll(len(X))).backward()
        optimizer.step()


class Unit(nn.Module):
    """Vectors of length 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Divide each by its length."""
        return F.normalize(x, dim=-1)


CASES: dict[str, Script] = {
    "contrastive": contrastive,
    "VICReg": lambda n: embedding(n, vicreg, (0, -1)),
    "linear attention": lambda n: attending(n, causal=False, normalised=True, adam=True),
    "spectral norm, SGD": lambda n: normed(n, adam=False),
    "MAML": meta_learning,
    "linear attention over d, SGD": lambda n: attending(n, causal=False, normalised=False, adam=False),
    "linear attention, causal, SGD": lambda n: attending(n, causal=True, normalised=True, adam=False),
    "spectral norm, Adam": lambda n: normed(n, adam=True),
    "VICReg, Adam": lambda n: embedding(n, vicreg, (0, -1), adam=True),
    "Barlow Twins": lambda n: embedding(n, barlow_twins, (-1, -2)),
    "Barlow Twins, Adam": lambda n: embedding(n, barlow_twins, (0, -1), adam=True),
}


@pytest.mark.parametrize("name", list(CASES)[: 5 if QUICK else None])
def test_matrices_of_activations_have_the_measured_orders(name: str) -> None:
    program = tpdyn.record(CASES[name], widths=(16, 24, 40), steps=3, verify=False)
    prediction = tpdyn.predict(program, remedy=False)
    assert prediction.regime == Regime.FEATURE_LEARNING and not prediction.outside
    orders, growth = read(program), measured(program, WIDTHS, SEEDS)
    wrong = []
    for mark in program.marks:
        position = mark.view.var
        wide = len(program.statements[position].wide_axes)
        value = orders.values[position]
        for slope, order in ((growth.size[position], value.size), (growth.change[position], value.moved)):
            if slope is None:
                continue
            # Of a weight over its norm only the bound is tested: the norm changes by little at these rates.
            if (
                order is None
                or slope > order + (TOLERANCE if wide else 0.5)
                or (wide == 1 and slope < order - TOLERANCE)
            ):
                wrong.append((mark.name, mark.step, slope, order))
    assert not wrong


@pytest.mark.parametrize(
    "name", ["contrastive", "spectral norm, SGD", "spectral norm, Adam", "VICReg", "Barlow Twins, Adam"]
)
def test_every_matrix_is_updated_as_much_as_it_can_be(name: str) -> None:
    """The rates of these scripts are what is derived; a spectrally normed layer has that of a hidden matrix."""
    program = tpdyn.record(CASES[name], widths=(16, 24, 40), steps=3, verify=False)
    derived = tpdyn.derive(program)
    assert derived.maximal and derived.edits() == ()
