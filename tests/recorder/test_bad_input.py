"""Is what cannot be recorded refused with its reason and line? Is the script otherwise left as it would be without us?"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import verify_tape
from tpdyn.recorder.record import record
from tpdyn.scripts.script import load


def mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Dropout(0.2), nn.Linear(width, 2))


def fit(model: nn.Module, after_step: Callable[[], object] = lambda: None, steps: int = 4) -> None:
    """An ordinary loop; after_step is what the script does between its steps."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(torch.ones(4, 3)), torch.zeros(4, dtype=torch.long)).backward()
        optimizer.step()
        after_step()


# -- tensors of other kinds --------------------------------------------------------------------------------------------


def bag_with_sparse_gradients(width: int) -> None:
    bag, head = nn.EmbeddingBag(5, width, sparse=True), nn.Linear(width, 1)
    optimizer = torch.optim.SparseAdam(bag.parameters())
    for _ in range(3):
        head(bag(torch.tensor([[0, 1], [2, 3]]))).sum().backward()
        optimizer.step()


def sparse_weight(width: int) -> None:
    model = nn.Linear(3, width)
    for _ in range(3):
        torch.sparse.mm(model.weight.to_sparse(), torch.ones(3, 2)).sum().backward()


def nested_batches(width: int) -> None:
    model = nn.Linear(3, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])
    for _ in range(3):
        torch.nested.to_padded_tensor(model(batch), 0.0).sum().backward()
        optimizer.step()


def jagged_batches(width: int) -> None:
    model = nn.Linear(3, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged)
    for _ in range(3):
        model(batch).values().sum().backward()
        optimizer.step()


def several_devices(width: int) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2, device="meta"))
    fit(model)


def meta_alone(width: int) -> None:
    with torch.device("meta"):
        fit(mlp(width))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize(
    ("script", "reason", "line"),
    [
        (bag_with_sparse_gradients, "sparse", ""),
        (sparse_weight, "sparse", "sparse.mm"),
        (nested_batches, "nested", "batch"),
        (jagged_batches, "(?i)nested", "batch"),
        (several_devices, "meta", "model(torch.ones"),
        (meta_alone, "meta", ""),
    ],
)
def test_tensors_that_are_not_ordinary_are_refused_with_the_line(
    script: Callable[[int], None], reason: str, line: str
) -> None:
    with pytest.raises(RecordingError, match=reason) as error:
        verify_tape(record_tape(script, 8, 2, seed=0))
    assert "test_bad_input.py" in str(error.value)
    assert line in str(error.value)


@contextmanager
def one_process() -> Iterator[None]:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("no process group of gloo here")
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()


def test_models_sharded_by_fsdp_are_refused() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def train(width: int) -> None:
        model = mlp(width)
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        fit(model)

    with one_process(), pytest.raises(RecordingError, match=r"DTensor[\s\S]*unwrapped model[\s\S]*test_bad_input.py"):
        record_tape(train, 8, 2, seed=0)


def test_tensors_that_are_distributed_are_refused() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, distribute_tensor

    def train(width: int) -> None:
        weight = nn.Parameter(distribute_tensor(torch.ones(3, width), init_device_mesh("cpu", (1,)), [Replicate()]))
        weight.sum().backward()

    with one_process(), pytest.raises(RecordingError, match=r"DTensor[\s\S]*unwrapped model"):
        record_tape(train, 8, 2, seed=0)


def test_several_processes_that_exchange_gradients_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group says that it has two members: nothing is exchanged before the refusal."""

    def train(width: int) -> None:
        model = nn.parallel.DistributedDataParallel(mlp(width))
        monkeypatch.setattr(type(model.process_group), "size", lambda group: 2)
        fit(model)

    with one_process(), pytest.raises(RecordingError, match=r"of 2 processes[\s\S]*one process"):
        record_tape(train, 8, 2, seed=0)


# -- writes behind autograd's back -------------------------------------------------------------------------------------


def initialised_by_numpy(width: int) -> None:
    model = mlp(width)
    model[0].weight.detach().numpy()[...] = 0.5  # type: ignore[union-attr, operator]
    fit(model)


def clipped_by_numpy(width: int) -> None:
    model = mlp(width)
    weight = model[0].weight.detach().numpy()  # type: ignore[union-attr, operator]
    fit(model, lambda: np.clip(weight, -0.01, 0.01, out=weight))


@pytest.mark.parametrize("script", [initialised_by_numpy, clipped_by_numpy])
def test_writes_by_numpy_are_found_by_the_replay(script: Callable[[int], None]) -> None:
    with pytest.raises(RecordingError, match=r"does not reproduce the script[\s\S]*numpy[\s\S]*test_bad_input.py"):
        record(script, widths=(8, 12), steps=2)


def edited(edit: Callable[[nn.Parameter], object]) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = mlp(width)
        weight = model[0].weight
        assert isinstance(weight, nn.Parameter)
        fit(model, lambda: edit(weight))

    return train


def _assign(weight: nn.Parameter) -> None:
    weight.data = weight.data * 0.5


def _row(weight: nn.Parameter) -> None:
    weight.data[:, 1] = 0.0


EDITS: dict[str, Callable[[nn.Parameter], object]] = {
    "in place": lambda weight: weight.data.mul_(0.5),
    "a column": _row,
    "clamped": lambda weight: weight.data.clamp_(-0.1, 0.1),
    "assigned": _assign,
    "normalised": lambda weight: weight.data.div_(weight.data.norm(dim=0, keepdim=True)),
    "copied": lambda weight: weight.data.copy_(weight.detach().clone() * 2),
}


@pytest.mark.parametrize("name", EDITS)
def test_edits_of_data_are_recorded(name: str) -> None:
    tape = record_tape(edited(EDITS[name]), 8, 3, seed=0)
    assert tape.steps == 3
    verify_tape(tape)


# -- processes, exits, output ------------------------------------------------------------------------------------------

ALONE = """
import sys
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import verify_tape
from tpdyn.scripts.script import load
for script in sys.argv[1:]:
    tape = record_tape(load(script + ":train"), 8, 2, seed=0)
    verify_tape(tape)
    print(script, "recorded", tape.steps, file=sys.stderr)
