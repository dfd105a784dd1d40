"""Which logs do the browser checks open? Real ones, made by the commands: the demo's scripts, a GPT, phases, transfer, limit, live.

`python browser_checks/logs.py FOLDER` makes them large enough for pictures; the checks make small ones.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits_mlp.py"
GPT = ROOT / "examples" / "gpt.py"


def make(folder: Path, *, small: bool = True) -> Path:
    """Write the logs; small ones take half a minute, large ones a few minutes."""
    from tpdyn.commands.check import check, phases, recorded
    from tpdyn.commands.demo import CASES
    from tpdyn.commands.limit import limits, measured
    from tpdyn.commands.transfer import transfers
    from tpdyn.reporting.limit_log import log_limit
    from tpdyn.reporting.tensorboard import log
    from tpdyn.reporting.transfer_log import log_transfers
    from tpdyn.scripts.script import load

    script, seeds = str(DIGITS), 2 if small else 8
    for name, function, _ in CASES:
        found = check(load(f"{DIGITS}:{function}"), widths=(16, 32, 64) if small else (64, 128, 256, 512), seeds=seeds)
        log(_made(found.report), folder / name.replace(" ", "-"), script=script)
    widths = (32, 64) if small else (32, 64, 128, 256)
    gpt = load(str(GPT), ["--d-model"], widths=(32, 48, 64, *widths))
    found = check(gpt, widths=widths, record_widths=(32, 48, 64), seeds=1 if small else 4)
    log(_made(found.report), folder / "gpt", script=str(GPT))
    program = recorded(load(f"{DIGITS}:train"))
    log(phases(program, around="script" if small else "maximal"), folder / "digits_mlp-train-phases", script=script)
    mup = load(f"{DIGITS}:train_mup")
    widths = (16, 32) if small else (32, 64, 128, 256, 512)
    found = limits(mup, points=4096 if small else 16384, scrambles=2 if small else 8, compare=widths, seeds=seeds)
    runs = measured(mup, widths, seeds, 3)
    log_limit(
        found.limit, folder / "digits_mlp-train_mup-limit", runs, found.approach, script=script, program=found.program
    )
    swept = transfers(
        [f"{DIGITS}:train"], widths=(16, 32) if small else (64, 128, 256, 512), powers=(-2, 2) if small else (-6, 4),
        steps=5 if small else 40, seeds=2 if small else 4, derived=True,
    )  # fmt: skip
    log_transfers(swept, folder / "digits_mlp-train-transfer", script=script)
    watch(folder, *((16, 32, 12, 2) if small else (64, 256, 300, 10)))
    return folder


def watch(folder: Path, twin: int, width: int, steps: int, every: int) -> None:
    """Monitor a GPT under muP, and a wider one whose second block forgot to scale its rate: `gpt-twin` and `gpt-wide`."""
    sys.path.insert(0, str(GPT.parent))
    trained(folder / "gpt-twin", twin, steps, every)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the alarms
        trained(folder / "gpt-wide", width, steps, every, [folder / "gpt-twin"])


def trained(logdir: Path, width: int, steps: int, every: int, twins: Sequence[Path] = ()) -> None:
    """Train the GPT of the examples, watched; beside twins, at a rate of its second block that is not scaled."""
    import gpt
    import torch
    from torch.nn import functional as F

    import tpdyn

    torch.manual_seed(0)
    text = torch.tensor([sorted(set(gpt.TEXT)).index(character) for character in gpt.TEXT])
    model = gpt.GPT(int(text.max()) + 1, 20, width, 4, 2, mup=True)
    groups = gpt.groups(model, 1e-3)
    if twins:
        wrong = {id(each) for each in model.blocks[1].parameters() if each.dim() == 2}
        groups.append({"params": [each for each in groups[0]["params"] if id(each) in wrong], "lr": 1e-3})
        groups[0]["params"] = [each for each in groups[0]["params"] if id(each) not in wrong]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    draws = torch.Generator().manual_seed(0)
    with tpdyn.monitor(model, optimizer, width=width, every=every, logdir=logdir, twins=list(twins)):
        for _ in range(steps):
            starts = torch.randint(len(text) - 21, (10,), generator=draws)
            rows = text[starts[:, None] + torch.arange(21)]
            optimizer.zero_grad()
            F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()).backward()
            optimizer.step()


def _made(value: Any) -> Any:
    assert value is not None
    return value


if __name__ == "__main__":
    make(Path(sys.argv[1]), small=False)
