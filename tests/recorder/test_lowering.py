"""Does every rule of the lowering give what the aten operation gives, forward and backward?

Tapes are made here without the recorder: a dispatch mode for functional code, every tensor its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from tpdyn.program.program import Origin, Source
from tpdyn.recorder.live.schemas import operation
from tpdyn.recorder.live.tape import Meta, Node, Ref, Tape, TapeMark, TapeParameter
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering import LoweringError, lower
from tpdyn.recorder.lowering.evaluate import evaluate


class TinyRecorder(TorchDispatchMode):
    """Appends a node an operation; tensors are known by identity and kept alive."""

    def __init__(self) -> None:
        super().__init__()
        self.tape = Tape(width=1)
        self.refs: dict[int, Ref] = {}
        self.kept: list[Any] = []
        self.origin = Origin(source=Source("tiny.py", 1, "y = f(x)"))

    def outputs_of(self, result: Any) -> tuple[Any, ...]:
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def add(self, node: Node, outputs: tuple[Any, ...]) -> None:
        for number, output in enumerate(outputs):
            if isinstance(output, torch.Tensor):
                self.refs[id(output)] = Ref(len(self.tape.nodes), number)
                self.kept.append(output)
        self.tape.nodes.append(node)

    def input(self, tensor: torch.Tensor, kind: Any, name: str) -> Ref:
        self.add(
            Node(
                "input",
                None,
                (),
                {},
                (Meta(tuple(tensor.shape), tensor.dtype),),
                self.origin,
                kind,
                name,
                tensor.detach().clone(),
            ),
            (tensor,),
        )
        return self.refs[id(tensor)]

    def ref(self, tensor: torch.Tensor) -> Ref:
        if id(tensor) not in self.refs:
            self.input(tensor, "constant", f"c{len(self.tape.nodes)}")
        return self.refs[id(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.overloadpacket._qualified_op_name == "aten::detach":  # an alias: the same tensor
            self.refs[id(result)] = self.ref(args[0])
            self.kept.append(result)
            return result
        as_ref = lambda x: self.ref(x) if isinstance(x, torch.Tensor) else x  # noqa: E731
        outputs = self.outputs_of(result)
        facts = operation(func)
        func = facts.functional if facts.kind == "in-place" else func
        random = torch.Tag.nondeterministic_seeded in func.tags
        node = Node(
            f"aten.{func.overloadpacket.__name__}.{func._overloadname}",
            func,
            tree_map(as_ref, args),
            tree_map(as_ref, kwargs),
            tuple(Meta(tuple(o.shape), o.dtype) if isinstance(o, torch.Tensor) else None for o in outputs),
            self.origin,
            value=tuple(o.clone() if isinstance(o, torch.Tensor) else o for o in outputs) if random else None,
            random=random,
        )
        self.add(node, outputs)
        return result


def lowered_outputs(
    function: Callable[..., Any], parameters: list[torch.Tensor], data: list[torch.Tensor] | None = None
) -> tuple[Lowered, list[torch.Tensor], list[torch.Tensor]]:
    """Record function(*parameters, *data), lower it, evaluate it: (lowered, its outputs, torch's outputs)."""
    data = data or []
    recorder = TinyRecorder()
    refs = [recorder.input(x, "parameter", f"w{k}") for k, x in enumerate(parameters)]
    for k, x in enumerate(data):
        recorder.input(x, "data", f"x{k}")
    with recorder:
        result = function(*parameters, *data)
    expected = [x for x in recorder.outputs_of(result) if x is not None]
    tape = recorder.tape
    tape.parameters = [TapeParameter(f"w{k}", [ref], []) for k, ref in enumerate(refs)]
    tape.marks = [TapeMark("module", f"out{k}", 0, recorder.ref(x)) for k, x in enumerate(expected)]
    lowered = lower(tape)
    values = evaluate(lowered)
    return lowered, [values[mark.var] for mark in lowered.marks], [x.detach() for x in expected]


def check(
    function: Callable[..., Any],
    parameters: list[torch.Tensor],
    data: list[torch.Tensor] | None = None,
    tolerance: float = 1e-12,
) -> Lowered:
    """Assert that the lowered program gives torch's outputs, entry by entry, to `tolerance` of their size."""
    lowered, found, expected = lowered_outputs(function, parameters, data)
    assert len(found) == len(expected) > 0
    for got, want in zip(found, expected):
        assert got.shape == want.shape
        size = max(1.0, float(want.abs().max())) if want.numel() else 1.0
        assert float((got - want).abs().max()) <= tolerance * size if want.numel() else True
    return lowered


def with_gradients(function: Callable[..., torch.Tensor], count: int) -> Callable[..., Any]:
    """function's output, and the gradients of a generic linear form of it with respect to its first `count` arguments."""

    def both(*tensors: torch.Tensor) -> Any:
        inputs = [x.detach().requires_grad_() for x in tensors[:count]]
        out = function(*inputs, *tensors[count:])
        weights = torch.linspace(-1.0, 1.3, out.numel(), dtype=out.dtype).reshape(out.shape)
        gradients = torch.autograd.grad((out * weights).sum(), inputs, allow_unused=True)
        return (out, *gradients)

    return both


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def positive(*shape: int, seed: int = 0) -> torch.Tensor:
    return draw(*shape, seed=seed).abs() + 0.3


X, Y, V = draw(3, 4), draw(3, 4, seed=1), draw(4)

ENTRYWISE: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "add alpha": lambda x, y: torch.add(x, y, alpha=0.3),
    "add number": lambda x, y: x + 2.5 + y,
    "rsub": lambda x, y: 1.5 - x * y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "mul number": lambda x, y: x * 3 + y,
    "div": lambda x, y: x / (y * y + 1),
    "div number": lambda x, y: x / 7 + y,
    "number div": lambda x, y: 2 / (x * x + 1) + y,
    "square": lambda x, y: torch.square(x) + y,
    "pow 2": lambda x, y: x**2 + y,
    "pow 3": lambda x, y: x**3 + y,
    "2 pow x": lambda x, y: 2.0**x + y,
    "sqrt": lambda x, y: torch.sqrt(x * x + 1) * y,
    "rsqrt": lambda x, y: torch.rsqrt(x * x + 1) * y,
    "addcmul": lambda x, y: torch.addcmul(x, y, x, value=0.7),
    "addcdiv": lambda x, y: torch.addcdiv(x, y, x * x + 1, value=0.7),
    "lerp": lambda x, y: torch.lerp(x, y, 0.3),
    "lerp tensor": lambda x, y: torch.lerp(x, y, torch.sigmoid(x)),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda x, y: torch.where(x > 0, x, y),
    "where number": lambda x, y: torch.where(x > y, x, 0.5),
    "masked_fill": lambda x, y: x.masked_fill(torch.ones(3, 4).tril() == 0, 0.25) * y,
    "clamp": lambda x, y: torch.clamp(x, -0.5, 0.7) + y,
    "clamp_min": lambda x, y: x.clamp(min=0.1) + y,
    "clamp_max": lambda x, y: x.clamp(max=0.1) + y,
    "broadcast row": lambda x, y: x * y[0] + x[:, :1],
    "neg": lambda x, y: -x + y.abs(),
    "exp log": lambda x, y: torch.log(torch.exp(x) + 1) + torch.log1p(y * y),
    "sin cos": lambda x, y: torch.sin(x) + torch.cos(y),
    "sign": lambda x, y: torch.sign(x) * y,
    "comparisons": lambda x, y: ((x > y) & (y < 0)).to(x.dtype) * x,
}
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": lambda x: F.elu(x, 1.3),
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softplus beta": lambda x: F.softplus(x, 2.0, 1.0),
    "logsigmoid": F.logsigmoid,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "erf": torch.erf,
    "abs": torch.abs,
    "threshold": lambda x: F.threshold(x, 0.2, 0.1),
    "tanh of a transpose": lambda x: torch.tanh(x.t()),
    "tanh twice": lambda x: torch.tanh(torch.tanh(x)),
    "softsign": F.softsign,
}


