"""Convolutions, pooling, normalisation, padding and functions of tensors, each inside a small network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conformance.case import Case, fitting, numbers


class Pooled(nn.Module):
    """Input layer, the layer in question, activation, mean over space, readout. All channels are wide."""

    def __init__(self, width: int, space: int, layer: nn.Module, channels: int | None = None) -> None:
        super().__init__()
        conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[space - 1]
        self.first, self.layer = conv(2, width, 1), layer
        self.head = nn.Linear(channels or width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.layer(torch.tanh(self.first(x))))
        return self.head(h.flatten(2).mean(-1))  # type: ignore[no-any-return]


def image(space: int) -> Tensor:
    """A batch of 3 with 2 channels."""
    return numbers(3, 2, *(6, 5, 4)[:space])


def pooled(space: int, layer_of: Callable[[int], nn.Module], optimizer: str, times: int = 1) -> Any:
    return fitting(lambda n: Pooled(n, space, layer_of(n), times * n), image(space), optimizer)


SPATIAL: dict[str, tuple[int, Callable[[int], nn.Module]]] = {
    "Conv1d": (1, lambda n: nn.Conv1d(n, n, 3, padding=1)),
    "Conv1d, stride and dilation": (1, lambda n: nn.Conv1d(n, n, 2, stride=2, dilation=2, padding=2)),
    "Conv1d, causal": (1, lambda n: nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(n, n, 3))),
    "Conv2d": (2, lambda n: nn.Conv2d(n, n, 3, padding=1)),
    "Conv2d, stride 2": (2, lambda n: nn.Conv2d(n, n, 3, stride=2, padding=1, bias=False)),
    "Conv2d, 1x1": (2, lambda n: nn.Conv2d(n, n, 1)),
    "Conv2d, groups": (2, lambda n: nn.Conv2d(n, n, 3, padding=1, groups=4)),
    "Conv2d, depthwise": (2, lambda n: nn.Conv2d(n, n, 3, padding=1, groups=n)),
    "Conv2d, depthwise separable": (
        2,
        lambda n: nn.Sequential(nn.Conv2d(n, n, 3, padding=1, groups=n), nn.Conv2d(n, n, 1)),
    ),
    "Conv2d, padding same": (2, lambda n: nn.Conv2d(n, n, 2, padding="same")),
    "Conv2d, reflect": (2, lambda n: nn.Conv2d(n, n, 3, padding=1, padding_mode="reflect")),
    "Conv2d, circular": (2, lambda n: nn.Conv2d(n, n, 3, padding=1, padding_mode="circular")),
    "Conv2d, replicate": (2, lambda n: nn.Conv2d(n, n, 3, padding=1, padding_mode="replicate")),
    "Conv3d": (3, lambda n: nn.Conv3d(n, n, 2)),
    "ConvTranspose1d": (1, lambda n: nn.ConvTranspose1d(n, n, 3, stride=2)),
    "ConvTranspose2d": (2, lambda n: nn.ConvTranspose2d(n, n, 2, stride=2)),
    "ConvTranspose2d, groups": (2, lambda n: nn.ConvTranspose2d(n, n, 3, padding=1, output_padding=0, groups=2)),
    "ConvTranspose3d": (3, lambda n: nn.ConvTranspose3d(n, n, 2)),
    "MaxPool1d": (1, lambda n: nn.MaxPool1d(2)),
    "MaxPool2d": (2, lambda n: nn.MaxPool2d(2)),
    "MaxPool2d, overlapping": (2, lambda n: nn.MaxPool2d(3, stride=2, padding=1)),
    "MaxPool3d": (3, lambda n: nn.MaxPool3d(2)),
    "AvgPool1d": (1, lambda n: nn.AvgPool1d(2)),
    "AvgPool2d": (2, lambda n: nn.AvgPool2d(3, stride=2, padding=1)),
    "AvgPool2d, padding not counted": (2, lambda n: nn.AvgPool2d(3, padding=1, count_include_pad=False)),
    "AvgPool3d": (3, lambda n: nn.AvgPool3d(2)),
    "AdaptiveAvgPool1d": (1, lambda n: nn.AdaptiveAvgPool1d(4)),
    "AdaptiveAvgPool2d": (2, lambda n: nn.AdaptiveAvgPool2d((4, 2))),
    "AdaptiveAvgPool2d, global": (2, lambda n: nn.AdaptiveAvgPool2d(1)),
    "AdaptiveAvgPool3d": (3, lambda n: nn.AdaptiveAvgPool3d(2)),
    "AdaptiveMaxPool1d": (1, lambda n: nn.AdaptiveMaxPool1d(4)),
    "AdaptiveMaxPool2d": (2, lambda n: nn.AdaptiveMaxPool2d(2)),
    "LPPool2d": (2, lambda n: nn.LPPool2d(2, 2)),
    "BatchNorm1d": (1, nn.BatchNorm1d),
    "BatchNorm2d": (2, nn.BatchNorm2d),
    "BatchNorm3d": (3, nn.BatchNorm3d),
    "BatchNorm2d, frozen": (2, lambda n: nn.BatchNorm2d(n).eval()),
    "BatchNorm2d, no statistics": (2, lambda n: nn.BatchNorm2d(n, affine=False, track_running_stats=False)),
    "GroupNorm": (2, lambda n: nn.GroupNorm(4, n)),
    "GroupNorm, one group": (2, lambda n: nn.GroupNorm(1, n)),
    "InstanceNorm1d": (1, lambda n: nn.InstanceNorm1d(n)),
    "InstanceNorm2d": (2, lambda n: nn.InstanceNorm2d(n, affine=True)),
    "InstanceNorm2d, statistics": (2, lambda n: nn.InstanceNorm2d(n, track_running_stats=True)),
    "LocalResponseNorm": (2, lambda n: nn.LocalResponseNorm(3)),
    "ZeroPad2d": (2, lambda n: nn.ZeroPad2d(1)),
    "ConstantPad2d": (2, lambda n: nn.ConstantPad2d(1, 0.5)),
    "ReflectionPad1d": (1, lambda n: nn.ReflectionPad1d(2)),
    "ReplicationPad2d": (2, lambda n: nn.ReplicationPad2d((1, 0, 2, 1))),
    "CircularPad1d": (1, lambda n: nn.CircularPad1d(1)),
    "Upsample, nearest": (2, lambda n: nn.Upsample(scale_factor=2)),
    "Upsample, bilinear": (2, lambda n: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)),
    "Upsample, bicubic": (2, lambda n: nn.Upsample(scale_factor=2, mode="bicubic")),
    "Dropout2d": (2, lambda n: nn.Dropout2d(0.5)),
    "AlphaDropout": (2, lambda n: nn.AlphaDropout(0.3)),
    "PReLU": (2, lambda n: nn.PReLU(n)),
    "Fold of Unfold": (2, lambda n: FoldUnfold(n)),
    "spectral norm": (2, lambda n: torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(n, n, 1))),
    "spectral norm by hooks": (2, lambda n: torch.nn.utils.spectral_norm(nn.Conv2d(n, n, 1))),
    "weight norm": (2, lambda n: torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(n, n, 3, padding=1))),
}


class FoldUnfold(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 2)
        return F.fold(patches, x.shape[2:], 2)


class Unshuffle(nn.Module):
    """Channels four times as many, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, width, 1)
        self.mix, self.head = nn.Conv2d(4 * width, 4 * width, 1), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.pixel_unshuffle(torch.tanh(self.first(x)), 2)
        return self.head(F.pixel_shuffle(torch.tanh(self.mix(h)), 2).mean((2, 3)))  # type: ignore[no-any-return]


