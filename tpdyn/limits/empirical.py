"""Which tangent kernel has this very network, with the weights that it has? `empirical_ntk(model, x1, x2)`.

`sum over parameters of df_c(x)/dw df_d(x')/dw`. A linear or convolutional layer's part is found without its Jacobian. The
gradient by its weight is an outer product of what enters the layer and what comes back to it. So Gram matrices of the two are
multiplied, or the smaller Jacobian is formed, whichever takes fewer operations. The other parameters are few; their Jacobians
are written out. Compare Novak, Sohl-Dickstein and Schoenholz (arXiv 2206.08720), section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

ENTRIES = 2**26
"""Numbers of one block that are held at once."""


@final
@dataclass(frozen=True)
class Call:
    """One pass through a linear or convolutional layer, for some samples.

    entering: "samples positions inputs" (a position: a token or pixel). returning: "samples outputs positions units", the
    gradient of each output of the network.
    """

    layer: nn.Module
    entering: Tensor
    returning: Tensor


@final
@dataclass(frozen=True)
class Gradients:
    """What gradients of some samples are made of: calls of layers, and Jacobians "samples outputs entries" of the rest."""

    calls: tuple[Call, ...]
    rest: dict[str, Tensor]
    samples: int
    outputs: int


def empirical_ntk(
    model: nn.Module, x1: Tensor, x2: Tensor | None = None, *, outputs: Literal["mean", "all"] = "mean"
) -> Tensor:
    """Compute the neural tangent kernel of a network at its present weights.

    Args:
        model: any module that maps "samples ..." to "samples outputs" (or "samples"), each sample by itself.
        x1: inputs, "samples1 ...". x2: further inputs (those of x1 unless given).
        outputs: "mean" of the kernels of single outputs, or "all" pairs of them.

    Returns:
        "samples1 samples2", or "samples1 samples2 outputs outputs" for all pairs.

    Raises:
        ValueError: a batch norm in training mode (samples are mixed), or outputs of another shape.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or not module.track_running_stats):
            raise ValueError(f"{name} mixes the samples of a batch in training mode; call model.eval() first")
    rows = max(1, ENTRIES // max(1, sum(p.numel() for p in model.parameters()) // 8))
    blocks = []
    second = None if x2 is None else [_gradients(model, part) for part in torch.split(x2, rows)]
    first = [_gradients(model, part) for part in torch.split(x1, rows)]
    for one in first:
        blocks.append(torch.cat([_kernel(one, other, outputs) for other in (second or first)], 1))
    return torch.cat(blocks)


def _gradients(model: nn.Module, x: Tensor) -> Gradients:
    """Run some samples forward, and every output of theirs back."""
    entering: list[tuple[nn.Module, Tensor]] = []
    leaving: list[Tensor] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        entering.append((layer, inputs[0].detach()))
        leaving.append(output)

    handles = [module.register_forward_hook(note) for module in model.modules() if _is_plain(module)]
    try:
        with torch.enable_grad():
            outputs = model(x)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(outputs, Tensor) or outputs.dim() not in (1, 2) or len(outputs) != len(x):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"the model returned {shape} for {len(x)} samples; expected one row of outputs for each sample"
        )
    outputs = outputs[:, None] if outputs.dim() == 1 else outputs
    basis = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)[:, None].expand(-1, len(x), -1)
    back: Sequence[Tensor | None] = ()
    if leaving:
        back = torch.autograd.grad(outputs, leaving, basis, is_grads_batched=True, allow_unused=True, retain_graph=True)
    calls = tuple(
        _call(layer, given, returned)
        for (layer, given), returned in zip(entering, back, strict=True)
        if returned is not None
    )
    elsewhere = _used_elsewhere(outputs, calls, [layer for layer, _ in entering])
    calls = tuple(call for call in calls if call.layer not in elsewhere)
    known = {id(p) for call in calls for p in call.layer.parameters(recurse=False)}
    rest = [name for name, p in model.named_parameters() if id(p) not in known]
    return Gradients(calls, _jacobians(model, x, rest), len(x), outputs.shape[1])


def _is_plain(module: nn.Module) -> bool:
    """Tell whether the gradient by a layer's weight is a sum of outer products, one for each position."""
    convolution = isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros"
    trained = all(p.requires_grad for p in module.parameters(recurse=False))
    return (isinstance(module, nn.Linear) or convolution) and trained


def _used_elsewhere(output: Tensor, calls: Sequence[Call], called: Sequence[nn.Module]) -> set[nn.Module]:
    """Layers whose weight serves outside of its calls, too (tied embeddings): their gradient is not that of the calls.

    A weight that the graph reads as often as its layer was called is not in question. Of others the gradients are compared.
    """
    reads = _reads(output)
    layers = [
        layer
        for layer in dict.fromkeys(call.layer for call in calls)
        if reads[id(next(layer.parameters(recurse=False)))] != sum(each is layer for each in called)
    ]
    if not layers:
        return set()
    weights = [next(layer.parameters(recurse=False)) for layer in layers]
    truth = torch.autograd.grad(output.sum(), weights, allow_unused=True)
    users = set()
    for layer, gradient in zip(layers, truth, strict=True):
        assert gradient is not None
        parts = [torch.einsum("ncpu,npi->ui", c.returning, c.entering) for c in calls if c.layer is layer]
        mine = torch.stack(parts).sum(0).reshape(gradient.shape)
        tolerance = 1e-3 if gradient.dtype == torch.float32 else 1e-8
        if not torch.allclose(mine, gradient, rtol=tolerance, atol=tolerance * float(gradient.abs().max())):
            users.add(layer)
    return users


