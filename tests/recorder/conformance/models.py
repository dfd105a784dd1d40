"""Whole models in the style of their papers: vision, sequences, graphs, sets, generation, adapters."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.attention import Sequence
from conformance.case import Case, fitting, labels, numbers


class SqueezeExcitation(nn.Module):
    """Channels scaled by a small network of their means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(2, width, 1), nn.Conv2d(width, width, 3, padding=1)
        self.squeeze, self.excite = nn.Linear(width, width // 4), nn.Linear(width // 4, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(F.relu(self.first(x)))
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(h, 1).flatten(1)))).sigmoid()
        return self.head((h * gate[:, :, None, None]).mean((2, 3)))  # type: ignore[no-any-return]


def drop_path(x: Tensor, chance: float) -> Tensor:
    """Stochastic depth: whole samples are left out, the others made larger."""
    kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - chance)
    return x * kept.div_(1 - chance)


class ConvNeXt(nn.Module):
    """Depthwise convolution, a layer norm over channels laid last, an inverted bottleneck, a scale, stochastic depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 2, stride=2)
        self.depthwise, self.norm = nn.Conv2d(width, width, 3, padding=1, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale, self.head = nn.Parameter(0.1 * torch.ones(width)), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        h = (self.scale * self.down(F.gelu(self.up(h)))).permute(0, 3, 1, 2)
        return self.head((x + drop_path(h, 0.2)).mean((-2, -1)))  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """MLPs over tokens and over channels in turn."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.tokens = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))  # type: ignore[no-any-return]


class FNet(nn.Module):
    """Tokens mixed by a Fourier transform."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x + torch.fft.fft(x, dim=1).real)
        return x + self.down(F.gelu(self.up(x)))  # type: ignore[no-any-return]


class LongConvolution(nn.Module):
    """A kernel as long as the sequence for each channel, applied by FFT, and a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel, self.gate = nn.Parameter(torch.randn(4, width) / 2), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        size = 2 * x.shape[1]
        y = torch.fft.irfft(
            torch.fft.rfft(x, n=size, dim=1) * torch.fft.rfft(self.kernel, n=size, dim=0), n=size, dim=1
        )
        return x + y[:, : x.shape[1]] * self.gate(x).sigmoid()  # type: ignore[no-any-return]


class DiagonalStateSpace(nn.Module):
    """S4D: a diagonal complex state for each channel, its kernel written out and applied by FFT; or stepped."""

    def __init__(self, width: int, states: int = 3, stepped: bool = False) -> None:
        super().__init__()
        self.log_decay = nn.Parameter(torch.log(0.5 * torch.ones(width, states)))
        self.turn = nn.Parameter(math.pi * torch.arange(states).float().repeat(width, 1))
        self.c = nn.Parameter(torch.randn(width, states, 2))
        self.log_step = nn.Parameter(torch.rand(width) - 2)
        self.d, self.out, self.stepped = nn.Parameter(torch.randn(width)), nn.Linear(width, width), stepped

    def forward(self, x: Tensor) -> Tensor:
        step = self.log_step.exp()[:, None]
        a = torch.complex(-self.log_decay.exp(), self.turn)
        c = torch.view_as_complex(self.c) * (torch.exp(a * step) - 1.0) / a
        tokens = x.shape[1]
        if self.stepped:
            h, ys = torch.zeros(x.shape[0], *a.shape, dtype=torch.complex64), []
            for t in range(tokens):
                h = torch.exp(a * step) * h + x[:, t, :, None]
                ys.append(2 * torch.einsum("hn,bhn->bh", c, h).real)
            y = torch.stack(ys, 1)
        else:
            kernel = 2 * torch.einsum("hn,hnl->hl", c, torch.exp((a * step)[..., None] * torch.arange(tokens))).real
            spectrum = torch.fft.rfft(x.transpose(1, 2), n=2 * tokens) * torch.fft.rfft(kernel, n=2 * tokens)
            y = torch.fft.irfft(spectrum, n=2 * tokens)[..., :tokens].transpose(1, 2)
        return x + self.out(F.gelu(y + self.d * x))  # type: ignore[no-any-return]


class LinearRecurrentUnit(nn.Module):
    """A complex diagonal recurrence whose input and output matrices are complex parameters."""

    def __init__(self, width: int, states: int = 4) -> None:
        super().__init__()
        self.nu, self.theta = nn.Parameter(torch.zeros(states)), nn.Parameter(torch.rand(states))
        self.b = nn.Parameter(torch.randn(states, width, dtype=torch.complex64) / width**0.5)
        self.c = nn.Parameter(torch.randn(width, states, dtype=torch.complex64) / states**0.5)

    def forward(self, x: Tensor) -> Tensor:
        turn = torch.exp(torch.complex(-self.nu.exp(), self.theta))
        pushed = x.to(torch.complex64) @ self.b.t()
        h, states = torch.zeros_like(pushed[:, 0]), []
        for t in range(x.shape[1]):
            h = turn * h + pushed[:, t]
            states.append(h)
        return x + (torch.stack(states, 1) @ self.c.t()).real


