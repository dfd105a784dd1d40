"""Mirrors tpdyn/cli/checking.py: each verdict, each option of `check`, and what a check leaves in its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, left_behind

from tpdyn.commands import demo

Published = Callable[[dict[str, Any]], list[str]]


def test_a_script_that_learns_features_at_every_width_passes(tpdyn: Run, script: Path, published: Published) -> None:
    done = tpdyn("check", f"{script}:train", "--json", "verdict.json")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("  FEATURE LEARNING")
    assert "the runs confirm it" in done.stdout.splitlines()[2]
    assert "tpdyn: measuring 32/32" in done.stderr.splitlines()
    verdict = json.loads(Path("verdict.json").read_text())
    assert verdict["regime"] == "feature learning"
    assert verdict["agrees"] is True
    module = next(each for each in verdict["modules"] if each["name"] == "2")
    assert module["size_order"] == "0"
    assert module["change_order"] == "0"
    assert module["measured_change_order"]["low"] < 0 < module["measured_change_order"]["high"]
    assert module["verdict"] == "agrees"
    assert "script.py:" in module["source"]
    assert published(verdict) == []
    assert verdict == json.loads(Path("logs/script-train/verdict.json").read_text())
    assert Path("logs/script-train/width=512").is_dir()


def test_runs_are_put_beside_the_limit(
    tpdyn: Run, script: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tpdyn.commands.check.POINTS", 256)
    done = tpdyn("check", f"{script}:train", "--limit", "--json", "v.json", "--widths", "32,64", "--seeds", "2")
    assert "  limit at width 64 you are " in done.stdout, done.output
    told = json.loads(Path("v.json").read_text())
    assert published(told) == []
    assert {claim["what"] for claim in told["limit"]["claims"]} == {"value", "fluctuation", "bias", "law"}
    beside = json.loads(Path("logs/script-train-limit/verdict.json").read_text())
    assert beside["program"] == told["program"] and beside["approach"]["widths"] == [32, 64]


def test_an_unstable_script_has_no_limit_to_put_beside_runs(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:unstable", "--limit", "--widths", "32,64", "--seeds", "1")
    assert "no limit to put beside the runs: there is no limit, the run is unstable: " in done.stderr, done.output
    assert not Path("logs/script-unstable-limit").exists()
    assert "--limit puts runs beside" in tpdyn("check", f"{script}:train", "--limit", "--no-measure").stderr


@pytest.mark.parametrize(
    ("function", "status", "word"),
    [("unstable", 10, "UNSTABLE"), ("trivial", 11, "TRIVIAL"), ("train", 0, "FEATURE LEARNING")],
)
def test_each_regime_has_its_status_and_is_named_first(
    tpdyn: Run, script: Path, function: str, status: int, word: str
) -> None:
    done = tpdyn("check", f"{script}:{function}", "--no-measure", "--json", "verdict.json")
    assert done.exit_code == status, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"  {word}")
    assert lines[2].startswith("  why   ") and "script.py:" in done.stdout
    assert any(line.startswith("  fix   ") for line in lines)
    verdict = json.loads(Path("verdict.json").read_text())
    assert verdict["agrees"] is None
    assert verdict["reasons"]
    assert left_behind() == ["verdict.json"]


def test_runs_that_contradict_the_prediction_are_a_disagreement(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:changes_its_mind", "--widths", "64,128,256,512", "--seeds", "4")
    assert done.exit_code == 12, done.output
    assert "the runs contradict it" in done.stdout


@pytest.mark.slow
def test_what_is_undecided_has_its_status_and_is_decided_on_request(tpdyn: Run, script: Path) -> None:
    words = ("check", f"{script}:train", "--widths", "32,48,64", "--seeds", "3")
    done = tpdyn(*words)
    assert done.exit_code == 16, done.output
    assert "the runs leave it undecided" in done.stdout and "to decide: " in done.stdout
    done = tpdyn(*words, "--until-decided", "--budget", "5m")
    assert done.exit_code == 0, done.output
    assert "tpdyn: deciding (" in done.stderr and "the runs confirm it" in done.stdout


def test_a_required_regime_decides_the_status(tpdyn: Run, script: Path) -> None:
    given = ("check", f"{script}:train", "--no-measure", "--require")
    assert tpdyn(*given, "feature-learning").exit_code == 0
    other = tpdyn(*given, "kernel")
    assert other.exit_code == 14 and "required: kernel; predicted: " in other.output
    assert tpdyn("check", f"{script}:unstable", "--no-measure", "--require", "unstable").exit_code == 0
    wrong = tpdyn(*given, "lazy")
    assert wrong.exit_code == 2 and "expected one of: unstable, trivial, kernel, feature-learning" in wrong.output


def test_a_script_is_run_as_it_is_with_its_own_option(tpdyn: Run, script: Path) -> None:
    words = ("check", str(script), "--width-arg=--d-model", "--widths", "20,28,44,64", "--no-measure")
    done = tpdyn(*words, "--", "--steps", "9")
    assert done.exit_code == 0, done.output
    assert "recorded 3 optimizer steps at widths 20, 28, 44" in done.stdout
    # Without the argument that follows the --, the script takes one step only.
    assert tpdyn(*words).exit_code == 2


SETTINGS = """
import torch
from torch import nn

