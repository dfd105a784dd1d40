"""Where does docs/conformance.md come from? `python docs/conformance.py` examines every script of the conformance suite.

Each family runs in a process of its own (`python -m conformance <family>` in tests/recorder). A family whose library is not
installed is named as such. The table is written when all are done.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "tests" / "recorder"
FAMILIES = ("layers", "attention", "recurrent", "models", "losses", "optimizers", "loops", "hugging_face")

HEAD = """# What is recorded, replayed, fitted and given orders

Written by `python docs/conformance.py`; each row is a script of `tests/recorder/conformance/`. **Replay**: the largest
difference between the recording's replay and the live script, relative to the value (bitwise: none at all). **Fitted**:
recordings at three widths became one program in a symbolic width, which foretells the script at a fourth. **Orders**: the
regime of this script, whose constants are torch's defaults, after two steps. **As expected**: a script that is outside is
expected to be refused, with the reason given.
"""


def outcomes(family: str) -> tuple[list[dict[str, Any]], str]:
    """A line for each script of a family, and what went wrong with the family as a whole."""
    command = [sys.executable, "-m", "conformance", family]
    made = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")]
    return lines, "" if made.returncode == 0 else made.stderr.strip().splitlines()[-1]


def reason(why: str) -> str:
    """The first line of what went wrong, and the second where the first one only announces it."""
    lines = [each.strip() for each in why.splitlines()]
    text = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return (text if len(text) <= 240 else text[:239] + "…").replace("|", "\\|")


def table(family: str, lines: list[dict[str, Any]], problem: str) -> str:
    """A family as Markdown."""
    right = sum(line["agrees"] for line in lines)
    text = [f"## {family.replace('_', ' ').capitalize()}: {right} of {len(lines)} as expected", ""]
    if problem:
        text += [f"This family was not (fully) examined: {problem}", ""]
    text += ["| script | recorded | replay | fitted | orders | as expected | why |", "|---|---|---|---|---|---|---|"]
    for line in lines:
        gap = "" if line["gap"] is None else "bitwise" if line["gap"] == 0 else f"{line['gap']:.0e}"
        why = reason(line["why"])
        yes = {True: "yes", False: "no"}
        cells = (
            line["name"],
            yes[line["recorded"]],
            gap,
            yes[line["fitted"]],
            line["orders"],
            yes[line["agrees"]],
            why,
        )
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def main() -> None:
    """Write docs/conformance.md."""
    parts = [HEAD]
    for family in FAMILIES:
        print(family, flush=True)
        parts.append(table(family, *outcomes(family)))
    (HERE / "conformance.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
