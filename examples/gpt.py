"""A small GPT on characters: two layers, tied embeddings, AdamW, clipping, a cosine schedule. Knows nothing of tpdyn.

tpdyn check examples/gpt.py --width-arg=--d-model --widths 32,48,64,256
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
    """Causal self-attention with PyTorch's own scaled dot product (logits divided by the root of the head's size)."""

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x):
        batch, tokens, d_model = x.shape
        q, k, v = self.qkv(x).split(d_model, dim=2)
        q, k, v = (y.view(batch, tokens, self.heads, d_model // self.heads).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, d_model))


class Block(nn.Module):
    """Attention and an MLP, each on a normalised residual stream."""

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        self.ln1 = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, heads)
        self.ln2 = nn.LayerNorm(d_model)
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class GPT(nn.Module):
    """The usual decoder; the readout is the token embedding."""

    def __init__(self, vocabulary: int, context: int, d_model: int, heads: int, layers: int):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, heads) for _ in range(layers))
        self.ln = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocabulary, bias=False)
        self.apply(self._initialise)
        self.head.weight = self.tokens.weight

    def _initialise(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--context", type=int, default=20)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lr", type=float, default=1e-3)
    arguments = parser.parse_args()

    characters = sorted(set(TEXT))
    text = torch.tensor([characters.index(character) for character in TEXT])
    model = GPT(len(characters), arguments.context, arguments.d_model, arguments.heads, arguments.layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / arguments.steps))
    )
    draws = torch.Generator().manual_seed(0)
    for step in range(arguments.steps):
        starts = torch.randint(len(text) - arguments.context - 1, (arguments.batch,), generator=draws)
        rows = torch.stack([text[start : start + arguments.context + 1] for start in starts])
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
