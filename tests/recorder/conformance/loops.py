"""Loops: what surrounds forward, backward and step in training scripts."""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential
from torch.utils.data import DataLoader, TensorDataset

from conformance.case import OPTIMIZERS, Case, Train, labels, numbers
from conformance.optimizers import Perceptron

Make = Callable[[Any], torch.optim.Optimizer]


def batch() -> tuple[Tensor, Tensor]:
    """The same examples at every width."""
    return numbers(3, 4), labels(3, 3)


def accumulating(width: int, make: Make) -> None:
    """Two small batches a step."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    for number in range(20):
        (F.cross_entropy(model(x * (1 + number % 2)), y) / 2).backward()
        if number % 2:
            step_by.step()
            step_by.zero_grad()


def clipping(clip: Callable[[Any], Any]) -> Callable[[int, Make], None]:
    """Gradients made smaller between backward and step."""

    def train(width: int, make: Make) -> None:
        model, (x, y) = Perceptron(width), batch()
        step_by = make(model.parameters())
        for _ in range(5):
            step_by.zero_grad()
            F.cross_entropy(model(x), y).backward()
            clip(list(model.parameters()))
            step_by.step()

    return train


def _norm_by_hand(parameters: list[Tensor]) -> None:
    total = torch.sqrt(sum((p.grad**2).sum() for p in parameters if p.grad is not None))  # type: ignore[arg-type]
    for p in parameters:
        assert p.grad is not None
        p.grad.mul_(torch.clamp(0.5 / (total + 1e-6), max=1.0))


def scheduled(schedule_of: Callable[[Any], Any]) -> Callable[[int, Make], None]:
    """A rate that changes after each step."""

    def train(width: int, make: Make) -> None:
        model, (x, y) = Perceptron(width), batch()
        step_by = make(model.parameters())
        schedule = schedule_of(step_by)
        for _ in range(5):
            step_by.zero_grad()
            F.cross_entropy(model(x), y).backward()
            step_by.step()
            schedule.step()

    return train


def plateau(width: int, make: Make) -> None:
    """A scheduler that looks at the loss."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(step_by, patience=3)
    for _ in range(5):
        step_by.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        step_by.step()
        schedule.step(loss.item())


def averaged(width: int, make: Make, by_hand: bool = False) -> None:
    """An exponential moving average of the weights beside them."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    if by_hand:
        shadow: nn.Module = copy.deepcopy(model).requires_grad_(False)
    else:
        shadow = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        )
    for _ in range(5):
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step_by.step()
        if by_hand:
            with torch.no_grad():
                for mean, p in zip(shadow.parameters(), model.parameters(), strict=True):
                    mean.mul_(0.9).add_(p, alpha=0.1)
        else:
            shadow.update_parameters(model)  # type: ignore[operator]


def self_distilled(width: int, make: Make) -> None:
    """The moving average is a teacher: its outputs are targets."""
    model, (x, y) = Perceptron(width), batch()
    teacher = copy.deepcopy(model).requires_grad_(False)
    step_by = make(model.parameters())
    for _ in range(5):
        step_by.zero_grad()
        out = model(x)
        with torch.no_grad():
            wanted = teacher(x)
        (F.cross_entropy(out, y) + F.mse_loss(out, wanted)).backward()
        step_by.step()
        with torch.no_grad():
            for mean, p in zip(teacher.parameters(), model.parameters(), strict=True):
                mean.lerp_(p, 0.1)


def adversarial(width: int, make: Make) -> None:
    """A generator and a discriminator, an optimizer each."""
    generator = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 4))
    discriminator = nn.Sequential(nn.Linear(4, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))
    first, second = make(discriminator.parameters()), make(generator.parameters())
    x, z, one, zero = numbers(3, 4), numbers(3, 2), torch.ones(3, 1), torch.zeros(3, 1)
    for _ in range(5):
        first.zero_grad()
        fake = generator(z)
        real_loss = F.binary_cross_entropy_with_logits(discriminator(x), one)
        fake_loss = F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zero)
        (real_loss + fake_loss).backward()
        first.step()
        second.zero_grad()
        F.binary_cross_entropy_with_logits(discriminator(generator(z)), one).backward()
        second.step()


def halves(width: int, make: Make) -> None:
    """One loss, an optimizer for each part of the model."""
    model, (x, y) = Perceptron(width), batch()
    several = [make(model.one.parameters()), make([*model.two.parameters(), *model.three.parameters()])]
    for _ in range(5):
        for each in several:
            each.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for each in several:
            each.step()


def mixed_precision(width: int, make: Make, scaled: bool = False) -> None:
    """bfloat16 inside autocast; perhaps the loss is scaled up and the gradients down."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, enabled=scaled)
    for _ in range(5):
        step_by.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(step_by)
        scaler.update()