@pytest.mark.parametrize("name", ENTRYWISE)
def test_entrywise_operations_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(ENTRYWISE[name], 2), [X, Y])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_gradients_agree(name: str) -> None:
    # torch's own hardsigmoid multiplies with a sixth in single precision
    check(with_gradients(ACTIVATIONS[name], 1), [X], tolerance=1e-8 if name == "hardsigmoid" else 1e-12)


def test_the_gradient_of_tanh_is_written_with_its_slope() -> None:
    lowered = check(with_gradients(torch.tanh, 1), [X])
    functions = [getattr(s.instruction, "function", "") for s in lowered.statements]
    assert "tanh'" in functions


def test_the_gradient_of_relu_is_a_step_of_what_went_in() -> None:
    lowered = check(with_gradients(lambda x: F.relu(x * 2), 1), [X])
    (step,) = [s.instruction for s in lowered.statements if getattr(s.instruction, "function", "") == "step"]
    (relu,) = [s.instruction for s in lowered.statements if getattr(s.instruction, "function", "") == "relu"]
    assert step.operands == relu.operands  # type: ignore[union-attr]


PRODUCTS: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "mm": (torch.mm, [draw(3, 5), draw(5, 4)]),
    "matmul batch": (torch.matmul, [draw(2, 3, 5), draw(2, 5, 4)]),
    "matmul broadcast": (torch.matmul, [draw(2, 3, 5), draw(5, 4)]),
    "mv": (torch.mv, [draw(3, 5), draw(5)]),
    "dot": (torch.dot, [draw(5), draw(5, seed=1)]),
    "outer": (torch.outer, [draw(5), draw(4)]),
    "linear": (F.linear, [draw(3, 5), draw(4, 5), draw(4)]),
    "linear 3d": (F.linear, [draw(2, 3, 5), draw(4, 5), draw(4)]),
    "linear without bias": (F.linear, [draw(2, 3, 5), draw(4, 5)]),
    "addmm": (lambda a, x, y: torch.addmm(a, x, y, beta=0.5, alpha=2.0), [draw(4), draw(3, 5), draw(5, 4)]),
    "baddbmm": (lambda a, x, y: torch.baddbmm(a, x, y, alpha=0.3), [draw(2, 3, 4), draw(2, 3, 5), draw(2, 5, 4)]),
    "addmv": (torch.addmv, [draw(3), draw(3, 5), draw(5)]),
    "einsum": (lambda x, y: torch.einsum("bhid,bhjd->bhij", x, y), [draw(2, 2, 3, 4), draw(2, 2, 5, 4)]),
    "einsum transposed": (lambda x, y: torch.einsum("ij,kj->ki", x, y), [draw(2, 3), draw(5, 3)]),
    "einsum outer": (lambda x, y: torch.einsum("bi,bj->ij", x, y), [draw(2, 3), draw(2, 5)]),
    "nn.Bilinear": (F.bilinear, [draw(3, 5), draw(3, 4), draw(2, 5, 4), draw(2)]),
    "bilinear": (lambda x, y: (x @ y).t() @ x, [draw(3, 5), draw(5, 4)]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_and_their_gradients_agree(name: str) -> None:
    function, tensors = PRODUCTS[name]
    check(with_gradients(function, len(tensors)), tensors)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": lambda x: x.sum(),
    "sum dim": lambda x: x.sum(1),
    "sum keepdim": lambda x: x - x.sum(-1, keepdim=True),
    "mean": lambda x: x.mean(),
    "mean dims": lambda x: x.mean((0, 2)),
    "var": lambda x: x.var(-1),
    "var biased": lambda x: x.var(-1, correction=0, keepdim=True) * x,
    "std": lambda x: x.std(-1),
    "var all": lambda x: x.var(),
    "var_mean": lambda x: torch.var_mean(x, -1)[0] + torch.var_mean(x, -1)[1],
    "norm": lambda x: x.norm(),
    "norm dim": lambda x: x.norm(dim=-1, keepdim=True) * x,
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "norm 1": lambda x: torch.linalg.vector_norm(x, 1, dim=-1),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "cosine": lambda x: F.cosine_similarity(x, x.flip(0), dim=-1),
    "size one dims": lambda x: x[:, :, :1].mean(-1) + x[:, :1].sum((1, 2), keepdim=True).squeeze(-1),
    "stack of norms": lambda x: torch.linalg.vector_norm(torch.stack([x[0].norm(), x[1].norm()])),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(REDUCTIONS[name], 1), [draw(2, 3, 4)])


