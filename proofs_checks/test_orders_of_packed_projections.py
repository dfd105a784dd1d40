"""The parts of a packed projection have orders of their own, wide parts with fixed ones in between.

Mamba-2 projects into gate, inner values, B, C and step sizes at once (arXiv 2405.21060). Falcon has one key and one value for
more and more heads. Mamba's `x_proj` makes step sizes of a rank that grows, and B and C. Under SGD
fixed parts move by more than wide ones. Their gradients are sums over all channels.

Beside each order stands a slope: of the change that the live script makes by its first update. Widths are 128 and 512 (else
1024). With few outputs, gradients have a random factor, whose logarithm has a standard deviation of about 0.4. A slope then
has one of 0.4 * sqrt(2 / 10) / log(4) = 0.13, and `TOLERANCE` is three of them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.program.check import script_shape
from tpdyn.program.program import Mark, Program
from tpdyn.readings.orders.reading import read

QUICK = settings.default is not None and settings.default.max_examples == 25
WIDTHS, SEEDS, TOLERANCE = (128, 512 if QUICK else 1024), 10, 0.4
DATA = torch.Generator().manual_seed(0)
X, Y = (torch.randn(4, *shape, generator=DATA).double() for shape in ((3, 5), (2,)))


def scanned(x: Tensor, dt: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Run `h = exp(-dt) h + dt x b, y = h c` over the tokens; x and dt [batch, token, channel], b and c [.., state]."""
    h, y = x.new_zeros(len(x), x.shape[2], b.shape[2]), []
    for t in range(x.shape[1]):
        step = dt[:, t, :, None]
        h = torch.exp(-step) * h + step * x[:, t, :, None] * b[:, t, None]
        y.append((h * c[:, t, None]).sum(-1))
    return torch.stack(y, 1)


class Mamba2(nn.Module):
    """Gate, inner values, B, C and step sizes of heads in one projection. The middle is convolved over tokens."""

    def __init__(self, width: int, state: int = 2, head: int = 4) -> None:
        super().__init__()
        self.width, self.state, self.head = width, state, head
        self.packed = nn.Linear(width, 2 * width + 2 * state + width // head, bias=False)
        channels = width + 2 * state
        self.conv = nn.Conv1d(channels, channels, 2, groups=channels, padding=1)
        self.out = nn.Linear(width, width)

    def forward(self, u: Tensor) -> Tensor:
        """The block's branch."""
        z, xbc, dt = self.packed(u).split([self.width, self.width + 2 * self.state, self.width // self.head], -1)
        xbc = F.silu(self.conv(xbc.transpose(1, 2))[..., :-1].transpose(1, 2))
        x, b, c = xbc.split([self.width, self.state, self.state], -1)
        y = scanned(x, F.softplus(dt).repeat_interleave(self.head, -1), b, c)
        return self.out(y * F.silu(z))  # type: ignore[no-any-return]


class Falcon(nn.Module):
    """Heads of four entries, as many as fit; one key and one value for all."""

    def __init__(self, width: int, head: int = 4) -> None:
        super().__init__()
        self.heads, self.head = width // head, head
        self.packed, self.out = nn.Linear(width, width + 2 * head, bias=False), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The block's branch."""
        fused = self.packed(x).view(*x.shape[:2], self.heads + 2, self.head)
        q, k, v = (part.transpose(1, 2) for part in (fused[..., :-2, :], fused[..., [-2], :], fused[..., [-1], :]))
        mixed = F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q), is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Mamba(nn.Module):
    """Step sizes of a rank that grows, B and C in one projection."""

    def __init__(self, width: int, state: int = 2) -> None:
        super().__init__()
        self.rank, self.state = width // 4, state
        self.packed = nn.Linear(width, self.rank + 2 * state, bias=False)
        self.dt, self.out = nn.Linear(self.rank, width), nn.Linear(width, width)

    def forward(self, u: Tensor) -> Tensor:
        """The block's branch."""
        x = torch.tanh(u)
        dt, b, c = self.packed(x).split([self.rank, self.state, self.state], -1)
        return self.out(scanned(x, F.softplus(self.dt(dt)), b, c))  # type: ignore[no-any-return]


class Net(nn.Module):
    """The block on features that are not trained: what it changes is then the projection's own doing."""

    def __init__(self, width: int, block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Linear(5, width), block(width), nn.Linear(width, 2)
        self.embed.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs."""
        x = self.embed(x)
        return self.head((x + self.block(x)).mean(1))  # type: ignore[no-any-return]


def steps(net: nn.Module, adam: bool) -> Iterator[None]:
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4) if adam else torch.optim.SGD(net.parameters(), 1e-3)
    while True:
        optimizer.zero_grad()
        (net(X) - Y).square().mean().backward()
        optimizer.step()
        yield


def training(width: int, block: Callable[[int], nn.Module], adam: bool) -> None:
    for _ in steps(Net(width, block).double(), adam):
        pass


def lengths(program: Program, mark: Mark, width: int) -> list[int]:
    """The lengths of the parts of a module's output."""
    return [script_shape(program, part)[-1].size_at(width) for part in mark.view.parts]


def changes(program: Program, mark: Mark, block: Callable[[int], nn.Module], adam: bool) -> list[float]:
    """For each part of the live script's output, the slope of its change by one update."""
    logs: dict[int, list[list[float]]] = defaultdict(list)
    for width in WIDTHS:
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            net, seen = Net(width, block).double(), list[Tensor]()
            net.get_submodule(mark.name).register_forward_hook(lambda *call, seen=seen: seen.append(call[2].detach()))
            loop = steps(net, adam)
            next(loop), next(loop)
            change = (seen[1] - seen[0]).split(lengths(program, mark, width), -1)
            logs[width].append([float(part.abs().mean().log()) for part in change])
    first, last = (torch.tensor(logs[width]).mean(0) for width in WIDTHS)
    return ((last - first) / torch.tensor(WIDTHS[1] / WIDTHS[0]).log()).tolist()  # type: ignore[no-any-return]


ORDERS = {
    (Mamba2, False): ["1/2", "1/2", "1", "1", "1/2"], (Falcon, False): ["1/2", "1", "1"], (Mamba, True): ["1", "1", "1"],
    (Mamba2, True): ["1"] * 5, (Falcon, True): ["1", "1", "1"], (Mamba, False): ["1/2", "1", "1"],
}  # fmt: skip
"""Of the change of each part, under the standard parametrization."""


@pytest.mark.parametrize(("block", "adam"), list(ORDERS)[: 3 if QUICK else None])
def test_each_part_of_a_packed_projection_has_its_own_order(block: Callable[[int], nn.Module], adam: bool) -> None:
    program = tpdyn.record(lambda n: training(n, block, adam), widths=(16, 24, 40), steps=2, verify=not QUICK)
    mark, orders = program.mark("block.packed", 1), read(program)
    read_of = [orders.values[part.var].moved for part in mark.view.parts]
    assert [str(order) for order in read_of] == ORDERS[block, adam]
    seen = changes(program, mark, block, adam)
    assert seen == pytest.approx([float(order or 0) for order in read_of], abs=TOLERANCE)
