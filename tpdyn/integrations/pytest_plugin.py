"""How do claims become tests? A pytest plugin: options, the marker `tpdyn`, and the fixture `tpdyn_check`.

pytest loads it by itself wherever tpdyn is installed. So it imports only pytest until a test asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROFILES = {"quick": 1, "standard": 3, "thorough": 5}
"""How often an undecided script is looked at."""


def pytest_addoption(parser: Any) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("tpdyn", "claims about training scripts")
    group.addoption(
        "--tpdyn-profile", default="standard", choices=[*PROFILES], help="how long an undecided claim is looked at"
    )
    group.addoption("--tpdyn-device", default="auto", help="auto, cpu, cuda, or script (leave it to the script)")
    group.addoption("--tpdyn-widths", default="", help="widths to run at instead of those of each claim: 64,128,256")
    group.addoption(
        "--tpdyn-logdir",
        default="",
        help="where TensorBoard looks, and finished runs stay between sessions (pytest's cache folder, without logs)",
    )


def pytest_configure(config: Any) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "tpdyn: a claim about a training script (made by parametrize_with_claims)")


@pytest.fixture(scope="session")
def tpdyn_bench(request: pytest.FixtureRequest) -> Any:
    """Return the bench that checks claims; a session's tests share recordings and runs, later sessions the runs."""
    from tpdyn.claims.checking import Bench

    options = request.config.option
    try:
        widths = tuple(int(part) for part in options.tpdyn_widths.split(",") if part)
    except ValueError:
        raise pytest.UsageError(
            f"--tpdyn-widths {options.tpdyn_widths}: expected whole numbers, e.g. 64,128,256"
        ) from None
    folder = Path(options.tpdyn_logdir) if options.tpdyn_logdir else None
    cache = getattr(request.config, "cache", None)
    if folder is None and cache is not None:
        folder = Path(cache.mkdir("tpdyn"))
    return Bench(options.tpdyn_device, widths or None, folder, PROFILES[options.tpdyn_profile])


@pytest.fixture
def tpdyn_check(request: pytest.FixtureRequest, tpdyn_bench: Any) -> Callable[[Any], Any]:
    """Return a function that checks a claim and returns the finding, or fails the test with a few lines."""
    marker = request.node.get_closest_marker("tpdyn")
    settings = {} if marker is None else marker.kwargs

    def check(claim: Any) -> Any:
        __tracebackhide__ = True
        from tpdyn.claims import checking

        finding = checking.check(claim, tpdyn_bench, alpha=checking.ALPHA / settings.get("together", 1))
        if request.config.option.tpdyn_logdir and finding.evidence is not None:
            _log(finding, Path(request.config.option.tpdyn_logdir))
        if settings.get("callback") is not None:
            settings["callback"](finding)
        if finding.verdict != "holds":
            pytest.fail(finding.text(), pytrace=False)
        return finding

    return check


def _log(finding: Any, logdir: Path) -> None:
    """Write the runs behind a finding to a folder named after the claim."""
    from tpdyn.claims.report import Report
    from tpdyn.reporting.tensorboard import log
    from tpdyn.reporting.transfer_log import log_transfers

    folder = logdir / re.sub(r"[^\w.-]+", "-", finding.claim.name).strip("-")
    if isinstance(finding.evidence, Report):
        log(finding.evidence, folder, script=finding.claim.name)
    else:
        log_transfers([finding.evidence], folder, script=finding.claim.name)