class Flattened(nn.Sequential):
    """Rows of an image that are padded and looked up, and factors of the readout's wide dim."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(2, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="circular"),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * width, 3),
        )


class UNet(nn.Module):
    """Down, up, and the skip laid beside what comes up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, width, 3, padding=1)
        self.down, self.middle = nn.Conv2d(width, 2 * width, 3, 2, 1), nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(2 * width, width, 2, 2), nn.Conv2d(2 * width, width, 3, padding=1)
        self.norm, self.head = nn.GroupNorm(2, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.silu(self.norm(self.first(x)))
        deep = F.silu(self.middle(F.silu(self.down(skip))))
        h = F.silu(self.join(torch.cat([self.up(deep), skip], 1)))
        return self.head(h.mean((2, 3)))  # type: ignore[no-any-return]


class Wrapped(nn.Module):
    """A function of one tensor between linear layers."""

    def __init__(self, width: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(self.function(torch.tanh(self.first(x))))))  # type: ignore[no-any-return]


def put(h: Tensor) -> Tensor:
    out = torch.zeros_like(h)
    out[torch.tensor([2, 0, 1])] = h[:3]
    return out + h


def row_written(h: Tensor) -> Tensor:
    h = h.clone()
    h[1] = h[0] * 2
    h[1:3] += h[2:].detach() * 2
    return h


