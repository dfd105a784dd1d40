"""Mirrors tpdyn/commands/transfer.py: what is swept, under which names, and what is refused before anything is run."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tpdyn.commands.failures import BadInput
from tpdyn.commands.transfer import log_name, transfers

SCRIPT = """
    import argparse
    import torch
    from torch import nn

    def net(width):
        return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))

    def train(width, lr=0.1):
        model = net(width)
        fit(model, [torch.optim.SGD(model.parameters(), lr=lr)])

    def fit(model, optimizers):
        draws = torch.Generator().manual_seed(0)
        x, y = torch.randn(8, 3, generator=draws), torch.randn(8, 1, generator=draws)
        for _ in range(20):
            for optimizer in optimizers:
                optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()

    def there(width):
        model = net(width)
        nn.init.normal_(model[2].weight, std=1 / width)
        nn.init.zeros_(model[2].bias)
        rates = (0.1 * width, 0.1 * width, 0.1 / width, 0.1)
        fit(model, [torch.optim.SGD([{"params": [p], "lr": lr} for p, lr in zip(model.parameters(), rates)])])

    def pair(width):
        models = [net(width), net(width)]
        fit(lambda x: models[0](x) + models[1](x), [torch.optim.SGD(model.parameters(), lr=0.1) for model in models])

    def fails_later(width):
        if width == 8:
            raise RuntimeError("not at width 8")
        train(width)

    def retries(width):
        while True:
            try:
                train(width)
            except:
                pass

    def leaves(width):
        raise SystemExit("no such option")

    if __name__ == "__main__":
        parser = argparse.ArgumentParser()
        parser.add_argument("--hidden", type=int)
        parser.add_argument("--lr", type=float, default=0.1)
        given = parser.parse_args()
        train(given.hidden, given.lr)
"""
HOW = {"widths": (32, 64), "powers": (-2, 2), "steps": 5, "seeds": 2}


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(dedent(SCRIPT))
    return path


def test_with_derived_a_script_is_swept_as_it_is_and_as_fix_writes_it(script: Path) -> None:
    before = script.read_text()
    plain, edited = transfers([f"{script}:train"], derived=True, per_power=2, hyperparameter="init", **HOW)  # type: ignore[arg-type]
    assert (plain.sweep.name, edited.sweep.name) == ("train", "train, maximal update")
    assert len(plain.sweep.factors) == 9
    assert (plain.sweep.losses[0] == edited.sweep.losses[0]).all()  # the smallest width, where nothing changes
    assert (plain.sweep.losses[1] != edited.sweep.losses[1]).all()
    assert script.read_text() == before


def test_a_script_is_run_with_words_of_its_own(script: Path) -> None:
    small, large = transfers(
        [f"{script}", f"{script} --lr 0.4"], width_arg="--hidden", record_widths=(16, 24, 40), hyperparameter="init",
        **HOW,
    )  # type: ignore[arg-type]  # fmt: skip
    assert (small.sweep.name, large.sweep.name) == ("net.py", "net.py --lr 0.4")
    assert (small.sweep.losses != large.sweep.losses).all()
    assert small.stable is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"powers": (6, -6)}, r"--powers 6,-6: expected LOW,HIGH"),
        ({"powers": (1, 1)}, r"--powers 1,1: expected LOW,HIGH"),
        ({"widths": (8,)}, "at least two different ones"),
        ({"hyperparameter": "temperature"}, r"'temperature' cannot be swept.*lr = 0.1"),
    ],
)
def test_what_makes_no_sense_is_refused(script: Path, changed: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        transfers([f"{script}:train"], **(HOW | changed))  # type: ignore[arg-type]


def test_a_script_that_fails_halfway_is_named_with_its_width_and_line(script: Path) -> None:
    with pytest.raises(
        BadInput, match=r"width 8, init times 1, seed 0: RuntimeError: not at width 8 \(.*net.py:\d+: raise"
    ):
        transfers([f"{script}:fails_later"], hyperparameter="init", **(HOW | {"widths": (4, 8)}))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"width 32, init times 1, seed 0: .* left with status 'no such option'"):
        transfers([f"{script}:leaves"], hyperparameter="init", **HOW)  # type: ignore[arg-type]


def test_a_script_that_is_there_already_or_needs_a_person_is_not_swept_with_derived(script: Path) -> None:
    with pytest.raises(BadInput, match="--derived: there is in the maximal update parametrization already"):
        transfers([f"{script}:there"], derived=True, **HOW)  # type: ignore[arg-type]
    with pytest.raises(
        BadInput, match=r"--derived: pair cannot be given .* without your help.*\n(.*\n)*.*several models"
    ):
        transfers([f"{script}:pair"], derived=True, **HOW)  # type: ignore[arg-type]


def test_logs_are_named_after_the_first_target() -> None:
    assert log_name(["examples/digits_mlp.py:train", "x.py:f"]) == "digits_mlp-train-transfer"
    assert log_name(["examples/gpt.py --mup"]) == "gpt-transfer"


def test_a_script_that_never_ends_is_stopped(script: Path) -> None:
    with pytest.raises(BadInput, match=r"took longer than 0\.5 s"):
        transfers([f"{script}:retries"], widths=(4, 8), steps=5, seeds=2, powers=(-1, 1), time_limit=0.5)