def _reads(output: Tensor) -> Counter[int]:
    """How many operations of a graph read each leaf, by its identity."""
    counts: Counter[int] = Counter()
    todo, known = [output.grad_fn], {output.grad_fn}
    while todo:
        node = todo.pop()
        for following, _ in () if node is None else node.next_functions:
            if following is None:
                continue
            if (leaf := getattr(following, "variable", None)) is not None:
                counts[id(leaf)] += 1
            elif following not in known:
                known.add(following)
                todo.append(following)
    return counts


def _call(layer: nn.Module, given: Tensor, returned: Tensor) -> Call:
    """Return both sides of a layer as "samples positions ..."; a convolution's patches are positions."""
    if isinstance(layer, nn.Conv2d):
        assert not isinstance(layer.padding, str) or layer.padding in ("same", "valid")
        padding = _padding(layer)
        patches = nn.functional.unfold(
            nn.functional.pad(given, padding), layer.kernel_size, layer.dilation, 0, layer.stride
        )
        return Call(layer, patches.transpose(1, 2), returned.flatten(3).permute(1, 0, 3, 2))
    samples = len(given)
    return Call(
        layer,
        given.reshape(samples, -1, given.shape[-1]),
        returned.reshape(len(returned), samples, -1, returned.shape[-1]).transpose(0, 1),
    )


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    if layer.padding == "valid":
        return (0, 0, 0, 0)
    if layer.padding == "same":
        sizes = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return (sizes[1] // 2, sizes[1] - sizes[1] // 2, sizes[0] // 2, sizes[0] - sizes[0] // 2)
    rows, columns = (int(p) for p in layer.padding)
    return (columns, columns, rows, rows)


def _jacobians(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Write out the Jacobians of the named parameters: "samples outputs entries"."""
    parameters = {name: p for name, p in model.named_parameters() if name in names and p.requires_grad}
    if not parameters:
        return {}
    held = {name: p.detach() for name, p in model.named_parameters() if name not in parameters}
    buffers = dict(model.named_buffers())

    def output(given: dict[str, Tensor], sample: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(model, ({**held, **given}, buffers), (sample[None],))
        return outputs.reshape(-1)

    jacobians = torch.func.vmap(torch.func.jacrev(output), (None, 0))({k: p.detach() for k, p in parameters.items()}, x)
    return {name: jacobian.flatten(2) for name, jacobian in jacobians.items()}


def _kernel(one: Gradients, other: Gradients, outputs: str) -> Tensor:
    kernel: Tensor | None = None
    for a in one.calls:
        for b in other.calls:
            if a.layer is b.layer:
                part = _layer(a, b, outputs)
                kernel = part if kernel is None else kernel + part
    for name, jacobian in one.rest.items():
        part = _contracted(jacobian, other.rest[name], outputs)
        kernel = part if kernel is None else kernel + part
    if kernel is None:
        raise ValueError("no parameter of the model requires a gradient")
    return kernel / one.outputs if outputs == "mean" else kernel


def _contracted(a: Tensor, b: Tensor, outputs: str) -> Tensor:
    """Multiply the Jacobians "samples outputs entries" of both sides."""
    if outputs == "mean":
        return a.flatten(1) @ b.flatten(1).T
    return torch.einsum("nce,mde->nmcd", a, b)


def _layer(a: Call, b: Call, outputs: str) -> Tensor:
    """Compute one layer's part: by Gram matrices of what enters and returns, or by its Jacobian."""
    bias = getattr(a.layer, "bias", None) is not None
    positions, units, inputs = a.entering.shape[1], a.returning.shape[3], a.entering.shape[2]
    c = a.returning.shape[1]
    several = c if outputs == "mean" else c * c
    grams = len(a.entering) * len(b.entering) * positions * b.entering.shape[1] * (inputs + several * units)
    written = (len(a.entering) + len(b.entering)) * positions * c * units * inputs
    written += len(a.entering) * len(b.entering) * several * units * inputs
    if grams <= written:
        back = "ncpu,mcqu->nmpq" if outputs == "mean" else "ncpu,mdqu->nmpqcd"
        returning = torch.einsum(back, a.returning, b.returning)
        entering = torch.einsum("npi,mqi->nmpq", a.entering, b.entering) + (1 if bias else 0)
        shape = (2, 3)
        if outputs == "all":
            entering = entering[..., None, None]
        return (entering * returning).sum(shape)
    mine, theirs = (torch.einsum("ncpu,npi->ncui", x.returning, x.entering).flatten(2) for x in (a, b))
    kernel = _contracted(mine, theirs, outputs)
    if bias:
        kernel = kernel + _contracted(a.returning.sum(2), b.returning.sum(2), outputs)
    return kernel
