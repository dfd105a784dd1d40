"""Is a built model continued only to widths where copies do what it does? Is every assumption said?"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.commands import check as checking
from tpdyn.recorder.built.widened import Widened, widened
from tpdyn.recorder.errors import RecordingError

DRAWS = torch.Generator().manual_seed(1)
X, Y = torch.randn(7, 5, generator=DRAWS), torch.randn(7, 3, generator=DRAWS)
IMAGES, LABELS = torch.randn(6, 3, 8, 8, generator=DRAWS), torch.tensor([0, 9, 3, 3, 1, 7])
TOKENS = torch.randint(11, (5, 8), generator=DRAWS)


def loop(x: Tensor, y: Tensor, loss: Callable[..., Tensor] = F.mse_loss) -> Callable[[nn.Module], None]:
    def fit(model: nn.Module) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()

    return fit


def tokens_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


class Config:
    """Shared by all modules, as in nanoGPT."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        self.n_embd, self.n_head, self.vocab_size, self.block_size = n_embd, n_head, 11, 8


class GPT(nn.Module):
    """One block; the heads are whatever number of `head_dim` there are, as in Hugging Face's models."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.head_dim = config.n_embd // config.n_head
        self.scale = 1 / math.sqrt(self.head_dim)
        self.wte, self.wpe = nn.Embedding(11, config.n_embd), nn.Embedding(8, config.n_embd)
        self.ln = nn.LayerNorm(config.n_embd)
        self.qkv, self.proj = nn.Linear(config.n_embd, 3 * config.n_embd), nn.Linear(config.n_embd, config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, 11, bias=False)
        self.lm_head.weight = self.wte.weight
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        q, k, v = (
            y.view(*y.shape[:2], -1, self.head_dim).transpose(1, 2)
            for y in self.qkv(self.ln(x)).split(self.config.n_embd, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return self.lm_head(x + self.proj(y.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """A stem, one residual block, a transition, two kinds of norm; He's initialisation, as torchvision has it."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.down, self.gn = nn.Conv2d(channels, 4 * channels, 1, stride=2), nn.GroupNorm(4, 4 * channels)
        self.fc = nn.Linear(4 * channels, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(self.gn(self.down(x + self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


class Vit(nn.Module):
    """A class token beside the patches, positions, torch's own encoder layer."""

    def __init__(self, d: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, d, 4, stride=4)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, d)), nn.Parameter(torch.randn(1, 5, d))
        self.encoder = nn.TransformerEncoderLayer(d, 4, 2 * d, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        return self.head(self.encoder(x)[:, 0])  # type: ignore[no-any-return]


def mlp() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 32), nn.LayerNorm(32), nn.Tanh(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3))


def gpt(n_embd: int = 32, n_head: int = 4) -> nn.Module:
    torch.manual_seed(3)
    return GPT(Config(n_embd, n_head))


def said(wide: Widened, start: str) -> str:
    (found,) = [line for line in wide.assumptions if line.startswith(start)]
    return found


def test_a_built_model_is_recorded_predicted_and_verified_against_itself() -> None:
    model = mlp()
    before = [p.clone() for p in model.parameters()]
    wide = widened(model, loop(X, Y))
    program = tpdyn.record(wide, steps=2)
    assert (wide.base, wide.unit, wide.widths) == (32, 1, (8, 12, 20))
    assert program.verified == 32 and program.widths == wide.widths
    assert program.notes[: len(wide.assumptions)] == wide.assumptions
    laws = {s.name: str(s.instruction.law.scale) for s in program.statements if s.name in ("3.weight", "5.weight")}  # type: ignore[union-attr]
    assert laws == {"3.weight": "n^-1/2", "5.weight": "0.707107*n^-1/2"}
    assert tpdyn.predict(program).order("5", "size") == 0
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))
    assert model[1].normalized_shape == (32,)  # type: ignore[index, union-attr]


def test_the_command_line_sees_the_model_behind_the_function() -> None:
    wide = widened(mlp(), loop(X, Y))
    checked = checking.check(wide, steps=2, measured=False)
    program = checked.prediction.program
    assert program.widths == wide.widths and program.verified == 32 and wide.assumptions[0] in program.notes


def test_copies_have_the_dims_and_the_initial_law_of_their_width() -> None:
    seen: dict[int, nn.Module] = {}

    def fit(model: nn.Module) -> None:
        seen[model[0].out_features] = model  # type: ignore[index, union-attr]
        loop(X, Y)(model)

    wide = widened(mlp(), fit)
    wide(256)
    copy = seen[256]
    assert [tuple(p.shape) for p in copy.parameters()][4] == (512, 256)
    assert float(copy[3].weight.detach().abs().max()) == pytest.approx(256**-0.5, rel=0.15)  # type: ignore[index, union-attr]
    with pytest.raises(RecordingError, match="width 24: the copies of GPT have whole dims at multiples of 16"):
        widened(gpt(64, 16), loop(TOKENS, TOKENS, tokens_loss))(24)