n_embd = 384
hidden = 4 * n_embd
model = nn.Sequential(nn.Linear(5, n_embd), nn.Tanh(), nn.Linear(n_embd, hidden), nn.Tanh(), nn.Linear(hidden, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
for _ in range(5):
    optimizer.zero_grad()
    (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
    optimizer.step()
"""


def test_a_script_without_options_is_run_with_a_number_in_its_text_set_to_the_width(tpdyn: Run, tmp_path: Path) -> None:
    script = tmp_path / "settings.py"
    script.write_text(SETTINGS)
    words = ("check", str(script), "--set", "n_embd=n", "--no-measure", "--show-dims", "--widths", "24,32,40")
    done = tpdyn(*words)
    assert done.exit_code == 10, done.output
    assert "4*n  wide    96, 128, 160 at the recorded widths" in done.stdout
    assert "settings.py:12" in done.stdout and script.read_text() == SETTINGS


def test_the_output_of_the_script_is_shown_from_its_first_run_only_and_not_on_standard_output(
    tpdyn: Run, script: Path
) -> None:
    done = tpdyn("check", f"{script}:train", "--no-measure")
    assert "loss at step" not in done.stdout
    assert "loss at step 0 width 16" in done.stderr
    assert "width 24" not in done.stderr


def test_dims_are_listed_and_a_large_width_is_compared(tpdyn: Run, script: Path) -> None:
    done = tpdyn("check", f"{script}:train", "--no-measure", "--show-dims", "--at", "100000")
    assert done.exit_code == 0
    assert "       n  wide    16, 24, 40 at the recorded widths" in done.output
    assert "shapes and constants were compared at width 100000, too" in " ".join(done.output.split())
    capped = tpdyn("check", f"{script}:changes_its_mind", "--no-measure", "--at", "100000")
    assert capped.exit_code == 2
    assert "At width 100000" in " ".join(capped.output.split())


COUNTED = """
import os
from script import train

def counted(width):
    count = os.environ["COUNT"] = str(int(os.environ.get("COUNT", "0")) + 1)
    if count == os.environ.get("STOP"):
        raise KeyboardInterrupt
    train(width)
"""


@pytest.mark.slow
def test_an_interrupted_check_goes_on_where_it_stopped_and_begins_anew_if_the_script_has_changed(
    tpdyn: Run, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = script.parent / "counting.py"
    counting.write_text(COUNTED)
    monkeypatch.syspath_prepend(script.parent)

    def made(status: int, *words: str) -> int:
        monkeypatch.setenv("COUNT", "0")
        done = tpdyn("check", f"{counting}:counted", "--widths", "16,24,32", "--seeds", "2", "--steps", "2", *words)
        assert done.exit_code == status, done.output
        return int(os.environ["COUNT"])

    monkeypatch.setenv("STOP", "8")  # the fourth of six runs, after four recordings
    assert made(130) == 8
    monkeypatch.delenv("STOP")
    rest = made(16)
    assert rest in (3, 3 + 4)  # the recording may be kept, too
    assert made(16, "--fresh") >= 6
    counting.write_text(COUNTED + "# changed\n")
    assert made(16) == 4 + 6


def test_results_go_where_they_were_asked_for_if_the_script_changes_the_folder(
    tpdyn: Run, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    done = tpdyn("check", f"{script}:goes_elsewhere", "--no-measure", "--json", "verdict.json")
    assert done.exit_code == 0, done.output
    assert left_behind() == ["verdict.json"] and not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
def test_what_the_script_writes_is_told_and_stays_where_that_is_asked_for(tpdyn: Run, script: Path) -> None:
    words = ("check", f"{script}:writes", "--no-measure", "--steps", "2")
    done = tpdyn(*words)
    assert done.exit_code == 0 and "each run writes checkpoint.txt" in done.stderr and left_behind() == []
    done = tpdyn(*words, "--in-place")
    assert done.exit_code == 0 and left_behind() == ["checkpoint.txt"] and len(Path("checkpoint.txt").read_text()) == 4


def test_words_of_the_verdict_are_explained(tpdyn: Run) -> None:
    done = tpdyn("explain", "feature", "learning")
    assert done.exit_code == 0 and "networks learn features" in done.stdout
    assert tpdyn("explain", "nonsense").exit_code == 2


@pytest.mark.slow
def test_the_demo_shows_three_regimes_and_logs_them_where_it_runs(tpdyn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With runs too few to decide anything: the whole of it is the README's first command, which CI calls, too."""
    monkeypatch.setattr(demo, "WIDTHS", (16, 32, 64))
    monkeypatch.setattr(demo, "SEEDS", 2)
    monkeypatch.setattr(demo, "DECIDE_WITHIN", 0.0)
    done = tpdyn("demo")
    assert done.exit_code == 0, done.output
    for word in ("  UNSTABLE", "  KERNEL", "  FEATURE LEARNING"):
        assert sum(line.startswith(word) for line in done.stdout.splitlines()) == 1
    assert {path.name for path in Path("logs").iterdir()} == {"standard-parametrization", "NTK-parametrization", "muP"}