def columns_written(x: torch.Tensor, start: int, step: int) -> torch.Tensor:
    y = x * 2
    return torch.slice_scatter(y, (x * x)[..., start::step], -1, start, 4, step)


VIEWS: dict[str, Callable[..., Any]] = {
    "view": lambda x: x.view(2, 12) * 2,
    "heads": lambda x: x.view(2, 3, 2, 2).transpose(1, 2).reshape(4, 3, 2) * 2,
    "view back": lambda x: x.reshape(6, 4).reshape(2, 3, 4).reshape(24).reshape(2, 3, 4) + 1,
    "permute": lambda x: x.permute(2, 0, 1) + 1,
    "transposed view": lambda x: x.permute(2, 0, 1).reshape(4, 6) + 1,
    "unsqueeze": lambda x: x.unsqueeze(0) * x.unsqueeze(-1).squeeze(-1),
    "squeeze": lambda x: (x[:, :1].squeeze(1) * x[:, 0]).squeeze(),
    "expand": lambda x: x[:, :1].expand(2, 3, 4) * x,
    "expand reshape": lambda x: x[:, :1].expand(2, 3, 4).reshape(6, 4) * x.view(6, 4),
    "slice": lambda x: x[:, 1:] * x[:, :-1],
    "slice step": lambda x: x[..., ::2] * x[..., 1::2],
    "slice step, a short last row": lambda x: x[:, ::2] * x[:, 1:2] + x[..., 1::3].sum(-1, keepdim=True)[:, ::2],
    "neighbours turned": lambda x: torch.stack((-x[..., 1::2], x[..., ::2]), -1).reshape(x.shape),
    "columns written": lambda x: columns_written(x, 0, 2),
    "columns written, from within": lambda x: columns_written(x, 1, 2),
    "columns written, a short last row": lambda x: columns_written(x, 0, 3),
    "select": lambda x: x[:, 1] * x[:, -1],
    "split": lambda x: x.split(2, -1)[0] * x.split(2, -1)[1],
    "split uneven": lambda x: sum(part.sum() for part in x.split([1, 3], -1)) * x,
    "chunk": lambda x: x.chunk(2, -1)[1] * x.chunk(2, -1)[0],
    "unbind": lambda x: x.unbind(0)[0] * x.unbind(0)[1],
    "cat": lambda x: torch.cat([x, x * 2, x[:, :1]], 1) * 2,
    "stack": lambda x: torch.stack([x, x * x], 1) * 2,
    "cat of halves": lambda x: torch.cat([-x[..., 2:], x[..., :2]], -1) * x,
    "flip": lambda x: x.flip(1) * x,
    "repeat": lambda x: x.repeat(1, 2, 1) * 2,
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1) * 2,
    "pad": lambda x: F.pad(x, (1, 2)) * 2,
    "flatten": lambda x: x.flatten(1) * 2,
    "unflatten": lambda x: x.unflatten(-1, (2, 2)) * 2,
    "movedim": lambda x: x.movedim(0, -1) * 2,
    "roll": lambda x: torch.cat([x[1:], x[:1]]) * x,
    "diag mask": lambda x: x.tril() + x.triu(1) * 2,
    "last token": lambda x: x[:, -1, :] * 2,
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(VIEWS[name], 1), [draw(2, 3, 4)])


