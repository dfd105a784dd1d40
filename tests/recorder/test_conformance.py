"""Is each kind of layer, optimizer and loop recorded, replayed, fitted at a held-out width and given orders? A quick part.

All scripts of `tests/recorder/conformance/` are checked in the slow tier (`proofs_checks/test_conformance.py`), and
`python docs/conformance.py` writes the table. Loops run in a process of their own: some start others, or process groups.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent

QUICK: dict[str, tuple[str, ...]] = {
    "layers": (
        "Conv1d, stride and dilation, SGD",
        "Conv2d, groups, SGD",
        "Conv2d, depthwise, AdamW",
        "Conv2d, circular, SGD",
        "ConvTranspose2d, groups, SGD",
        "MaxPool2d, overlapping, AdamW",
        "AvgPool2d, padding not counted, SGD",
        "AdaptiveMaxPool2d, SGD",
        "BatchNorm2d, AdamW",
        "BatchNorm2d, frozen, SGD",
        "InstanceNorm2d, SGD",
        "Upsample, bicubic, SGD",
        "spectral norm, SGD",
        "U-Net, SGD",
        "flattened, SGD",
        "rows written, SGD",
        "two of many coordinates, SGD",
        "standardised, unbiased, SGD",
    ),
    "attention": (
        "grouped queries, AdamW",
        "rotary, halves, SGD",
        "rotary, interleaved, SGD",
        "rotary, full, SGD",
        "multi-query, keys picked by a list, SGD",
        "multi-query, more and more heads, SGD",
        "rotary, complex, AdamW",
        "experts, switch, SGD",
    ),
    "models": (
        "shifted windows, biases by a table, SGD",
        "diagonal state space, by FFT, SGD",
        "linear recurrent unit, AdamW",
        "graph, attention, SGD",
        "diffusion, Adam",
    ),
    "losses": (
        "BCE with logits, SGD",
        "cross entropy, ignored at random, SGD",
        "multi margin, SGD",
        "contrastive, NT-Xent, SGD",
    ),
    "recurrent": ("nn.GRU, SGD", "state-space scan, SGD"),
    "optimizers": (
        "MLP, Adagrad, fused",
        "MLP, Rprop, for-loop",
        "MLP, NAdam, foreach",
        "MLP, Adafactor, foreach",
        "MLP, SAM",
        "MLP, Shampoo by svd",
        "MLP, Shampoo with averages",
        "MLP, SOAP by hand",
        "MLP, K-FAC by hand",
    ),
}

LOOPS = (
    "clipping by norm, SGD",
    "EMA by AveragedModel, AdamW",
    "GAN, AdamW",
    "GradScaler, SGD",
    "checkpointing, SGD",
    "vmap of grad, clipped each, SGD",
    "gradient penalty, SGD",
    "DDP of one process, SGD",
    "state dicts, SGD",
)


@pytest.fixture
def _scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts can be imported, and what torch has to say of them is no error."""
    monkeypatch.syspath_prepend(FOLDER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_scripts")
@pytest.mark.parametrize("name", [(family, name) for family, names in QUICK.items() for name in names], ids=" ".join)
def test_scripts_are_recorded_fitted_and_given_orders(name: tuple[str, str]) -> None:
    made = import_module("conformance.case")
    (case,) = [case for case in import_module(f"conformance.{name[0]}").cases() if case.name == name[1]]
    outcome = made.examine(case)
    assert made.agrees(case, outcome), outcome.why


@pytest.mark.slow
def test_loops_are_recorded_fitted_and_given_orders() -> None:
    check("loops", LOOPS)


@pytest.mark.slow
def test_a_loop_whose_batches_other_processes_make_is_recorded() -> None:
    """Alone: a process that had threads of a process group is no good one to fork."""
    check("loops", ("DataLoader, workers, SGD",))


def check(family: str, names: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "conformance", family, *names]
    made = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=600, check=False)
    assert made.returncode == 0, made.stderr
    outcomes = {line["name"]: line for line in map(json.loads, made.stdout.splitlines())}
    assert sorted(outcomes) == sorted(names)
    assert {name: line["why"] for name, line in outcomes.items() if not line["agrees"]} == {}
