"""Attention of all kinds, gated units, mixtures of experts, adapters and tied weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.case import Case, fitting, numbers


class Sequence(nn.Module):
    """Tokens of four numbers -> width -> a block on (batch, tokens, width) -> mean -> readout."""

    def __init__(self, width: int, block: nn.Module) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Linear(4, width), block, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x)).mean(1))  # type: ignore[no-any-return]


def turned(x: Tensor, how: str) -> Tensor:
    """Rotary position embedding of (batch, heads, tokens, size)."""
    tokens, size = x.shape[-2:]
    if how == "full":  # GPT-NeoX, GPT-J and Phi-3 pass on what lies beyond the turned part: here nothing
        return torch.cat([turned(x[..., :size], "halves"), x[..., size:]], -1)
    angles = torch.arange(tokens)[:, None] / 100 ** (torch.arange(0, size, 2) / size)
    if how == "complex":
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    cos, sin = angles.cos(), angles.sin()
    if how == "GPT-J":
        turned_by_half = torch.stack((-x[..., 1::2], x[..., ::2]), -1).reshape(x.shape)
        return x * cos.repeat_interleave(2, -1) + turned_by_half * sin.repeat_interleave(2, -1)
    if how == "pairs":
        one, other = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([one * cos - other * sin, other * cos + one * sin], -1).flatten(-2)
    if how == "interleaved":
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
    first, second = x.chunk(2, -1)
    half = torch.cat([-second, first], -1)
    return x * torch.cat([cos, cos], -1) + half * torch.cat([sin, sin], -1)


class Falcon(nn.Module):
    """Many queries, one key and one value in one projection; the last two are picked by lists of one entry."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.fused, self.out = nn.Linear(width, width + 2 * self.size), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        fused = self.fused(x).view(*x.shape[:-1], self.heads + 2, self.size)
        q, k, v = (part.transpose(1, 2) for part in (fused[..., :-2, :], fused[..., [-2], :], fused[..., [-1], :]))
        mixed = F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q), is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Two heads (of a size that grows), keys and values perhaps shared; positions by rotation or by a bias."""

    def __init__(
        self,
        width: int,
        heads: int = 2,
        own: int = 2,
        rope: str = "",
        alibi: bool = False,
        fused: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.own, self.rope, self.alibi, self.fused, self.dropout = heads, own, rope, alibi, fused, dropout
        size = width // heads
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, own * size), nn.Linear(width, own * size)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q = self.q(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(batch, tokens, self.own, -1).transpose(1, 2)
        v = self.v(x).view(batch, tokens, self.own, -1).transpose(1, 2)
        if self.rope:
            q, k = turned(q, self.rope), turned(k, self.rope)
        bias = None
        if self.alibi:
            slopes = 2.0 ** -torch.arange(1, self.heads + 1)
            bias = -slopes[:, None, None] * (torch.arange(tokens)[:, None] - torch.arange(tokens)).abs()
        if self.fused:
            y = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=bias,
                dropout_p=self.dropout,
                is_causal=bias is None,
                enable_gqa=self.own != self.heads,
            )
        else:
            k, v = (z.repeat_interleave(self.heads // self.own, 1) for z in (k, v))
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            scores = scores + (bias if bias is not None else torch.full((tokens, tokens), -math.inf).triu(1))
            y = F.softmax(scores, -1) @ v
        return self.out(y.transpose(1, 2).reshape(batch, tokens, width))  # type: ignore[no-any-return]


class Self(nn.Module):
    def __init__(self, width: int, **options: object) -> None:
        super().__init__()
        self.core = nn.MultiheadAttention(width, 2, batch_first=True, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.core(x, x, x, need_weights=False)[0]  # type: ignore[no-any-return]


class Linear(nn.Module):
    """Linear attention: phi(q) (phi(k)^T v) over phi(q) sum phi(k). Causal: each token reads the sums up to itself."""

    def __init__(self, width: int, causal: bool = False) -> None:
        super().__init__()
        self.qkv, self.causal = nn.Linear(width, 3 * width), causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 2, -1).unbind(2)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        if self.causal:
            memory = torch.einsum("bthd,bthe->bthde", k, v).cumsum(1)
            y = torch.einsum("bthd,bthde->bthe", q, memory) / (q * k.cumsum(1)).sum(-1, keepdim=True)
            return x + y.flatten(2)
        memory = torch.einsum("bthd,bthe->bhde", k, v) / x.shape[1]
        y = torch.einsum("bthd,bhde->bthe", q, memory) / (q * k.sum(1, keepdim=True)).sum(-1, keepdim=True)
        return x + y.flatten(2)


class Memories(nn.Module):
    """A matrix for each token, of which some are read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.key = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        memory = torch.einsum("btd,bte->btde", self.key(x), x) / x.shape[-1]
        read = torch.einsum("bd,bde->be", x[:, 0], memory[:, 1] + memory[:, -1])
        return x + read.unsqueeze(1)


class Decoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(width, 2, 2 * width, 0.1, batch_first=True)
        self.memory = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.layer(x, torch.tanh(self.memory(x)), tgt_mask=mask, tgt_is_causal=True)  # type: ignore[no-any-return]


class GatedUnit(nn.Module):
    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.up, self.down, self.how = nn.Linear(width, 4 * width), nn.Linear(2 * width, width), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "GLU":
            return x + self.down(F.glu(self.up(x)))  # type: ignore[no-any-return]
        gate, value = self.up(x).chunk(2, -1)
        made = F.silu(gate) if self.how == "SwiGLU" else F.gelu(gate, approximate="tanh")
        return x + self.down(made * value)  # type: ignore[no-any-return]


class Experts(nn.Module):
    """A mixture of experts with stacked weights; the router's choice is data (its index depends on parameters)."""

    def __init__(self, width: int, how: str, experts: int = 4, chosen: int = 2) -> None:
        super().__init__()
        self.router, self.how, self.chosen = nn.Linear(width, experts, bias=False), how, chosen
        self.up = nn.Parameter(torch.randn(experts, width, 2 * width) / width**0.5)
        self.down = nn.Parameter(torch.randn(experts, 2 * width, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.router(x)
        if self.how == "soft":
            weights = scores.softmax(-1)
        elif self.how == "switch":
            best = scores.softmax(-1).max(-1)
            weights = F.one_hot(best.indices, scores.shape[-1]) * best.values.unsqueeze(-1)
        elif self.how == "renormalised":
            top, index = scores.softmax(-1).topk(self.chosen, -1)
            weights = torch.zeros_like(scores).scatter(-1, index, top / top.sum(-1, keepdim=True))
        elif self.how == "gathered":
            top, index = scores.topk(self.chosen, -1)
            hidden = F.gelu(torch.einsum("btn,btknm->btkm", x, self.up[index]))
            return x + torch.einsum("btkm,btkmn,btk->btn", hidden, self.down[index], top.softmax(-1))
        else:
            top, index = scores.topk(self.chosen, -1)
            hot = F.one_hot(index, scores.shape[-1]).to(x.dtype)
            weights = torch.einsum("btk,btke->bte", top.softmax(-1), hot)
        hidden = F.gelu(torch.einsum("btn,enm->btem", x, self.up))
        return x + torch.einsum("btem,emn,bte->btn", hidden, self.down, weights)


class Looped(nn.Module):
    """Experts as modules; each is run on the tokens that chose it: how many these are depends on the data."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.router, self.experts = nn.Linear(width, 3), nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        chances = self.router(flat).softmax(-1)
        top, index = chances.max(-1)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            mine = torch.where(index == number)[0]
            out.index_add_(0, mine, expert(flat[mine]) * top[mine, None])
        return x + out.view_as(x)


class Masked(Looped):
    """The same, each expert run on all tokens and masked."""

    def forward(self, x: Tensor) -> Tensor:
        chances = self.router(x).softmax(-1)
        index = chances.argmax(-1)
        for number, expert in enumerate(self.experts):
            x = x + expert(x) * (index == number).unsqueeze(-1) * chances[..., number : number + 1]
        return x


class Adapter(nn.Module):
    """LoRA: a frozen weight, and a product of two thin ones."""

    def __init__(self, width: int, merged: bool = False) -> None:
        super().__init__()
        self.weight = nn.Linear(width, width)
        self.weight.requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(2, width) / width), nn.Parameter(torch.zeros(width, 2))
        self.merged = merged

    def forward(self, x: Tensor) -> Tensor:
        if self.merged:
            return F.linear(x, self.weight.weight + 2.0 * self.b @ self.a, self.weight.bias)
        return self.weight(x) + 2.0 * (x @ self.a.t()) @ self.b.t()  # type: ignore[no-any-return]


class Tied(nn.Module):
    """One weight used straight, transposed, and in halves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(F.linear(torch.tanh(x @ self.weight), self.weight))
        top, bottom = self.weight.chunk(2)
        return h + torch.cat([h @ top.t(), h @ bottom.t()], -1)


class Concatenated(nn.Module):
    """Two weights joined to one before they are used."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Parameter(torch.randn(width, width)), nn.Parameter(torch.randn(width, width))
        self.out = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(x @ torch.cat([self.one, self.two], 1) / x.shape[-1] ** 0.5))  # type: ignore[no-any-return]


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "attention, fused": Attention,
    "attention by hand": lambda n: Attention(n, fused=False),
    "attention, dropout in the kernel": lambda n: Attention(n, dropout=0.3),
    "grouped queries": lambda n: Attention(n, heads=4, own=2),
    "grouped queries by hand": lambda n: Attention(n, heads=4, own=2, fused=False),
    "one key for all heads": lambda n: Attention(n, heads=4, own=1),
    "rotary, halves": lambda n: Attention(n, rope="halves"),
    "rotary, full": lambda n: Attention(n, rope="full"),
    "rotary, interleaved": lambda n: Attention(n, rope="interleaved"),
    "rotary, pairs": lambda n: Attention(n, rope="pairs"),
    "rotary, GPT-J": lambda n: Attention(n, rope="GPT-J"),
    "rotary, complex": lambda n: Attention(n, rope="complex"),
    "rotary, complex, heads of four": lambda n: Attention(n, heads=n // 4, own=n // 4, rope="complex"),
    "rotary, interleaved, heads of four": lambda n: Attention(n, heads=n // 4, own=n // 4, rope="interleaved"),
    "multi-query, keys picked by a list": Falcon,
    "multi-query, more and more heads": lambda n: Falcon(n, heads=n // 2),
    "ALiBi": lambda n: Attention(n, alibi=True),
    "ALiBi by hand": lambda n: Attention(n, alibi=True, fused=False),
    "nn.MultiheadAttention": Self,
    "nn.MultiheadAttention, dropout": lambda n: Self(n, dropout=0.2),
    "linear attention": Linear,
    "memories of tokens": Memories,
    "linear attention, causal": lambda n: Linear(n, causal=True),
    "nn.TransformerEncoderLayer": lambda n: nn.TransformerEncoderLayer(n, 2, 4 * n, 0.1, "gelu", batch_first=True),
    "nn.TransformerEncoderLayer, norm first": lambda n: nn.TransformerEncoderLayer(
        n, 2, 4 * n, 0.0, batch_first=True, norm_first=True
    ),
    "nn.TransformerDecoderLayer": Decoder,
    "GLU": lambda n: GatedUnit(n, "GLU"),
    "SwiGLU": lambda n: GatedUnit(n, "SwiGLU"),
    "GeGLU": lambda n: GatedUnit(n, "GeGLU"),
    "experts, soft": lambda n: Experts(n, "soft"),
    "experts, top-k by one-hot": lambda n: Experts(n, "one-hot"),
    "experts, top-k by scatter": lambda n: Experts(n, "renormalised"),
    "experts, top-k, weights gathered": lambda n: Experts(n, "gathered"),
    "experts, switch": lambda n: Experts(n, "switch"),
    "experts, masked": Masked,
    "LoRA": Adapter,
    "LoRA, merged": lambda n: Adapter(n, merged=True),
    "tied, transposed and halved": Tied,
    "weights concatenated": Concatenated,
}


def cases() -> list[Case]:
    x = numbers(3, 4, 4)
    found = [
        Case("attention", name, optimizer, fitting(lambda n, f=block: Sequence(n, f(n)), x, optimizer))
        for name, block in BLOCKS.items()
        for optimizer in ("SGD", "AdamW")
    ]
    return [
        *found,
        Case(
            "attention",
            "experts, looped over their tokens",
            "SGD",
            fitting(lambda n: Sequence(n, Looped(n)), x),
            outside="depends on|different things",
        ),
    ]