NORMS: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), [draw(2, 3, 4), draw(4), draw(4, seed=1)]),
    "layer_norm plain": (lambda x: F.layer_norm(x, (4,)), [draw(2, 3, 4)]),
    "layer_norm no bias": (lambda x, w: F.layer_norm(x, (4,), w), [draw(2, 3, 4), draw(4)]),
    "layer_norm two dims": (lambda x: F.layer_norm(x, (3, 4)), [draw(2, 3, 4)]),
    "rms_norm": (lambda x, w: F.rms_norm(x, (4,), w), [draw(2, 3, 4), draw(4)]),
    "rms_norm eps": (lambda x, w: F.rms_norm(x, (4,), w, 1e-3), [draw(2, 3, 4), draw(4)]),
    "rms_norm plain": (lambda x: F.rms_norm(x, (4,)), [draw(2, 3, 4)]),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [draw(2, 4, 3), draw(4), draw(4, seed=1)]),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [draw(5, 4), draw(4), draw(4, seed=1)]),
    "weight_norm": (lambda v, g: torch._weight_norm(v, g, 0), [draw(3, 4), draw(3, 1)]),
    "softmax": (lambda x: F.softmax(x, -1), [draw(2, 3, 4)]),
    "softmax middle": (lambda x: F.softmax(x, 1), [draw(2, 3, 4)]),
    "softmax of a transpose": (lambda x: F.softmax(x.transpose(1, 2), -1), [draw(2, 3, 4)]),
    "log_softmax": (lambda x: F.log_softmax(x, -1), [draw(2, 3, 4)]),
    "log_softmax of a transpose": (lambda x: F.log_softmax(x.transpose(1, 2), -1), [draw(2, 3, 4)]),
    "softmax by hand": (lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True), [draw(2, 3, 4)]),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalisations_and_their_gradients_agree(name: str) -> None:
    function, tensors = NORMS[name]
    check(with_gradients(function, len(tensors)), tensors)


