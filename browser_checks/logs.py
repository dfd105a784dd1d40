"""Which logs do the browser checks open? Real ones, made by the commands: the demo's three scripts, a GPT, phases, transfer, limit.

`python browser_checks/logs.py FOLDER` makes them large enough for pictures; the checks make small ones.
"""

from __future__ import annotations

import sys
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
    limit = limits(mup, points=4096 if small else 16384, scrambles=2 if small else 8).limit
    runs = measured(mup, (16, 32) if small else (32, 64, 128, 256, 512), seeds, 3)
    log_limit(limit, folder / "digits_mlp-train_mup-limit", runs, script=script)
    swept = transfers(
        [f"{DIGITS}:train"], widths=(16, 32) if small else (64, 128, 256, 512), powers=(-2, 2) if small else (-6, 4),
        steps=5 if small else 40, seeds=2 if small else 4, derived=True,
    )  # fmt: skip
    log_transfers(swept, folder / "digits_mlp-train-transfer", script=script)
    return folder


def _made(value: Any) -> Any:
    assert value is not None
    return value


if __name__ == "__main__":
    make(Path(sys.argv[1]), small=False)