def test_a_gpt_with_a_shared_config_is_continued_and_its_numbers_follow() -> None:
    """The head's size, 8, is also the number of tokens. Left as it is, the number of heads would grow in its stead."""
    wide = widened(gpt(), loop(TOKENS, TOKENS, tokens_loss))
    assert (wide.base, wide.unit) == (32, 4)
    changed = said(wide, "numbers that modules keep and that were made to grow")
    assert "head_dim = 8" in changed and "config.n_embd = 32" in changed and "n_head" not in changed
    assert "scale = 0.3536, taken for 8^-1/2" in changed
    assert said(wide, "numbers that could be a width").endswith("left as they are: config.block_size = 8")
    assert "wte.weight:0, wpe.weight:0 (looked up by an index)" in said(wide, "assumed to be fixed")
    assert "standard deviations as measured, 0.0" in said(wide, "assumed of initial entries")
    program = tpdyn.record(wide, steps=1)
    assert program.verified == 32


def test_heads_grow_where_their_size_is_declared_finite() -> None:
    wide = widened(gpt(), loop(TOKENS, TOKENS, tokens_loss), finite=["head_dim"])
    assert wide.unit == 8 and "sizes 4, 32, 96" in said(wide, "assumed to grow")
    assert widened(gpt(), loop(TOKENS, TOKENS, tokens_loss), finite=[8]).assumptions == wide.assumptions
    with pytest.raises(RecordingError, match="no module of GPT keeps a whole number of that name"):
        widened(gpt(), loop(TOKENS, TOKENS, tokens_loss), finite=["d_head"])


def test_a_dim_that_is_declared_finite_stays() -> None:
    wide = widened(mlp(), loop(X, Y), finite=["5.weight:1"])
    assert "sizes 32 (" in said(wide, "assumed to grow")
    assert "3.weight:0, 3.bias:0, 5.weight:1 (declared to be finite)" in said(wide, "assumed to be fixed")


def test_a_residual_network_is_continued_by_the_rule_by_which_it_was_drawn() -> None:
    torch.manual_seed(3)
    wide = widened(ResNet(), loop(IMAGES, LABELS, F.cross_entropy))
    assert "sizes 8, 32" in said(wide, "assumed to grow")
    assert "conv.groups = 8" in said(wide, "numbers that modules keep")
    laws = said(wide, "assumed of initial entries")
    assert "standard deviation sqrt(2/fan_out), He's: stem.weight, conv.weight, down.weight" in laws
    assert tpdyn.record(wide, steps=1).verified == wide.base == 8


def test_a_class_token_and_positions_keep_their_number() -> None:
    torch.manual_seed(3)
    wide = widened(Vit(), loop(IMAGES, LABELS, F.cross_entropy))
    fixed = said(wide, "assumed to be fixed")
    assert "pos:1" in fixed and "cls:1" not in fixed
    assert (wide.base, wide.unit) == (32, 4)


def test_a_power_that_the_user_knows_is_taken() -> None:
    wide = widened(gpt(), loop(TOKENS, TOKENS, tokens_loss), initial={"qkv.*": Fraction(-1, 2)})
    assert "at this width, growing like n^-1/2: qkv.weight" in said(wide, "assumed of initial entries")
    program = tpdyn.record(wide, steps=1, verify=False)
    (law,) = {str(s.instruction.law.scale) for s in program.statements if s.name == "qkv.weight[0]"}  # type: ignore[union-attr]
    assert law.endswith("*n^-1/2")


class Stubborn(nn.Module):
    """Sizes that are written into the code cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(5, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inner(x)).view(-1, 4, 8).flatten(1))  # type: ignore[no-any-return]


class Branching(Stubborn):
    """Another computation at other widths."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.inner(x))
        return self.out(h if h.shape[1] == 32 else torch.relu(h))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Stubborn(), r"shape '\[-1, 4, 8\]' is invalid"),
        (Branching(), "the script does different things at different widths"),
        (nn.Linear(5, 3), "no dim of Linear could be its width: weight:0 is met by y; weight:1 is met by x"),
    ],
)
def test_what_cannot_be_continued_is_refused_with_the_first_difference(model: nn.Module, named: str) -> None:
    with pytest.raises(RecordingError, match=named) as caught:
        widened(model, loop(X, Y))
    assert "ive a function of the width" in str(caught.value)


def test_a_loop_that_trains_something_else_is_refused() -> None:
    other = nn.Linear(5, 3)
    with pytest.raises(RecordingError, match="Expected a loop that calls the model it is given"):
        widened(mlp(), lambda model: loop(X, Y)(other))