LABELS = torch.tensor([2, 0, 4])
SOME = torch.tensor([2, -100, 4])
LOSSES: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "cross_entropy": (F.cross_entropy, [LABELS]),
    "cross_entropy sum": (lambda x, y: F.cross_entropy(x, y, reduction="sum"), [LABELS]),
    "cross_entropy none": (lambda x, y: F.cross_entropy(x, y, reduction="none"), [LABELS]),
    "cross_entropy ignoring": (F.cross_entropy, [SOME]),
    "cross_entropy smoothed": (lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1), [LABELS]),
    "cross_entropy weights": (lambda x, y, w: F.cross_entropy(x, y, w), [LABELS, positive(5)]),
    "cross_entropy chances": (F.cross_entropy, [draw(3, 5, seed=3).softmax(-1)]),
    "nll": (lambda x, y: F.nll_loss(F.log_softmax(x, -1), y), [LABELS]),
    "mse": (F.mse_loss, [draw(3, 5, seed=3)]),
    "mse sum": (lambda x, y: F.mse_loss(x, y, reduction="sum"), [draw(3, 5, seed=3)]),
    "mse none": (lambda x, y: F.mse_loss(x, y, reduction="none"), [draw(3, 5, seed=3)]),
    "l1": (F.l1_loss, [draw(3, 5, seed=3)]),
    "huber": (lambda x, y: F.huber_loss(x, y, delta=0.4), [draw(3, 5, seed=3)]),
    "smooth_l1": (lambda x, y: F.smooth_l1_loss(x, y, beta=0.4), [draw(3, 5, seed=3)]),
    "bce logits": (F.binary_cross_entropy_with_logits, [draw(3, 5, seed=3).sigmoid()]),
    "bce logits, weights": (
        lambda x, y, w: F.binary_cross_entropy_with_logits(x, y, w, pos_weight=w),
        [draw(3, 5, seed=3).sigmoid(), positive(5)],
    ),
    "bce": (lambda x, y: F.binary_cross_entropy(x.sigmoid(), y), [draw(3, 5, seed=3).sigmoid()]),
    "bce, weights": (
        lambda x, y, w: F.binary_cross_entropy(x.sigmoid(), y, w, reduction="none"),
        [draw(3, 5, seed=3).sigmoid(), positive(5)],
    ),
    "soft margin": (F.soft_margin_loss, [draw(3, 5, seed=3).sign()]),
    "multi margin": (F.multi_margin_loss, [LABELS]),
    "multi margin, squared and weighted": (
        lambda x, y, w: F.multi_margin_loss(x, y, p=2, margin=0.7, weight=w, reduction="none"),
        [LABELS, positive(5)],
    ),
    "kl": (lambda x, y: F.kl_div(F.log_softmax(x, -1), y, reduction="batchmean"), [draw(3, 5, seed=3).softmax(-1)]),
    "picked by hand": (lambda x, y: -F.log_softmax(x, -1)[torch.arange(3), y].mean(), [LABELS]),
    "gathered by hand": (lambda x, y: -F.log_softmax(x, -1).gather(1, y[:, None]).squeeze(1).mean(), [LABELS]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients_agree(name: str) -> None:
    function, data = LOSSES[name]
    check(with_gradients(function, 1), [draw(3, 5)], data)


def test_cross_entropy_over_tokens_agrees() -> None:
    check(with_gradients(F.cross_entropy, 1), [draw(2, 5, 3)], [torch.tensor([[1, 2, 0], [4, 4, 3]])])


def test_the_gradient_of_cross_entropy_shows_softmax_of_the_logits() -> None:
    lowered = check(with_gradients(F.cross_entropy, 1), [draw(3, 5)], [LABELS])
    functions = [getattr(s.instruction, "function", "") for s in lowered.statements]
    assert "softmax" in functions and "exp" not in functions


def attention_by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    mask = torch.tril(torch.ones(q.shape[-2], k.shape[-2])).view(1, 1, q.shape[-2], k.shape[-2])
    return F.softmax(scores.masked_fill(mask == 0, float("-inf")), dim=-1) @ v


SDPA = F.scaled_dot_product_attention
HEADS = [draw(2, 2, 5, 4), draw(2, 2, 5, 4, seed=1), draw(2, 2, 5, 4, seed=2)]
ATTENTIONS: dict[str, Callable[..., Any]] = {
    "by hand": attention_by_hand,
    "plain": SDPA,
    "causal": lambda q, k, v: SDPA(q, k, v, is_causal=True),
    "scale": lambda q, k, v: SDPA(q, k, v, scale=0.25),
    "bool mask": lambda q, k, v: SDPA(q, k, v, attn_mask=torch.ones(5, 5, dtype=torch.bool).tril()),
    "float mask": lambda q, k, v: SDPA(q, k, v, attn_mask=torch.linspace(-1, 1, 25, dtype=torch.float64).view(5, 5)),
    "from a packed view": lambda q, k, v: (
        SDPA(q.transpose(1, 2).transpose(1, 2), k, v, is_causal=True).transpose(1, 2).reshape(2, 5, 8)
    ),
    "grouped": lambda q, k, v: SDPA(q, k[:, :1], v[:, :1], enable_gqa=True),
}


@pytest.mark.parametrize("math_kernel", [False, True])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_and_its_gradients_agree(name: str, math_kernel: bool) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def run(*tensors: torch.Tensor) -> Any:
        if not math_kernel:
            return with_gradients(ATTENTIONS[name], 3)(*tensors)
        with sdpa_kernel(SDPBackend.MATH):
            return with_gradients(ATTENTIONS[name], 3)(*tensors)

    check(run, HEADS)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_multihead_attention_agrees(need_weights: bool, causal: bool) -> None:
    module = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    parameters = [p.detach().clone() + 0.1 for p in module.parameters()]
    names = [name for name, _ in module.named_parameters()]
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64) if causal else None

    def run(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        out, _ = torch.func.functional_call(
            module, dict(zip(names, weights)), (x, x, x), {"need_weights": need_weights, "attn_mask": mask}
        )
        return out  # type: ignore[no-any-return]

    check(with_gradients(run, 5), [draw(2, 5, 8), *parameters])


LOOKUPS: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "embedding": (lambda w, i: F.embedding(i, w), [torch.tensor([[1, 0, 4], [4, 4, 2]])]),
    "embedding padding": (lambda w, i: F.embedding(i, w, padding_idx=4), [torch.tensor([[1, 0, 4], [4, 4, 2]])]),
    "bags": (lambda w, i: F.embedding_bag(i, w, torch.tensor([0, 3]), mode="sum"), [torch.tensor([1, 0, 4, 4, 2])]),
    "bags, their means": (lambda w, i: F.embedding_bag(i, w, mode="mean"), [torch.tensor([[1, 0, 4], [4, 4, 2]])]),
    "bags, padded": (
        lambda w, i: F.embedding_bag(i, w, mode="mean", padding_idx=4),
        [torch.tensor([[1, 0, 4], [4, 4, 2]])],
    ),
    "bags, weighted": (
        lambda w, i, each: F.embedding_bag(i, w, mode="sum", per_sample_weights=each),
        [torch.tensor([[1, 0], [4, 2]]), positive(2, 2)],
    ),
    "rows": (lambda w, i: w[i] * 2, [torch.tensor([1, 1, 3])]),
    "negative rows": (lambda w, i: w[i] * 2, [torch.tensor([1, -1, 3])]),
    "columns": (lambda w, i: w[:, i] * 2, [torch.tensor([1, 1, 3])]),
    "index_select": (lambda w, i: w.index_select(1, i) * 2, [torch.tensor([1, 1, 3])]),
    "gather": (lambda w, i: w.gather(1, i) * 2, [torch.tensor([[0, 1], [1, 1], [2, 0], [3, 3], [0, 0]])]),
    "scatter_add": (
        lambda w, i: torch.zeros(5, 3, dtype=torch.float64).scatter_add(1, i, w),
        [torch.tensor([[0, 1, 2, 0]] * 5)],
    ),
    "index_add": (lambda w, i: w.index_add(0, i, w[:2] * 2), [torch.tensor([3, 3])]),
    "pairs": (lambda w, i: w[torch.arange(5), i] * 2, [torch.tensor([0, 1, 3, 3, 2])]),
    "positions": (lambda w, i: F.embedding(torch.arange(3), w) + F.embedding(i, w), [torch.tensor([[1, 0, 4]])]),
    "boolean rows": (lambda w, i: w[i] * 2, [torch.tensor([True, False, True, True, False])]),
    "one_hot": (lambda w, i: F.one_hot(i, 5).to(w.dtype) @ w, [torch.tensor([1, 1, 3])]),
    "shifted tokens": (lambda w, i: F.embedding(i[:, :-1], w) * F.embedding(i[:, 1:], w), [torch.tensor([[1, 0, 4]])]),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups_and_their_gradients_agree(name: str) -> None:
    function, data = LOOKUPS[name]
    check(with_gradients(function, 1), [draw(5, 4)], data)


def test_dropout_is_a_random_leaf_that_replays() -> None:
    torch.manual_seed(0)
    lowered = check(with_gradients(lambda x: F.dropout(x, 0.25), 1), [draw(5, 4)])
    laws = [s.instruction.law for s in lowered.statements if getattr(s.instruction, "kind", "") == "random"]
    assert [law.kind for law in laws] == ["bernoulli"] and float(laws[0].location.constant) == 0.75


def test_native_dropout_agrees() -> None:
    torch.manual_seed(0)
    check(with_gradients(lambda x: torch.ops.aten.native_dropout(x, 0.25, True)[0], 1), [draw(5, 4)])


def test_batch_norm_with_running_statistics_agrees() -> None:
    def run(x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> Any:
        return torch.ops.aten._native_batch_norm_legit_functional(x, None, None, mean, var, True, 0.1, 1e-5)

    check(run, [draw(5, 4), draw(4), positive(4)])


def test_a_product_with_a_state_of_zeros_is_zero_and_reads_nothing() -> None:
    lowered = check(
        lambda w: (torch.zeros(2, 3, dtype=w.dtype) @ w + w[:2], torch.tanh(w) * torch.zeros(3, 4)), [draw(3, 4)]
    )
    assert not any(type(s.instruction).__name__ in ("Contract", "Apply") for s in lowered.statements)


def test_all_operations_without_a_rule_are_named_with_their_line() -> None:
    with pytest.raises(LoweringError) as caught:
        lowered_outputs(
            lambda x: torch.linalg.qr(x)[0] + torch.special.i0(x[:, :4]) + torch.linalg.inv(x), [draw(4, 4)]
        )
    text = str(caught.value)
    assert "aten.linalg_qr" in text and "aten.i0" in text and "aten.linalg_inv" in text
    assert "tiny.py:1 `y = f(x)`" in text


def test_what_nothing_needs_may_be_unknown() -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        torch.linalg.svdvals(x)
        return x * 2

    check(run, [X])


def test_an_evaluation_that_is_wrong_is_caught() -> None:
    with pytest.raises(AssertionError):
        check(lambda x: (x * 2, torch.tanh(x)), [X], tolerance=-1.0)
