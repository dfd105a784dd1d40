"""Scripts that look alike and are not: one hidden detail decides what happens as the width grows.

Each function is an ordinary training loop; try `tpdyn check examples/told_apart.py:sp_adam`. Most of them pass the usual
plots of activation sizes.
"""

import torch
from torch import nn

SAMPLES, FEATURES, CLASSES, STEPS = 16, 12, 5, 1000


class MLP(nn.Module):
    """Two hidden layers; `out_scale` multiplies the readout's result."""

    def __init__(self, width: int, features: int = FEATURES, out_scale: float = 1.0, out_bias: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, width, bias=False)
        self.fc2 = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, CLASSES, bias=out_bias)
        self.out_scale = out_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.fc1(x))
        x = torch.tanh(self.fc2(x))
        return self.out(x) * self.out_scale


def data(samples: int = SAMPLES, features: int = FEATURES) -> tuple[torch.Tensor, torch.Tensor]:
    """A fixed batch, the same at every width and seed."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, features, generator=generator)
    return x, torch.randint(CLASSES, (samples,), generator=generator)


def fit(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
    """The training loop that all of them share."""
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def maximal_init(model: MLP, width: int, readout: float) -> None:
    """muP's initial sizes: input 1, hidden width^-1/2, readout as given."""
    nn.init.normal_(model.fc1.weight, std=FEATURES**-0.5)
    nn.init.normal_(model.fc2.weight, std=width**-0.5)
    nn.init.normal_(model.out.weight, std=readout)


def mup_sgd(width: int) -> None:
    """Maximal update parametrization: rates width, 1, 1/width for input, hidden, readout."""
    model = MLP(width)
    maximal_init(model, width, 1 / width)
    groups = [
        {"params": model.fc1.parameters(), "lr": 0.1 * width},
        {"params": model.fc2.parameters(), "lr": 0.1},
        {"params": model.out.parameters(), "lr": 0.1 / width},
    ]
    fit(model, torch.optim.SGD(groups, lr=0.1), *data())


def mup_adam(width: int) -> None:
    """The same for Adam: only hidden and readout rates fall with the width."""
    model = MLP(width)
    maximal_init(model, width, 1 / width)
    groups = [
        {"params": model.fc1.parameters(), "lr": 0.01},
        {"params": [*model.fc2.parameters(), *model.out.parameters()], "lr": 1.0 / width},
    ]
    fit(model, torch.optim.Adam(groups, lr=0.01), *data())


def mup_rule_forgotten(width: int) -> None:
    """muP with an output multiplier, but plain SGD with one rate for all. Sizes are the same, yet two of three layers stand
    still.
    """
    model = MLP(width, out_scale=1 / width)
    maximal_init(model, width, 1.0)
    nn.init.normal_(model.fc2.weight, std=width**-0.5)
    fit(model, torch.optim.SGD(model.parameters(), lr=0.1), *data())


def readout_forgotten(width: int) -> None:
    """muP rates, but the readout keeps its standard initial size."""
    model = MLP(width)
    maximal_init(model, width, width**-0.5)
    groups = [
        {"params": model.fc1.parameters(), "lr": 0.1 * width},
        {"params": model.fc2.parameters(), "lr": 0.1},
        {"params": model.out.parameters(), "lr": 0.1 / width},
    ]
    fit(model, torch.optim.SGD(groups, lr=0.1), *data())


def zero_readout(width: int) -> None:
    """muP with a readout that starts at zero. In the first step all hidden layers stand still, then all move."""
    model = MLP(width)
    maximal_init(model, width, 1.0)
    nn.init.zeros_(model.out.weight)
    groups = [
        {"params": model.fc1.parameters(), "lr": 0.1 * width},
        {"params": model.fc2.parameters(), "lr": 0.1},
        {"params": model.out.parameters(), "lr": 0.1 / width},
    ]
    fit(model, torch.optim.SGD(groups, lr=0.1), *data())


def sp_sgd(width: int) -> None:
    """Standard parametrization, SGD with a constant rate."""
    model = MLP(width)
    fit(model, torch.optim.SGD(model.parameters(), lr=0.1), *data())