def scaled(width: int, make: Make) -> None:
    """The scaler alone, with gradients unscaled to be clipped."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for _ in range(5):
        step_by.zero_grad()
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        scaler.unscale_(step_by)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(step_by)
        scaler.update()


class Checkpointed(Perceptron):
    """The middle is computed again in the backward pass."""

    def __init__(self, width: int, reentrant: bool = False) -> None:
        super().__init__(width)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.one(x))
        return self.three(checkpoint(lambda z: F.relu(self.two(z)), h, use_reentrant=self.reentrant))  # type: ignore[no-any-return]


class InSegments(nn.Module):
    """checkpoint_sequential, dropout inside: its draw is kept for the second time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, 3)
        self.body = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.2), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint_sequential(self.body, 2, self.first(x), use_reentrant=False))  # type: ignore[no-any-return]


def plainly(
    model_of: Callable[[int], nn.Module], wrap: Callable[[Any], Any] = lambda m: m
) -> Callable[[int, Make], None]:
    """The loop of every tutorial; wrap: what is done to the model before it is called."""

    def train(width: int, make: Make) -> None:
        model, (x, y) = model_of(width), batch()
        called, step_by = wrap(model), make(model.parameters())
        for _ in range(5):
            step_by.zero_grad()
            F.cross_entropy(called(x), y).backward()
            step_by.step()

    return train


def compiled_step(width: int, make: Make) -> None:
    """The optimizer's step inside a compiled function, the model compiled, too."""
    model, (x, y) = Perceptron(width), batch()
    model.compile()
    step_by = make(model.parameters())

    @torch.compile(fullgraph=False)
    def step() -> None:
        step_by.step()

    for _ in range(5):
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step()


def functional_call(width: int, make: Make) -> None:
    """Parameters in a dict, stepped by torch's optimizer."""
    model, (x, y) = Perceptron(width), batch()
    parameters = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    step_by = make(list(parameters.values()))
    for _ in range(5):
        step_by.zero_grad()
        F.cross_entropy(torch.func.functional_call(model, parameters, (x,)), y).backward()
        step_by.step()


def functional_gradient(width: int, make: Make) -> None:
    """torch.func.grad of a loss of the parameters; they are stepped in place."""
    model, (x, y) = Perceptron(width), batch()
    parameters = dict(model.named_parameters())

    def loss(values: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, values, (x,)), y)

    step_by = make(model.parameters())
    for _ in range(5):
        gradients = torch.func.grad(loss)({name: p.detach() for name, p in parameters.items()})
        for name, p in parameters.items():
            p.grad = gradients[name]
        step_by.step()