"""

LOOP = """
import os, sys, threading, multiprocessing
import torch
from torch import nn

def square(x):
    return (torch.full((2,), float(x)) ** 2).sum().item()

def train(width):
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(4):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
        {}
"""

BETWEEN = {
    "a forked child": "pid = os.fork()\n        if pid == 0:\n            torch.ones(2).mul_(2)\n            os._exit(0)\n"
    "        os.waitpid(pid, 0)",
    "a pool of processes": "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
    "            assert pool.map(square, [2.0, 3.0]) == [8.0, 18.0]",
    "a thread": "made = []\n        thread = threading.Thread(target=lambda: made.append(square(2.0)))\n"
    "        thread.start()\n        thread.join()\n        assert made == [8.0]",
    "a flood of output": "sys.stdout.write(('x' * 99 + chr(10)) * 20_000)\n"
    "        sys.stderr.write(('y' * 99 + chr(10)) * 2_000)",
}


@pytest.mark.slow
def test_scripts_with_further_processes_or_much_output_are_recorded(tmp_path: Path) -> None:
    scripts = {name: f"{name.replace(' ', '_')}.py" for name in BETWEEN}
    for name, script in scripts.items():
        (tmp_path / script).write_text(LOOP.replace("{}", BETWEEN[name]))
    command = [sys.executable, "-c", ALONE, *scripts.values()]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert made.returncode == 0, made.stderr[-2000:]
    told = [line for line in made.stderr.splitlines() if not line.startswith("y")]
    assert told == [f"{script} recorded 2" for script in scripts.values()]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(scripts.values())


@pytest.mark.parametrize(("status", "message"), [("no data here", "exit status no data here"), (3, "exit status 3")])
def test_a_script_that_exits_before_it_trains_is_refused(status: str | int, message: str) -> None:
    def train(width: int) -> None:
        mlp(width)
        sys.exit(status)

    with pytest.raises(RecordingError, match=message):
        record_tape(train, 8, 2, seed=0)


def test_a_script_that_exits_well_before_it_trains_is_told_so() -> None:
    def train(width: int) -> None:
        mlp(width)
        sys.exit(0)

    with pytest.raises(RecordingError, match="no backward pass and completed no optimizer step"):
        record_tape(train, 8, 2, seed=0)


def test_finally_and_context_managers_of_the_script_run_when_it_is_stopped() -> None:
    seen: list[str] = []

    def train(width: int) -> None:
        try:
            fit(mlp(width))
        except Exception:
            seen.append("caught")
        finally:
            seen.append("cleaned up")

    assert record_tape(train, 8, 2, seed=0).steps == 2
    assert seen == ["cleaned up"]


# -- nothing else changes ----------------------------------------------------------------------------------------------


def busy(width: int) -> dict[str, Any]:
    """Uses all generators, workers' order, autocast; gives everything that another program could tell apart."""
    x, y = torch.randn(12, 3), torch.randint(0, 2, (12,))
    model = mlp(width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=False)
    losses = []
    for epoch in range(2):
        for inputs, targets in DataLoader(TensorDataset(x, y), 4, shuffle=True):
            noise = torch.from_numpy(np.random.standard_normal((4, 3)).astype(np.float32))  # noqa: NPY002
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=epoch == 1):
                loss = F.cross_entropy(model(inputs + noise * random.random()), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
    state: list[Tensor] = [value for each in optimizer.state.values() for value in each.values()]
    return {
        "weights": [p.detach().clone() for p in model.parameters()],
        "gradients": [p.grad.clone() for p in model.parameters() if p.grad is not None],
        "state": [value.clone() for value in state],
        "losses": losses,
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]  # noqa: NPY002
        "random": random.getstate(),
        "types": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()),
        "flags": (torch.are_deterministic_algorithms_enabled(), torch.backends.mkldnn.enabled),
    }


def compare_busy_runs() -> None:
    """Fails where a recorded run is told apart from one that is not."""
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    alone = busy(8)
    found: list[dict[str, Any]] = []
    folder = sorted(os.listdir(os.getcwd()))
    record_tape(lambda width: found.append(busy(width)), 8, 100, seed=5)
    (recorded,) = found
    for name, value in alone.items():
        if name in ("weights", "gradients", "state"):
            assert all(torch.equal(a, b) for a, b in zip(value, recorded[name], strict=True)), name
        elif name == "torch":
            assert torch.equal(value, recorded[name])
        else:
            assert value == recorded[name], name
    assert sorted(os.listdir(os.getcwd())) == folder


@pytest.mark.slow
def test_a_recorded_run_ends_with_the_weights_and_generators_of_one_that_is_not() -> None:
    """In a process of its own: the run-time type checks of this one draw from `random`."""
    command = [sys.executable, "-c", f"import runpy; runpy.run_path({__file__!r})['compare_busy_runs']()"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stderr[-2000:]


def test_loading_a_script_leaves_no_files_beside_it(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("def train(width): ...\n")
    before = sys.dont_write_bytecode
    load(f"{script}:train")
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]
    assert sys.dont_write_bytecode == before