def sp_adam(width: int) -> None:
    """Standard parametrization, Adam with a constant rate."""
    model = MLP(width)
    fit(model, torch.optim.Adam(model.parameters(), lr=0.01), *data())


class NTKLinear(nn.Module):
    """A linear layer with unit Gaussian weights and the multiplier fan_in^-1/2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.scale = inputs**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight.T) * self.scale


def ntk_sgd(width: int) -> None:
    """Neural tangent parametrization, SGD with a constant rate: every size is flat, every feature is frozen."""
    model = nn.Sequential(
        NTKLinear(FEATURES, width), nn.Tanh(), NTKLinear(width, width), nn.Tanh(), NTKLinear(width, CLASSES)
    )
    fit(model, torch.optim.SGD(model.parameters(), lr=0.5), *data())


def hidden_bias(width: int) -> None:
    """muP whose readout lacks its rate (it falls as width^-2): the bias alone moves the output."""
    model = MLP(width, out_bias=True)
    maximal_init(model, width, 1 / width)
    groups = [
        {"params": model.fc1.parameters(), "lr": 0.1},
        {"params": model.fc2.parameters(), "lr": 0.1 / width},
        {"params": [model.out.weight], "lr": 0.1 / width**2},
        {"params": [model.out.bias], "lr": 0.1},
    ]
    fit(model, torch.optim.SGD(groups, lr=0.1), *data())


def wide_input(width: int) -> None:
    """The number of input features is the width: the input layer is then a hidden layer."""
    model = MLP(width, features=width)
    maximal_init(model, width, 1 / width)
    nn.init.normal_(model.fc1.weight, std=width**-0.5)
    groups = [
        {"params": [*model.fc1.parameters(), *model.fc2.parameters()], "lr": 0.1},
        {"params": model.out.parameters(), "lr": 0.1 / width},
    ]
    fit(model, torch.optim.SGD(groups, lr=0.1), *data(features=width))


def wide_batch(width: int) -> None:
    """The number of samples is the width: outside of the theory."""
    model = MLP(width)
    maximal_init(model, width, 1 / width)
    fit(model, torch.optim.SGD(model.parameters(), lr=0.1), *data(samples=width))


class Attention(nn.Module):
    """Causal self-attention by hand; logits are `q k / d^power`."""

    def __init__(self, width: int, heads: int, power: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.heads, self.power = heads, power

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        q, k, v = (
            part.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        logits = q @ k.transpose(-2, -1) / (width // self.heads) ** self.power
        mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()
        weights = logits.masked_fill(~mask, float("-inf")).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


class Transformer(nn.Module):
    """One block: embeddings, attention, GELU MLP, residuals, LayerNorm."""

    def __init__(self, width: int, power: float, vocabulary: int = 11, tokens: int = 6) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(tokens, width)
        self.ln1 = nn.LayerNorm(width)
        self.attn = Attention(width, 2, power)
        self.ln2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.ln3 = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        x = x + self.attn(self.ln1(x))
        x = x + self.down(nn.functional.gelu(self.up(self.ln2(x))))
        return self.head(self.ln3(x))


def _transformer(width: int, power: float) -> None:
    model = Transformer(width, power)
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.dim() == 2 and name[:2] != "wt" and name[:2] != "wp":
            nn.init.normal_(parameter, std=1 / width if name.startswith("head") else parameter.shape[1] ** -0.5)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n[:2] not in ("wt", "wp")]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or n[:2] in ("wt", "wp")]
    optimizer = torch.optim.Adam([{"params": matrices, "lr": 0.5 / width}, {"params": others, "lr": 0.01}], lr=0.01)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(11, (4, 7), generator=generator)
    for _ in range(STEPS):
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.reshape(-1, 11), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def attention_mup(width: int) -> None:
    """A muP transformer: attention logits are q k / d."""
    _transformer(width, power=1.0)


def attention_sqrt(width: int) -> None:
    """The same with q k / sqrt(d): flat at initialisation, growing as soon as q and k align."""
    _transformer(width, power=0.5)