def per_example(width: int, make: Make) -> None:
    """vmap of grad: a gradient an example, each clipped, then their mean (as in private training)."""
    model, (x, y) = Perceptron(width), batch()
    parameters = dict(model.named_parameters())

    def loss(values: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        out = torch.func.functional_call(model, values, (one.unsqueeze(0),))
        return F.cross_entropy(out, label.unsqueeze(0))

    gradients_of = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    step_by = make(model.parameters())
    for _ in range(5):
        gradients = gradients_of({name: p.detach() for name, p in parameters.items()}, x, y)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
        factor = (0.5 / (norms + 1e-6)).clamp(max=1.0)
        for name, p in parameters.items():
            p.grad = torch.einsum("b,b...->...", factor, gradients[name]) / len(x)
        step_by.step()


def vectorised(width: int, make: Make) -> None:
    """vmap over examples inside the forward pass, an ordinary backward pass."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    for _ in range(5):
        step_by.zero_grad()
        F.cross_entropy(torch.func.vmap(model)(x), y).backward()
        step_by.step()


def penalised(width: int, make: Make) -> None:
    """A loss of the gradient with respect to the input (WGAN-GP)."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    for _ in range(5):
        step_by.zero_grad()
        inputs = x.clone().requires_grad_()
        out = model(inputs)
        (slope,) = torch.autograd.grad(out.sum(), inputs, create_graph=True)
        (F.cross_entropy(out, y) + ((slope.square().sum(1) + 1e-8).sqrt() - 1).square().mean()).backward()
        step_by.step()


def meta_learning(width: int, make: Make) -> None:
    """The loss after an inner step, differentiated through that step (MAML)."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    for _ in range(5):
        step_by.zero_grad()
        parameters = dict(model.named_parameters())
        inner = F.cross_entropy(model(x), y)
        slopes = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
        moved = {name: p - 0.1 * g for (name, p), g in zip(parameters.items(), slopes, strict=True)}
        F.cross_entropy(torch.func.functional_call(model, moved, (-x,)), y).backward()
        step_by.step()


class Cubed(torch.autograd.Function):
    """x^3 with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return gradients[0] * 3 * x**2


class StraightThrough(torch.autograd.Function):
    """Rounded forward, nothing backward (quantisation-aware training)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x * 4) / 4

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class WithFunction(Perceptron):
    """A function of the user's between the layers."""

    def __init__(self, width: int, function: type[torch.autograd.Function]) -> None:
        super().__init__(width)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.three(self.function.apply(torch.tanh(self.two(torch.tanh(self.one(x))))))  # type: ignore[no-any-return, no-untyped-call]


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """A process group of one."""
    with tempfile.NamedTemporaryFile() as file:
        torch.distributed.init_process_group("gloo", init_method=f"file://{file.name}", rank=0, world_size=1)
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()


def distributed(width: int, make: Make, wrapped: bool) -> None:
    """DistributedDataParallel of one process: its module alone, or as it is."""
    with _one_process():
        model, (x, y) = nn.parallel.DistributedDataParallel(Perceptron(width)), batch()
        step_by = make(model.parameters())
        called: nn.Module = model if wrapped else model.module
        for _ in range(5):
            step_by.zero_grad()
            F.cross_entropy(called(x), y).backward()
            step_by.step()


def loaded(width: int, make: Make, workers: int) -> None:
    """Batches of a DataLoader, shuffled; perhaps made in other processes."""
    x, y = numbers(12, 4), labels(3, 12)
    loader = DataLoader(
        TensorDataset(x, y), 3, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(0)
    )
    model = Perceptron(width)
    step_by = make(model.parameters())
    for inputs, targets in loader:
        step_by.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        step_by.step()


def tied_later(width: int, make: Make, copied: bool = False) -> None:
    """Two layers of equal shapes get one weight after the first step; or one gets the numbers of the other."""
    x, y = batch()
    first, one, two, last = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 3)
    model = nn.Sequential(first, nn.Tanh(), one, nn.Tanh(), two, nn.Tanh(), last)
    step_by = make(model.parameters())
    for number in range(5):
        if number == 1 and copied:
            with torch.no_grad():
                two.weight.copy_(one.weight)
        elif number == 1:
            two.weight = one.weight
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step_by.step()


def frozen_at_first(width: int, make: Make) -> None:
    """The first layer learns from the second step on."""
    model, (x, y) = Perceptron(width), batch()
    model.one.requires_grad_(False)
    step_by = make(model.parameters())
    for _ in range(5):
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step_by.step()
        model.one.requires_grad_(True)


def groups(width: int, make: Make) -> None:
    """Groups with rates of their own, one of them by the width."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make([
        {"params": model.one.parameters()},
        {"params": model.two.parameters(), "lr": 0.1 / width},
        {"params": model.three.parameters(), "lr": 0.01, "weight_decay": 0.1},
    ])  # fmt: skip
    for _ in range(5):
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step_by.step()


def hooked(width: int, make: Make) -> None:
    """Hooks on a module and on gradients."""
    model, (x, y) = Perceptron(width), batch()
    model.two.register_forward_hook(lambda module, args, out: out * 0.5)
    model.one.weight.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
    model.two.register_full_backward_hook(lambda module, before, after: tuple(g * 2 for g in before))  # type: ignore[arg-type, return-value]
    step_by = make(model.parameters())
    for _ in range(5):
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step_by.step()


def step_in_backward(width: int, make: Make) -> None:
    """Each parameter is stepped as soon as its gradient is there, by an optimizer of its own."""
    model, (x, y) = Perceptron(width), batch()
    each = {p: make([p]) for p in model.parameters()}

    def step(p: Tensor) -> None:
        each[p].step()  # type: ignore[index]
        each[p].zero_grad()  # type: ignore[index]

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step)
    for _ in range(5):
        F.cross_entropy(model(x), y).backward()


def validated(width: int, make: Make) -> None:
    """An evaluation after each step, and the best weights kept."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    best, kept = float("inf"), {}
    for _ in range(5):
        model.train()
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step_by.step()
        model.eval()
        with torch.inference_mode():
            now = F.cross_entropy(model(-x), y).item()
        if now < best:
            best, kept = now, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)