class Windowed(nn.Module):
    """Swin: attention within windows that are shifted by torch.roll, with a table of biases for relative positions."""

    def __init__(self, width: int, window: int = 2, heads: int = 2, shift: int = 1) -> None:
        super().__init__()
        self.window, self.heads, self.shift = window, heads, shift
        self.first, self.qkv = nn.Conv2d(2, width, 1), nn.Linear(width, 3 * width)
        self.out, self.merge, self.head = (
            nn.Linear(width, width),
            nn.Linear(4 * width, 2 * width),
            nn.Linear(2 * width, 3),
        )
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads) * 0.02)
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = place[:, :, None] - place[:, None] + window - 1
        self.register_buffer("index", apart[0] * (2 * window - 1) + apart[1])
        region = torch.zeros(4, 4)
        for number, rows in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
            for other, columns in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
                region[rows, columns] = 3 * number + other
        parts = self.windows(region[None, :, :, None]).squeeze(-1)
        self.register_buffer("mask", (parts[:, None] - parts[:, :, None]).ne(0).float() * -100.0)

    def windows(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) as (batch * windows, tokens, channels)."""
        b, h, w, c = x.shape
        s = self.window
        return x.view(b, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x)).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        s, tokens = self.window, self.window**2
        parts = self.windows(torch.roll(x, (-self.shift, -self.shift), (1, 2)))
        q, k, v = self.qkv(parts).reshape(-1, tokens, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5
        scores = scores + self.table[self.index.view(-1)].view(tokens, tokens, -1).permute(2, 0, 1)
        scores = scores.view(b, -1, self.heads, tokens, tokens) + self.mask[:, None]
        y = scores.view(-1, self.heads, tokens, tokens).softmax(-1) @ v
        y = self.out(y.transpose(1, 2).reshape(-1, s, s, c))
        y = y.view(b, h // s, w // s, s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        x = x + torch.roll(y, (self.shift, self.shift), (1, 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)  # patches merged
        return self.head(torch.tanh(self.merge(x)).mean((1, 2)))  # type: ignore[no-any-return]


class Translator(nn.Module):
    """nn.Transformer, encoder and decoder, with masks for what comes later and for padding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(7, width), nn.Embedding(7, width)
        self.core = nn.Transformer(width, 2, 1, 1, 2 * width, 0.1, batch_first=True)
        self.head = nn.Linear(width, 7)

    def forward(self, x: Tensor) -> Tensor:
        source, target = x[:, :4], x[:, 4:]
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        padded = source == 0
        h = self.core(
            self.source(source),
            self.target(target),
            tgt_mask=causal,
            src_key_padding_mask=padded,
            memory_key_padding_mask=padded,
            tgt_is_causal=True,
        )
        return self.head(h).transpose(1, 2)  # type: ignore[no-any-return]


