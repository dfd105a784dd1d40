"""Claims of each kind hold where they are true, fail where they are wrong, and say what decides it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tpdyn import claims
from tpdyn.claims import checking, rates
from tpdyn.claims.checking import Bench, ClaimFailed, check, check_claims
from tpdyn.claims.theorems import neural_tangent
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.perceptrons import mlp_script

KERNEL = np.array([[1.0, 0.5], [0.5, 2.0]])
ROOT = np.linalg.cholesky(KERNEL)


def gaussian(width, seed):
    """A Gaussian with the covariance KERNEL, up to a tenth of a percent at width 64."""
    return ROOT @ np.random.default_rng([width, seed]).standard_normal(2) * (1 + 0.06 / width)


def heavy(width, seed):
    """The same covariance, but a product of two Gaussians."""
    rng = np.random.default_rng([width, seed])
    return ROOT @ (rng.standard_normal(2) * rng.standard_normal(2))


def outputs(width, seed):
    """Two samples, 32 outputs."""
    return ROOT @ np.random.default_rng([width, seed]).standard_normal((2, 32))


def fourth(width, seed):
    """n^-1 sum x^4 of Gaussians: 3 in the limit."""
    return np.mean(np.random.default_rng([width, seed]).standard_normal(width) ** 4)


def test_a_limit_holds_and_one_that_is_wrong_by_a_tenth_fails() -> None:
    assert check(claims.limit(fourth, 3.0)).verdict == "holds"
    found = check(claims.limit(fourth, 3.3))
    assert found.verdict == "fails"
    assert "claimed 3.3 +- 0.17" in found.text() and "draw(width, seed) of fourth" in found.text()
    assert check(claims.limit(fourth, 3.0, looks=1, seeds=2)).verdict == "undecided"


def test_a_kernel_holds_and_one_that_is_wrong_by_a_tenth_fails() -> None:
    assert check(claims.kernel(outputs, KERNEL)).verdict == "holds"
    assert check(claims.kernel(outputs, 1.1 * KERNEL)).verdict == "fails"
    assert check(claims.kernel(outputs, KERNEL * [[1, 0.7], [0.7, 1]])).verdict == "fails"


def test_a_law_fails_by_its_mean_its_covariance_or_its_shape() -> None:
    few = {"seeds": 2048, "looks": 2, "margin": 0.15}
    assert check(claims.law(gaussian, covariance=KERNEL, **few)).verdict == "holds"
    wrong = {
        "mean": claims.law(gaussian, covariance=KERNEL, mean=[0.4, 0.0], **few),
        "covariance": claims.law(gaussian, covariance=1.5 * KERNEL, **few),
    }
    for part, claim in wrong.items():
        found = check(claim)
        assert found.verdict == "fails" and found.lines[0].startswith(part)
    found = check(claims.law(heavy, covariance=KERNEL, seeds=2048, looks=1, margin=0.05))
    assert found.verdict == "fails" and found.lines[0].startswith("shape")


NTP = mlp_script(1, point=neural_tangent(1), rate=0.5)
SMALL = {"widths": (16, 32, 64), "seeds": 4}


def test_regimes_and_orders_of_a_script() -> None:
    bench = Bench(device="script", looks=1)
    failed = check(claims.regime(NTP, Regime.FEATURE_LEARNING, **SMALL), bench)
    assert failed.verdict == "fails" and not bench.measured  # the prediction alone decides it
    assert "predicted: kernel; claimed: feature learning" in failed.text() and "because" in failed.text()
    assert check(claims.order(NTP, "W1", change="-1/2", **SMALL), bench).verdict != "fails"
    wrong = check(claims.order(NTP, "W1", change=1, **SMALL), bench)
    assert wrong.verdict == "fails" and "claimed +1 +- 0.25" in wrong.text()
    with pytest.raises(ValueError, match="no module 'W9'"):
        check(claims.order(NTP, "W9", size=0, **SMALL), bench)
    assert len(bench.measured) == 1  # the runs are made once


def test_runs_and_recordings_are_kept_for_later_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "small.py"
    script.write_text(
        "import torch\n"
        "def train(width):\n"
        "    model = torch.nn.Linear(width, 1)\n"
        "    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 / width)\n"
        "    while True:\n"
        "        optimizer.zero_grad()\n"
        "        model(torch.ones(4, width)).square().mean().backward()\n"
        "        optimizer.step()\n"
    )
    claim = claims.order(f"{script}:train", "output", size=0, widths=(8, 16, 32), seeds=4)
    regime = claims.regime(f"{script}:train", "trivial", widths=(8, 16, 32), seeds=2)
    first = check(claim, Bench("script", folder=tmp_path / "kept"))
    assert list((tmp_path / "kept").rglob("*.parquet"))
    assert check(claim, Bench("script", folder=tmp_path / "kept")).lines == first.lines
    assert f"tpdyn check {script}:train --widths 8,16,32" in first.text()
    judged = check(regime, Bench("script", folder=tmp_path / "kept"))

    def record(*_: object, **__: object) -> None:
        raise AssertionError("recorded again")

    monkeypatch.setattr(checking, "record", record)
    assert check(regime, Bench("script", folder=tmp_path / "kept")).lines == judged.lines  # nor is it recorded again


def test_claims_together_share_the_error_and_expected_failures_do_not_raise() -> None:
    seen = []
    with pytest.raises(ClaimFailed, match=r"limit\[fourth\] FAILS"):
        check_claims([claims.limit(outputs_mean, 0.0), claims.limit(fourth, 4.0)], callback=seen.append)
    assert [each.verdict for each in seen] == ["holds", "fails"]
    found = check_claims([claims.limit(fourth, 4.0)], expected_failed_claims={"limit[fourth]": "a wrong number"})
    assert found[0].verdict == "fails"


def outputs_mean(width, seed):
    return np.random.default_rng([width, seed]).standard_normal(width).mean()


def plain(width):
    """One step of `(w . 1 - 1)^2 / 2`, w of length n: it is solved at once by a learning rate of 1/n."""
    w = torch.nn.Parameter(torch.zeros(width))
    optimizer = torch.optim.SGD([w], lr=1 / 16)
    while True:
        optimizer.zero_grad()
        ((w.sum() - 1) ** 2 / 2).backward()
        optimizer.step()


def scaled(width):
    """The same with its gradient divided by n: the best rate stays at 1/16 of n, whatever n is."""
    w = torch.nn.Parameter(torch.zeros(width))
    optimizer = torch.optim.SGD([w], lr=1 / width)
    while True:
        optimizer.zero_grad()
        ((w.sum() - 1) ** 2 / 2).backward()
        optimizer.step()


FEW = {"widths": (16, 64), "seeds": 2, "steps": 2, "factors": tuple(2.0**k for k in range(-3, 2))}


def test_a_transfer_holds_where_the_best_rate_stays_and_fails_where_it_moves() -> None:
    assert check(claims.transfer(scaled, **FEW)).verdict == "holds"
    moved = check(claims.transfer(plain, **FEW))
    assert moved.verdict == "fails"
    assert "moves as n^-1.00" in moved.text() and "claimed to stay" in moved.text() and "at 99 %" in moved.text()
    assert "width 64: best factor" in moved.text()
    assert "tpdyn transfer" in moved.text() and "fix: tpdyn fix" in moved.text()
    assert [rates.transfer(0, wrong) for wrong in (False, True)] == ["holds", "fails"]  # of drawn losses


def test_a_limit_that_counts_the_examples_is_not_broken_by_hunting() -> None:
    """25 examples of 12 runs: expected are 0.12 alarms, and 0.8 with three standard errors for each example."""
    corrected, plain = rates.hunted(12, 25)
    assert corrected == 0 and corrected <= plain
