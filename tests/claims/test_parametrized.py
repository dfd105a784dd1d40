"""One test a claim, through the plugin: ids, expected failures, callbacks, and a failure of a few lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpdyn import claims
from tpdyn.integrations import pytest_plugin

TESTS = """
import numpy as np, pytest
from tpdyn import claims

SEEN = []

def one(width, seed):
    return 1 + np.random.default_rng([width, seed]).standard_normal() / 10

def two(width, seed):
    return one(width, seed)

@claims.parametrize_with_claims(
    [claims.limit(one, 1.0), claims.limit(two, 2.0)],
    expected_failed_claims={"limit[two]": "it is one"},
    callback=SEEN.append,
)
def test_it(claim, tpdyn_check):
    tpdyn_check(claim)

def test_callback():
    assert [each.verdict for each in SEEN] == ["holds", "fails"]

def test_alone(tpdyn_check):
    tpdyn_check(claims.limit(one, 3.0))
"""


class Seen:
    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.text = ""

    def pytest_runtest_logreport(self, report) -> None:
        if report.when == "call":
            self.outcomes[report.nodeid.rpartition("::")[2]] = (
                "xfailed" if hasattr(report, "wasxfail") else report.outcome
            )
            self.text += report.longreprtext if report.failed else ""


def test_claims_become_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    seen = Seen()
    arguments = ["-q", "-c", str(tmp_path / "pytest.ini"), "--rootdir", str(tmp_path), "--import-mode=importlib"]
    arguments += ["--strict-markers", "--tpdyn-profile=thorough", "--tpdyn-widths=128,256,512", str(tmp_path)]
    pytest.main(arguments, plugins=[seen, *([] if _installed() else [pytest_plugin])])
    capsys.readouterr()
    assert seen.outcomes == {
        "test_it[limit[one]]": "passed",
        "test_it[limit[two]]": "xfailed",
        "test_callback": "passed",
        "test_alone": "failed",
    }
    assert "limit[one] FAILS" in seen.text and "claimed 3 +- 0.15" in seen.text
    assert "at widths 128, 256, 512" in seen.text and len(seen.text.splitlines()) <= 5


LOGGED = """
from tpdyn import claims
from tpdyn.testing.perceptrons import mlp_script

def train(width):
    mlp_script(1)(width)

@claims.parametrize_with_claims([claims.regime(train, "unstable", widths=(16, 32, 64), seeds=4)])
def test_it(claim, tpdyn_check):
    tpdyn_check(claim)
"""


def test_a_folder_of_logs_gets_what_tensorboard_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_logged.py").write_text(LOGGED)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    arguments = ["-q", "-c", str(tmp_path / "pytest.ini"), "--rootdir", str(tmp_path), "--import-mode=importlib"]
    arguments += ["-p", "no:cacheprovider", f"--tpdyn-logdir={tmp_path / 'logs'}", str(tmp_path)]
    pytest.main(arguments, plugins=[] if _installed() else [pytest_plugin])
    capsys.readouterr()
    (folder,) = (tmp_path / "logs").glob("regime-train*")
    assert list(folder.rglob("events.out.tfevents.*"))
    assert list((tmp_path / "logs" / "runs").glob("*/*.parquet"))


def _installed() -> bool:
    from importlib.metadata import entry_points

    return any(each.value == "tpdyn.integrations.pytest_plugin" for each in entry_points(group="pytest11"))


def test_an_expected_failure_that_names_no_claim_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the claims are: limit\[<lambda>\]"):
        claims.parametrize_with_claims([claims.limit(lambda n, s: 0.0, 0.0)], expected_failed_claims={"limit[x]": "y"})