def restored(width: int, make: Make) -> None:
    """State dicts of model and optimizer, saved after a step and loaded into new ones."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    for number in range(5):
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step_by.step()
        if number == 0:
            model.load_state_dict(copy.deepcopy(model.state_dict()))
            step_by.load_state_dict(copy.deepcopy(step_by.state_dict()))


def lookahead(width: int, make: Make) -> None:
    """Slow weights that follow the fast ones after every second step."""
    model, (x, y) = Perceptron(width), batch()
    step_by = make(model.parameters())
    slow = [p.detach().clone() for p in model.parameters()]
    for number in range(5):
        step_by.zero_grad()
        F.cross_entropy(model(x), y).backward()
        step_by.step()
        if number % 2 == 0:
            with torch.no_grad():
                for s, p in zip(slow, model.parameters(), strict=True):
                    s.add_(p - s, alpha=0.5)
                    p.copy_(s)


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5),
    "LambdaLR, warm-up": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: (step + 1) / 4),
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=10),
    "SequentialLR": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.CosineAnnealingLR(o, 5)],
        [1],
    ),
}  # fmt: skip

LOOPS: dict[str, Callable[[int, Make], None]] = {
    "accumulation": accumulating,
    "clipping by norm": clipping(lambda p: nn.utils.clip_grad_norm_(p, 0.5)),
    "clipping by norm, foreach": clipping(lambda p: nn.utils.clip_grad_norm_(p, 0.5, foreach=True)),
    "clipping by largest entry": clipping(lambda p: nn.utils.clip_grad_norm_(p, 0.5, float("inf"))),
    "clipping by norm, by hand": clipping(_norm_by_hand),
    "clipping by value": clipping(lambda p: nn.utils.clip_grad_value_(p, 0.01)),
    **{f"schedule {name}": scheduled(schedule_of) for name, schedule_of in SCHEDULES.items()},
    "schedule by the loss": plateau,
    "EMA by AveragedModel": averaged,
    "EMA by hand": lambda n, make: averaged(n, make, by_hand=True),
    "EMA as teacher": self_distilled,
    "lookahead": lookahead,
    "GAN": adversarial,
    "an optimizer each half": halves,
    "groups": groups,
    "autocast, bfloat16": mixed_precision,
    "GradScaler": scaled,
    "autocast and GradScaler": lambda n, make: mixed_precision(n, make, scaled=True),
    "checkpointing": plainly(Checkpointed),
    "checkpointing, reentrant": plainly(lambda n: Checkpointed(n, reentrant=True)),
    "checkpointing in segments, dropout": plainly(InSegments),
    "compiled model": plainly(Perceptron, torch.compile),
    "compiled model and step": compiled_step,
    "functional_call": functional_call,
    "torch.func.grad": functional_gradient,
    "vmap of grad, clipped each": per_example,
    "vmap of the model": vectorised,
    "gradient penalty": penalised,
    "MAML": meta_learning,
    "autograd.Function": plainly(lambda n: WithFunction(n, Cubed)),
    "autograd.Function, straight through": plainly(lambda n: WithFunction(n, StraightThrough)),
    "DDP, unwrapped": lambda n, make: distributed(n, make, wrapped=False),
    "DDP of one process": lambda n, make: distributed(n, make, wrapped=True),
    "DataLoader": lambda n, make: loaded(n, make, workers=0),
    "DataLoader, workers": lambda n, make: loaded(n, make, workers=2),
    "tied after a step": tied_later,
    "a weight copied to another": lambda n, make: tied_later(n, make, copied=True),
    "frozen at first": frozen_at_first,
    "hooks": hooked,
    "step in the backward pass": step_in_backward,
    "evaluation and the best kept": validated,
    "state dicts": restored,
}


def cases() -> list[Case]:
    def bound(loop: Callable[[int, Make], None], optimizer: str) -> Train:
        return lambda width: loop(width, OPTIMIZERS[optimizer])

    return [Case("loops", name, o, bound(loop, o)) for name, loop in LOOPS.items() for o in ("SGD", "AdamW")]
