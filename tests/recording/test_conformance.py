"""Is each kind of layer, optimizer and loop recorded, replayed, fitted at a held-out width and given orders? A quick part.

All scripts of `tests/recording/conformance/` are checked in the slow tier (`proofs_checks/test_conformance.py`), and
`python docs/conformance.py` writes the table.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from conformance import layers
from conformance.case import Case, examine

QUICK = (
    "Conv1d, stride and dilation, SGD", "Conv2d, groups, SGD", "Conv2d, depthwise, AdamW", "Conv2d, circular, SGD",
    "ConvTranspose2d, groups, SGD", "ConvTranspose3d, SGD", "MaxPool2d, overlapping, AdamW", "AvgPool2d, padding not counted, SGD",
    "AdaptiveMaxPool2d, SGD", "BatchNorm2d, AdamW", "BatchNorm2d, frozen, SGD", "InstanceNorm2d, SGD", "GroupNorm, SGD",
    "Upsample, bicubic, SGD", "ReplicationPad2d, SGD", "spectral norm, SGD", "U-Net, SGD", "rows written, SGD",
)
CASES = {case.name: case for family in (layers,) for case in family.cases()}


def test_the_quick_part_names_scripts_that_there_are() -> None:
    assert [name for name in QUICK if name not in CASES] == []


@pytest.mark.parametrize("name", QUICK)
def test_the_script_is_recorded_fitted_and_given_orders(name: str) -> None:
    check(CASES[name])


def check(case: Case) -> None:
    outcome = examine(case)
    if case.outside:
        assert re.search(case.outside, outcome.why), outcome.why
        return
    assert outcome.orders, outcome.why
    assert outcome.gap == 0.0 or outcome.gap is not None and outcome.gap < 1e-4