def columns(h: Tensor) -> Tensor:
    out = torch.empty_like(h)
    out[:, ::2] = h[:, 1::2].exp()
    out[:, 1::2] = -h[:, ::2]
    return out


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "cumsum over tokens": lambda h: h.cumsum(0) / 2,
    "cumprod over tokens": lambda h: (1 + h / 4).cumprod(0),
    "prod over heads": lambda h: h.view(h.shape[0], 2, -1).prod(1).repeat(1, 2),
    "norm of order 3": lambda h: h / (1 + torch.linalg.vector_norm(h, ord=3, dim=0, keepdim=True)),
    "norm of order inf over tokens": lambda h: (
        h / (1 + torch.linalg.vector_norm(h, ord=float("inf"), dim=0, keepdim=True))
    ),
    "standardised, unbiased": lambda h: (h - h.mean(-1, keepdim=True)) / (h.std(-1, keepdim=True) + 1e-6),
    "max over tokens": lambda h: h + h.max(0).values,
    "amin over tokens": lambda h: h + h.amin(0),
    "tensor ** tensor": lambda h: (1.5 + h) ** h.roll(1, 0),
    "index_put": put,
    "rows written": row_written,
    "F.normalize": lambda h: F.normalize(h, dim=-1) * h.shape[-1] ** 0.5,
    "cosine similarity": lambda h: h * F.cosine_similarity(h, h.flip(0), dim=-1).unsqueeze(-1),
    "cdist": lambda h: h + torch.cdist(h, h).mean(-1, keepdim=True) / h.shape[-1] ** 0.5,
    "einsum": lambda h: torch.einsum("bi,bj,i->bj", h, h, h[0]) / h.shape[-1],
    "bilinear attention": lambda h: torch.softmax(h @ h.t() / h.shape[-1], -1) @ h,
    "logsumexp over tokens": lambda h: h + torch.logsumexp(h, 0),
    "where and clamp": lambda h: torch.where(h > 0, h, 0.1 * h).clamp(-0.5, 0.5),
    "sort over tokens": lambda h: h.sort(0).values,
    "atan2": lambda h: torch.atan2(h, 1 + h.roll(1, 0) ** 2),
    "hypot": lambda h: torch.hypot(h, 1 + h.flip(0)),
    "addcdiv": lambda h: torch.addcdiv(h, h, 2 + h.flip(0), value=0.5),
    "outer and trace": lambda h: h * torch.einsum("bi,bi->b", h, h).unsqueeze(1) / h.shape[-1],
    "diff": lambda h: F.pad(h.diff(dim=0), (0, 0, 1, 0)),
    "straight through": lambda h: h + (h.sign() - h).detach(),
    "roll and flip": lambda h: h + h.roll(1, 0) + h.flip(0),
    "repeat_interleave": lambda h: h.repeat_interleave(2, 0).view(h.shape[0], 2, -1).sum(1),
    "Gumbel softmax": lambda h: h * F.gumbel_softmax(h, dim=0),
    "std over tokens": lambda h: (h - h.mean(0)) / (h.std(0) + 0.1),
    "log1p, softplus, sinh, atan": lambda h: torch.atan(torch.sinh(F.softplus(h))) + torch.log1p(h * h),
    "softmin, softsign, tanhshrink": lambda h: F.softsign(h) + F.tanhshrink(h) * F.softmin(h, 0),
    "two of many coordinates": lambda h: h * h[:, :2].softmax(-1)[:, :1],
    "hardshrink, softshrink, relu6": lambda h: F.hardshrink(h, 0.1) + F.softshrink(h, 0.1) + F.relu6(h),
    "logit, xlogy, erfc": lambda h: torch.logit(0.5 + h / 4) + torch.erfc(h) + torch.xlogy(h, h * h + 0.1),
    "complex rotation": lambda h: torch.view_as_real(
        torch.view_as_complex(h.view(h.shape[0], -1, 2)) * torch.polar(torch.ones(4, 1), numbers(4, 1))
    ).flatten(1),
    "complex numbers": lambda h: torch.view_as_real(torch.complex(h, h.roll(1, 0)) / torch.complex(1 + h * h, h)).mean(
        -1
    ),
    "complex sizes and angles": lambda h: torch.complex(h, h.flip(0)).abs() + torch.complex(1 + h * h, h).angle(),
    "Fourier transform over tokens": lambda h: torch.fft.fft(h, dim=0, norm="ortho").real,
    "Fourier transform over the width": lambda h: torch.fft.fft(h, dim=-1, norm="ortho").real,
    "long convolution by FFT": lambda h: torch.fft.irfft(
        torch.fft.rfft(h, n=8, dim=0) * torch.fft.rfft(h[:2], n=8, dim=0), n=8, dim=0
    )[:4],
    "neighbours swapped": lambda h: torch.stack([h[..., 1::2], h[..., ::2]], -1).flatten(1),
    "every other one written": columns,
    "block diagonal": lambda h: torch.matmul(
        h.view(h.shape[0], 2, 1, -1), torch.diag_embed(h.view(h.shape[0], 2, -1))
    ).flatten(1),
}


SPECIAL = "a fixed number of coordinates is cut out of a wide dim.*"
OUTSIDE = {
    "LocalResponseNorm": rf"(?s){SPECIAL}layers\.py:\d+",
    "two of many coordinates": rf"(?s){SPECIAL}layers\.py:\d+",
    "Fourier transform over the width": "a fixed matrix both of whose dims grow",
}
"""What is outside the theory, and what its refusal (or the caveat of its orders) says."""


def cases() -> list[Case]:
    found = [
        Case("layers", name, optimizer, pooled(space, layer_of, optimizer), outside=OUTSIDE.get(name, ""))
        for name, (space, layer_of) in SPATIAL.items()
        for optimizer in ("SGD", "AdamW")
    ]
    for name, model in {"pixel shuffle": Unshuffle, "U-Net": UNet, "flattened": Flattened}.items():
        found += [Case("layers", name, o, fitting(model, numbers(3, 2, 4, 4), o)) for o in ("SGD", "AdamW")]
    for name, function in FUNCTIONS.items():
        train = fitting(lambda n, f=function: Wrapped(n, f), numbers(4, 4))
        found.append(Case("functions", name, "SGD", train, outside=OUTSIDE.get(name, "")))
    return found
