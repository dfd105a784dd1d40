"""A stand-in for a GPU on machines without one: the device "accel". Its tensors compute on the CPU and mix with no others.

Fake CUDA tensors (`FakeTensorMode`) end at the first `backward()` of a build for CPUs: "PyTorch is not linked with support for cuda
devices". They have no values either, which the observer is after. So the device is torch's own placeholder for others,
PrivateUse1, registered in Python. Autograd, optimizers and modules treat it as any accelerator. Registering it is for a
process as a whole, hence this file is a script. It runs each check by its name, and `tests/test_devices.py` starts it.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "accel"
aten = torch.ops.aten


class Elsewhere(Tensor):
    """A tensor of the device: `inner`, on the CPU, has its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip
        made.inner = inner
        return made

    @property
    def data(self) -> Tensor:
        return Elsewhere(self.inner)

    @data.setter
    def data(self, other: Elsewhere) -> None:
        self.inner = other.inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class Accelerator(TorchDispatchMode):
    """Makes the factories of torch work for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU. Raises RuntimeError where tensors of two devices meet, but for scalars and copies, as CUDA does."""
    tensors = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    here = any(isinstance(each, Elsewhere) for each in tensors)
    copies = func in (aten.copy_.default, aten._to_copy.default) or func.overloadpacket is aten.to
    if here and not copies and any(not isinstance(each, Elsewhere) and each.dim() for each in tensors):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found {NAME}:0 and cpu")
    stays = here
    places = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, torch.device)]
    if places:  # in inference mode `to` comes as it was called, with a device among the others
        stays = places[0].type == NAME
        cpu = torch.device("cpu")
        args, kwargs = pytree.tree_map_only(torch.device, lambda _: cpu, (args, kwargs))
    elif func is aten.copy_.default:
        stays = isinstance(args[0], Elsewhere)
    bare, named = pytree.tree_map_only(
        Tensor, lambda each: each.inner if isinstance(each, Elsewhere) else each, (args, kwargs)
    )
    made = func(*bare, **named)
    if not stays:
        return made
    made = pytree.tree_map_only(Tensor, Elsewhere, made)
    return return_and_correct_aliasing(func, args, kwargs, made) if here else made


def train(width: int, device: str = NAME) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, 2)).to(device)
    x, y = torch.randn(5, 3).to(device), torch.randn(5, 2).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def a_mixed_device_operation_raises() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        torch.randn(3, device=NAME) + torch.randn(3)


def outputs(run: Any) -> int:
    """How many outputs of modules were observed, all steps."""
    return sum(what == "rms" for *_, what in run.values)


def the_observer_sees_there_what_it_sees_on_the_cpu() -> None:
    from tpdyn.measuring.run import live_run

    there, here = live_run(train, 8, 0, 3, "script"), live_run(lambda width: train(width, "cpu"), 8, 0, 3, "script")
    assert there.same_as(here)
    assert outputs(there) >= 12


def a_script_without_devices_is_moved_there() -> None:
    from tpdyn.measuring.run import check_device, live_run

    def plain(width: int) -> None:
        model = nn.Linear(3, width)
        assert model.weight.device.type == NAME
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(5, 3)).square().mean().backward()
            optimizer.step()

    check_device(NAME)
    assert live_run(plain, 8, 0, 2, NAME).steps == 2


def the_recorder_writes_there_the_program_of_the_cpu() -> None:
    from tpdyn.recorder.record import record

    there = record(train, widths=(8, 12, 20))
    here = record(lambda width: train(width, "cpu"), widths=(8, 12, 20))
    assert there.statements == here.statements
    assert there.parameters == here.parameters
    assert there.verified == here.verified


def seeds_of_the_program_run_there_as_on_the_cpu() -> None:
    from tpdyn.measuring.by_program import observed
    from tpdyn.recorder.record import record

    program = record(lambda width: train(width, "cpu"), widths=(8, 12, 20))
    there, here = (dict(observed(program, 16, (0, 1, 2), 3, device=device)) for device in (NAME, "cpu"))
    assert all(there[seed].same_as(here[seed]) for seed in (0, 1, 2))
    assert outputs(there[0]) >= 12


def a_simulation_runs_there_as_on_the_cpu() -> None:
    import tpdyn

    program = tpdyn.record(lambda width: train(width, "cpu"), widths=(8, 12, 20))
    there, here = (tpdyn.simulate(program, width=64, device=device) for device in (NAME, "cpu"))
    assert there.losses == here.losses


if __name__ == "__main__":
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    with Accelerator():
        for check in sys.argv[1:]:
            globals()[check]()