class Packed(nn.Module):
    """An LSTM of sequences of several lengths, packed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.core, self.head = nn.LSTM(4, width, batch_first=True), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 3, 2]), batch_first=True)
        return self.head(self.core(packed)[1][0][-1])  # type: ignore[no-any-return]


class Bagged(nn.Module):
    """Tokens added up or averaged as they are looked up."""

    def __init__(self, width: int, mode: str) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(7, width, mode=mode), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.bag(x)))  # type: ignore[no-any-return]


class TwoForms(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, width), nn.Linear(4, width)
        self.form, self.head = nn.Bilinear(width, width, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.form(torch.tanh(self.one(x)), torch.tanh(self.other(x)))))  # type: ignore[no-any-return]


class Variational(nn.Module):
    """A VAE that also classifies its code: mean and log variance by chunk, a draw by reparametrisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode, self.code = nn.Linear(4, width), nn.Linear(width, 4)
        self.decode, self.out = nn.Linear(2, width), nn.Linear(width, 4)

    def loss(self, x: Tensor) -> Tensor:
        mean, log_variance = self.code(torch.relu(self.encode(x))).chunk(2, -1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        divergence = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum(-1).mean()
        return F.mse_loss(self.out(torch.relu(self.decode(z))), x) + 0.1 * divergence


class Diffusion(nn.Module):
    """A small U-Net that predicts noise, told the time by sines and cosines."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width))
        self.first, self.down = nn.Conv2d(2, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.norm, self.middle = nn.GroupNorm(4, 2 * width), nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(2 * width, width, 2, 2), nn.Conv2d(2 * width, 2, 3, padding=1)

    def loss(self, x: Tensor) -> Tensor:
        t = torch.randint(0, 10, (x.shape[0],))
        kept = torch.linspace(0.99, 0.1, 10)[t][:, None, None, None]
        noise = torch.randn_like(x)
        noised = kept.sqrt() * x + (1 - kept).sqrt() * noise
        half = self.width // 2
        angles = t[:, None].float() * torch.exp(-math.log(100.0) * torch.arange(half) / half)
        told = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        skip = F.silu(self.first(noised))
        deep = self.norm(self.down(skip)) + told[:, :, None, None]
        deep = self.up(F.silu(self.middle(F.silu(deep))))
        return F.mse_loss(self.out(torch.cat([deep, skip], 1)), noise)


EDGES = torch.tensor([[0, 1, 2, 3, 1, 0], [1, 2, 3, 0, 3, 2]])


class Graph(nn.Module):
    """Messages along edges, gathered and added up by index_add or scatter_add, normalised by degrees; or attended to."""

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.first, self.own, self.message = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, width)
        self.score, self.head, self.how = nn.Linear(2 * width, 1), nn.Linear(width, 3), how
        self.links = torch.sparse_coo_tensor(EDGES.flip(0), torch.ones(6), (4, 4)).coalesce()

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        source, target = EDGES
        sent = self.message(h)[source]
        if self.how == "index_add":
            got = torch.zeros_like(h).index_add_(0, target, sent)
        elif self.how == "scatter_add":
            got = torch.zeros_like(h).scatter_add_(0, target[:, None].expand_as(sent), sent)
        elif self.how == "attention":
            score = F.leaky_relu(self.score(torch.cat([h[source], h[target]], -1))).squeeze(-1).exp()
            total = torch.zeros(len(h)).index_add(0, target, score)
            got = torch.zeros_like(h).index_add(0, target, sent * (score / total[target]).unsqueeze(-1))
        elif self.how == "sparse adjacency matrix":
            got = torch.sparse.mm(self.links, self.message(h))
        else:
            links = torch.zeros(4, 4).index_put_((target, source), torch.ones(6)) + torch.eye(4)
            scale = links.sum(1).rsqrt()
            got = (scale[:, None] * links * scale) @ self.message(h)
        degree = torch.zeros(len(h)).index_add_(0, target, torch.ones(len(target))).clamp(min=1)
        return self.head(torch.relu(self.own(h) + got / degree[:, None]))  # type: ignore[no-any-return]


class Sets(nn.Module):
    """DeepSets: a sum over the members, and what each member adds to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.each, self.all = nn.Linear(width, width), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.each(x) - self.all(x.max(1, keepdim=True).values)) + x.mean(1, keepdim=True)


class Hyper(nn.Module):
    """The weights of one layer are the output of another; and a scale and shift that are (FiLM)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.told, self.make = nn.Linear(4, 3), nn.Linear(3, 2 * width)
        self.basis, self.first, self.head = nn.Parameter(torch.randn(3, 5, width)), nn.Linear(4, width), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        told = torch.tanh(self.told(x))
        scale, shift = self.make(told).chunk(2, -1)
        h = torch.tanh(self.first(x) * (1 + scale) + shift)
        return self.head(torch.tanh(torch.einsum("bk,koi,bi->bo", told, self.basis, h) / h.shape[-1] ** 0.5))  # type: ignore[no-any-return]


class Masked(nn.Module):
    """Fused attention with the mask, scale or groups of one kind or another."""

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.qkv, self.how = nn.Linear(width, 3 * width), how

    def forward(self, x: Tensor) -> Tensor:
        b, t, w = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 4, w // 4).permute(2, 0, 3, 1, 4)
        apart = torch.arange(t)[:, None] - torch.arange(t)
        if self.how == "sliding window":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=(apart >= 0) & (apart < 2))
        elif self.how == "scale":
            y = F.scaled_dot_product_attention(q, k, v, scale=1 / q.shape[-1])
        elif self.how == "groups":
            y = F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], is_causal=True, enable_gqa=True)
        elif self.how == "soft cap":
            scores = 5 * torch.tanh(q @ k.transpose(-2, -1) / (5 * q.shape[-1] ** 0.5))
            y = scores.masked_fill(apart < 0, -math.inf).softmax(-1) @ v
        elif self.how == "differential":
            one, other = (q[:, g::2] @ k[:, g::2].transpose(-2, -1) / q.shape[-1] ** 0.5 for g in (0, 1))
            y = torch.cat([(one.softmax(-1) - 0.5 * other.softmax(-1)) @ v[:, g::2] for g in (0, 1)], 1)
        else:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
            y = F.scaled_dot_product_attention(q, k, v, scale=8.0)
        return x + y.transpose(1, 2).reshape(b, t, w)


class Functional(nn.Module):
    """F.multi_head_attention_forward, its weights in one, and padding masked."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.bias = (
            nn.Parameter(torch.randn(3 * width, width) / width**0.5),
            nn.Parameter(torch.zeros(3 * width)),
        )
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(0, 1)
        y, _ = F.multi_head_attention_forward(
            h, h, h, h.shape[-1], 2, self.into, self.bias, None, None, False, 0.0, self.out.weight, self.out.bias,
            key_padding_mask=torch.tensor([[False] * 4, [False] * 3 + [True], [False] * 2 + [True] * 2]), need_weights=False,
        )  # fmt: skip
        return x + y.transpose(0, 1)


