"""A parametrization survives what training code does to models and optimizers: wrapping, copying, scaling, scheduling."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

import tpdyn
from tpdyn.parametrizing.apply import applied_to, parametrize
from tpdyn.parametrizing.parametrization import Parametrization

BASE, WIDTH = 32, 64
Wrap = Callable[[nn.Module], nn.Module]


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def fit(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 6, generator=draws), torch.randn(5, 3, generator=draws)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


@pytest.fixture(scope="module")
def derived() -> Parametrization:
    def train(width: int) -> None:
        model = net(width)
        fit(model, sgd(model))

    return tpdyn.derive(tpdyn.record(train, widths=(16, 24, 40)))


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def whole(model: nn.Module) -> list[torch.Tensor]:
    """The parameters, gathered where they are sharded."""
    return [p.full_tensor() if hasattr(p, "full_tensor") else p.detach().clone() for p in model.parameters()]


def trained(derived: Parametrization, wrap: Wrap, before: bool) -> tuple[nn.Module, list[torch.Tensor]]:
    """Wrapped before or after it is parametrized (with the wrapped model's optimizer in the end), then trained."""
    torch.manual_seed(0)
    model = net(WIDTH)
    if before:
        parametrize(model, sgd(model), derived, base_width=BASE)
    model = wrap(model)
    optimizer = sgd(model)
    for _ in range(2):
        parametrize(model, optimizer, derived, base_width=BASE)
    fit(model, optimizer)
    return model, whole(model)


def data_parallel(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


def fully_sharded(model: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (1,))
    for part in (model[2], model):  # type: ignore[index]
        fully_shard(part, mesh=mesh)
    return model


def fully_sharded_by_wrapping(model: nn.Module, original: bool = True) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(model, use_orig_params=original, device_id=torch.device("cpu"))


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="aot_eager")  # type: ignore[return-value]


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="aot_eager")
    return model


def copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def pickled(model: nn.Module) -> nn.Module:
    found = pickle.loads(pickle.dumps(model))
    assert isinstance(found, nn.Module)
    return found


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    "wrap",
    [data_parallel, fully_sharded, fully_sharded_by_wrapping, compiled, compiled_in_place, copied, pickled],
    ids=lambda wrap: wrap.__name__,
)
@pytest.mark.usefixtures("group")
@pytest.mark.filterwarnings("ignore:FSDP is switching", "ignore:.*torch.compile.module.. when there are global hooks")
def test_wrapped_before_or_after_a_model_trains_like_the_bare_one(
    derived: Parametrization, wrap: Wrap, before: bool
) -> None:
    _, expected = trained(derived, lambda model: model, before=False)
    model, found = trained(derived, wrap, before)
    table = applied_to(model)
    assert table is not None and (table.width, table.base_width) == (WIDTH, BASE)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    plain = net(WIDTH)
    fit(plain, sgd(plain))
    assert not all(torch.allclose(a, b, atol=1e-2) for a, b in zip(whole(plain), expected, strict=True))


@pytest.mark.usefixtures("group")
@pytest.mark.filterwarnings("ignore:FSDP is switching")
def test_flattened_parameters_are_refused_with_what_to_try(derived: Parametrization) -> None:
    model = fully_sharded_by_wrapping(net(WIDTH), original=False)
    with pytest.raises(ValueError, match="use_orig_params=True"):
        parametrize(model, sgd(model), derived, base_width=BASE)


@pytest.mark.usefixtures("group")
def test_shards_are_not_drawn_anew(derived: Parametrization) -> None:
    model = fully_sharded(net(WIDTH))
    with pytest.raises(ValueError, match=r"seed: 0\.bias, .* are shards, of which each process would draw its own"):
        parametrize(model, sgd(model), derived, base_width=BASE, seed=0)


def test_a_derived_parametrization_travels_to_other_processes(derived: Parametrization) -> None:
    for travelled in (pickle.loads(pickle.dumps(derived)), copy.deepcopy(derived)):
        assert travelled.show() == derived.show() and travelled.facts == derived.facts
        assert travelled.maximum.cell == derived.maximum.cell  # type: ignore[union-attr]
        assert travelled.maximum.requirements == derived.maximum.requirements  # type: ignore[union-attr]


# All of torch.optim that step dense gradients with rates of their own; LBFGS takes one group only, SparseAdam sparse gradients.
OPTIMIZERS = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "RAdam", "RMSprop", "Rprop",
    "SGD",
]  # fmt: skip


def test_no_optimizer_of_torch_is_left_out() -> None:
    others = {"LBFGS", "SparseAdam", "Optimizer"}
    assert {
        name for name in dir(torch.optim) if isinstance(getattr(torch.optim, name), type)
    } == others | set(OPTIMIZERS)  # fmt: skip


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_steps_with_the_rates_of_its_parameters_through_schedules_and_checkpoints(
    derived: Parametrization, kind: str
) -> None:
    """The exponents are SGD's: what is asked is whether they reach the groups and stay there."""
    model = net(WIDTH)
    of = {id(parameter): name for name, parameter in model.named_parameters()}

    def made() -> torch.optim.Optimizer:
        given = [p for p in model.parameters() if kind != "Muon" or p.ndim == 2]
        optimizer: torch.optim.Optimizer = getattr(torch.optim, kind)(given, lr=0.01)
        return optimizer

    def rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
        return {of[id(p)]: float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}

    plain, optimizer = made(), made()
    parametrize(model, optimizer, derived, base_width=BASE)
    shifts = derived.shifts()
    expected = {name: 0.01 * (WIDTH / BASE) ** float(shifts[name].rate) for name in rates(plain)}
    assert rates(optimizer) == pytest.approx(expected) and len(set(expected.values())) > 1
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    fit(model, optimizer)
    schedule.step()
    assert rates(optimizer) == pytest.approx({name: rate / 2 for name, rate in expected.items()})
    again = made()
    parametrize(model, again, derived, base_width=BASE)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    parametrize(model, again, derived, base_width=BASE)
    assert rates(again) == rates(optimizer)
    fit(model, again)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_scaled_gradients_and_copies_of_model_and_optimizer_change_nothing(derived: Parametrization) -> None:
    torch.manual_seed(0)
    model = net(WIDTH)
    optimizer = sgd(model)
    parametrize(model, optimizer, derived, base_width=BASE)
    twin, its = copy.deepcopy((model, optimizer))
    assert its.param_groups[0]["params"][0] is next(twin.parameters())
    parametrize(twin, its, derived, base_width=BASE)
    fit(model, optimizer)
    scaler: Any = torch.amp.GradScaler("cpu", init_scale=1024.0)
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 6, generator=draws), torch.randn(5, 3, generator=draws)
    for _ in range(3):
        its.zero_grad()
        scaler.scale(nn.functional.mse_loss(twin(x), y)).backward()
        scaler.step(its)
        scaler.update()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
