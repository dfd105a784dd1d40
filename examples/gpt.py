"""A small GPT on characters: two layers, tied embeddings, AdamW, clipping, a cosine schedule. Knows nothing of tpdyn.

tpdyn check examples/gpt.py --width-arg=--d-model --widths 32,48,64,256
tpdyn check examples/gpt.py --width-arg=--d-model --widths 32,64,128,256 -- --mup

The first is GPT-2's way: every weight starts with a standard deviation of 0.02, and one learning rate serves all. With
--mup weights, rates, attention and readout are scaled with the width by the maximal update parametrization for Adam.
"""

import argparse
import math

import torch
from torch import nn
from torch.nn import functional as F

TEXT = (
    "the width of a network is the number that grows; the verdict says what happens to every layer when it does. "
    "a layer may blow up, freeze, or learn at the same pace at every width, and only the last is worth scaling. "
) * 40


class Attention(nn.Module):
    """Causal self-attention; logits are divided by the root of the head's size, in muP by the size itself."""

    def __init__(self, d_model: int, heads: int, mup: bool):
        super().__init__()
        self.heads = heads
        self.scale = (d_model // heads) ** (-1.0 if mup else -0.5)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x):
        batch, tokens, d_model = x.shape
        q, k, v = self.qkv(x).split(d_model, dim=2)
        q, k, v = (y.view(batch, tokens, self.heads, d_model // self.heads).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, d_model))


class Block(nn.Module):
    """Attention and an MLP, each on a normalised residual stream."""

    def __init__(self, d_model: int, heads: int, mup: bool):
        super().__init__()
        self.ln1 = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, heads, mup)
        self.ln2 = nn.LayerNorm(d_model)
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class GPT(nn.Module):
    """The usual decoder; the readout is the token embedding."""

    def __init__(self, vocabulary: int, context: int, d_model: int, heads: int, layers: int, mup: bool):
        super().__init__()
        self.mup = mup
        self.scale = 1 / d_model if mup else 1.0
        self.tokens = nn.Embedding(vocabulary, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, heads, mup) for _ in range(layers))
        self.ln = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocabulary, bias=False)
        self.apply(self._initialise)
        self.head.weight = self.tokens.weight

    def _initialise(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5 if self.mup else 0.02)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=1.0 if self.mup else 0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln(x)) * self.scale


def groups(model: GPT, lr: float):
    """One rate for all. In muP the rate of matrices with two wide sides falls with the width (`lr` is that at 32)."""
    if not model.mup:
        return [{"params": model.parameters(), "lr": lr}]
    matrices = [parameter for parameter in model.blocks.parameters() if parameter.dim() == 2]
    known = set(matrices)
    others = [parameter for parameter in model.parameters() if parameter not in known]
    width = model.tokens.embedding_dim
    return [{"params": matrices, "lr": lr * 32 / width}, {"params": others, "lr": lr}]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--context", type=int, default=20)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--mup", action="store_true")
    arguments = parser.parse_args()

    characters = sorted(set(TEXT))
    text = torch.tensor([characters.index(character) for character in TEXT])
    sizes = (arguments.context, arguments.d_model, arguments.heads, arguments.layers)
    model = GPT(len(characters), *sizes, mup=arguments.mup)
    optimizer = torch.optim.AdamW(groups(model, arguments.lr), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / arguments.steps))
    )
    draws = torch.Generator().manual_seed(0)
    for step in range(arguments.steps):
        starts = torch.randint(len(text) - arguments.context - 1, (arguments.batch,), generator=draws)
        rows = text[starts[:, None] + torch.arange(arguments.context + 1)]
        logits = model(rows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