def generative(model_of: Callable[[int], nn.Module], x: Tensor) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = model_of(width)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            model.loss(x).backward()
            optimizer.step()

    return train


def translating(width: int) -> None:
    model = Translator(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.98))
    x = labels(7, 3, 9).index_fill(1, torch.tensor([3]), 0)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x[:, :8]), x[:, 5:], label_smoothing=0.1, ignore_index=0).backward()
        optimizer.step()


IMAGES: dict[str, Callable[[int], nn.Module]] = {
    "squeeze and excitation": SqueezeExcitation,
    "ConvNeXt block, stochastic depth": ConvNeXt,
    "shifted windows, biases by a table": Windowed,
}
BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "MLP-Mixer": Mixer,
    "FNet": FNet,
    "long convolution": LongConvolution,
    "diagonal state space, by FFT": DiagonalStateSpace,
    "diagonal state space, stepped": lambda n: DiagonalStateSpace(n, stepped=True),
    "linear recurrent unit": LinearRecurrentUnit,
    "sets": Sets,
    "F.multi_head_attention_forward": Functional,
    **{
        f"attention, {how}": lambda n, h=how: Masked(n, h)  # type: ignore[misc]
        for how in ("sliding window", "scale", "groups", "soft cap", "differential", "unit queries and keys")
    },
}
ROWS: dict[str, Callable[[int], nn.Module]] = {
    "nn.Bilinear": TwoForms,
    "hypernetwork": Hyper,
    **{
        f"graph, {how}": lambda n, h=how: Graph(n, h)  # type: ignore[misc]
        for how in ("index_add", "scatter_add", "attention", "adjacency matrix", "sparse adjacency matrix")
    },
}


class Distributional(nn.Module):
    """A distribution over values for each action; that of the best action is trained towards the target network's (C51)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net, self.target = (
            nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 6))
            for _ in range(2)
        )
        self.register_buffer("atoms", torch.linspace(-1, 1, 3))
        self.atoms: Tensor

    def best(self, net: nn.Module, x: Tensor) -> Tensor:
        chances = net(x).view(len(x), 2, 3).softmax(2)
        return chances[torch.arange(len(x)), (chances * self.atoms).sum(2).argmax(1)]  # type: ignore[no-any-return]

    def loss(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.best(self.target, x)
        return -(target * self.best(self.net, x).log()).sum(-1).mean()


def cases() -> list[Case]:
    found = [
        Case("models", name, optimizer, fitting(model, numbers(3, 2, 4, 4), optimizer))
        for name, model in IMAGES.items()
        for optimizer in ("SGD", "AdamW")
    ]
    found += [
        Case("models", name, optimizer, fitting(lambda n, f=block: Sequence(n, f(n)), numbers(3, 4, 4), optimizer))
        for name, block in BLOCKS.items()
        for optimizer in ("SGD", "AdamW")
    ]
    found += [Case("models", name, "SGD", fitting(model, numbers(4, 4))) for name, model in ROWS.items()]
    found += [
        Case(
            "models",
            f"nn.EmbeddingBag, {mode}",
            "SGD",
            fitting(lambda n, m=mode: Bagged(n, m), labels(7, 3, 5)),
            outside="the largest of many embeddings" if mode == "max" else "",
        )
        for mode in ("sum", "mean", "max")
    ]
    return [
        *found,
        Case("models", "nn.Transformer, translating", "AdamW", translating),
        Case("models", "packed LSTM", "SGD", fitting(Packed, numbers(3, 4, 4))),
        Case("models", "distributional values, the best action", "Adam", generative(Distributional, numbers(4, 4))),
        Case("models", "VAE", "Adam", generative(Variational, numbers(4, 4))),
        Case("models", "diffusion", "Adam", generative(Diffusion, numbers(3, 2, 4, 4))),
    ]
