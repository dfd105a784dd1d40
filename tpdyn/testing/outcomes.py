"""How does a run of pytest say what became of each test, so that it can be watched and resumed? One line of JSON a test.

A pytest plugin (`-p tpdyn.testing.outcomes`), steered by two variables: `TPDYN_OUTCOMES` names the file to add lines to.
`TPDYN_KNOWN` names the file of tests that need not run again. Those that pass are added to it, with what they print: their
figures. It imports nothing of the package.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

OUTCOMES, KNOWN = "TPDYN_OUTCOMES", "TPDYN_KNOWN"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out what is known, and say how many are left."""
    path = os.environ.get(KNOWN)
    kept = Path(path).read_text().splitlines() if path and Path(path).exists() else []
    known = {json.loads(line)["test"] for line in kept}
    left_out = [item for item in items if name_of(item.nodeid) in known]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if name_of(item.nodeid) not in known]
    _write({"collected": len(items), "known": len(left_out)})


def pytest_runtest_logreport(report: Any) -> None:
    """Write one line for each test: at its call, or earlier if it did not come so far."""
    if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
        outcome = "xfailed" if hasattr(report, "wasxfail") and report.outcome == "skipped" else report.outcome
        line = {"test": name_of(report.nodeid), "outcome": outcome, "reason": getattr(report, "wasxfail", "")}
        _write(line | {"text": report.longreprtext[-6000:] if outcome == "failed" else ""})
        if outcome == "passed":
            _write({"test": line["test"], "printed": report.capstdout[-4000:]}, KNOWN)


def pytest_collectreport(report: Any) -> None:
    """Count a file that cannot be imported as failed."""
    if report.failed:
        _write({"test": name_of(report.nodeid), "outcome": "failed", "text": str(report.longrepr)[-6000:]})


def name_of(nodeid: str) -> str:
    """Return file and test, without the folder, which differs between a checkout and a wheel."""
    file, _, test = nodeid.partition("::")
    return f"{Path(file).name}::{test}" if test else Path(file).name


def _write(line: dict[str, Any], variable: str = OUTCOMES) -> None:
    path = os.environ.get(variable)
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
