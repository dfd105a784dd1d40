"""Is each kind of layer, optimizer and loop recorded, replayed, fitted at a held-out width and given orders? A quick part.

All scripts of `tests/recording/conformance/` are checked in the slow tier (`proofs_checks/test_conformance.py`), and
`python docs/conformance.py` writes the table. A family runs in a process of its own: the run-time type checks of the
test process would make each script several times slower.
"""

from __future__ import annotations

import json
import subprocess
import sys
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
        "rows written, SGD",
        "two of many coordinates, SGD",
    ),
    "attention": (
        "grouped queries, AdamW",
        "rotary, halves, SGD",
        "rotary, interleaved, SGD",
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
    "loops": (
        "clipping by norm, SGD",
        "EMA by AveragedModel, AdamW",
        "GAN, AdamW",
        "GradScaler, SGD",
        "checkpointing, SGD",
        "vmap of grad, clipped each, SGD",
        "gradient penalty, SGD",
        "DDP of one process, SGD",
        "state dicts, SGD",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", QUICK)
def test_scripts_are_recorded_fitted_and_given_orders(family: str) -> None:
    check(family, QUICK[family])


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
