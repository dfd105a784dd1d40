"""Where does docs/conformance.md come from? `python docs/conformance.py` examines every script of the conformance suite.

Each family runs in a process of its own (`python -m conformance <family> --coupled` in tests/recorder). A family whose library is
not installed is named as such. `python docs/conformance.py optimizers loops` examines these families, and keeps the page's
tables of the others. The counts at the top are those of the tables.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().with_suffix(".md")
FOLDER = PAGE.parents[1] / "tests" / "recorder"
FAMILIES = ("layers", "attention", "recurrent", "models", "losses", "optimizers", "loops", "hugging_face")

LARGEST = "1e-11"
"""What a simulated run may differ by from the dense one that it implies."""
COLUMNS = ("script", "recorded", "replay", "fitted", "orders", "coupled", "as expected", "why")

HEAD = f"""# What is recorded, replayed, fitted, simulated and given orders

Written by `python docs/conformance.py`; each row is a script of `tests/recorder/conformance/`.

* **replay**: the largest difference between the recording's replay and the live script, relative to the value (bitwise: none).
* **fitted**: recordings at three widths became one program in a symbolic width, which foretells the script at a fourth.
* **orders**: the regime of this script, whose constants are torch's defaults, after two steps.
* **coupled**: the program is simulated, and run with the dense matrices that the answers imply. The largest difference of a
  loss or an output, relative to its largest entry. At most {LARGEST} is asked for; "refused": by the sampler, see why.
* **as expected**: a script that is outside is expected to be refused, with the reason given.
"""


@dataclass(frozen=True)
class Row:
    """A line of a table, as its cells."""

    cells: tuple[str, ...]

    def __getitem__(self, column: str) -> str:
        return self.cells[COLUMNS.index(column)]

    @property
    def simulated(self) -> bool:
        """Whether the simulated run is the dense one."""
        return self["coupled"] not in ("", "refused") and float(self["coupled"]) <= float(LARGEST)


def outcomes(family: str) -> tuple[list[dict[str, Any]], str]:
    """A line for each script of a family, and what went wrong with the family as a whole."""
    command = [sys.executable, "-m", "conformance", family, "--coupled"]
    made = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")]
    return lines, "" if made.returncode == 0 else made.stderr.strip().splitlines()[-1]


def reason(why: str) -> str:
    """The first line of what went wrong, and the second where the first one only announces it."""
    lines = [each.strip() for each in why.splitlines()]
    text = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return (text if len(text) <= 240 else text[:239] + "…").replace("|", "\\|")


def refusal(message: str) -> str:
    """What the sampler refuses, and the line of the script that needs it."""
    found = re.search(r"(\w+\.py:\d+)", message)
    return f"{reason(message)}; at {found[1]}" if found else reason(message)


def row(line: dict[str, Any]) -> Row:
    """What was seen of a script, as a line of the table."""
    yes = {True: "yes", False: "no"}
    gap = "" if line["gap"] is None else "bitwise" if line["gap"] == 0 else f"{line['gap']:.0e}"
    coupled = "refused" if line["refusal"] else "" if line["coupled"] is None else f"{line['coupled']:.0e}"
    why = "; ".join(filter(None, (reason(line["why"]), refusal(line["refusal"]) if line["refusal"] else "")))
    fitted, agrees = yes[line["fitted"]], yes[line["agrees"]]
    return Row((line["name"], yes[line["recorded"]], gap, fitted, line["orders"], coupled, agrees, why))


def read(page: str) -> dict[str, list[Row]]:
    """The tables of a page, by family."""
    tables: dict[str, list[Row]] = {}
    for part in page.split("\n## ")[1:]:
        title, *lines = part.splitlines()
        rows = [
            tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            for line in lines
            if line.startswith("| ")
        ]
        tables[title.partition(":")[0].lower().replace(" ", "_")] = [Row(cells) for cells in rows[1:]]
    return tables


def summary(tables: dict[str, list[Row]]) -> str:
    """How many scripts come how far."""
    rows = [row for table in tables.values() for row in table]
    fitted = [row for row in rows if row["fitted"] == "yes"]
    same = [row for row in fitted if row.simulated]
    refused = [row for row in fitted if row["coupled"] == "refused"]
    largest = max((float(row["coupled"]) for row in same), default=0.0)
    return "\n".join(
        [
            "| of all scripts | |",
            "|---|---|",
            f"| as expected | {sum(row['as expected'] == 'yes' for row in rows)} of {len(rows)} |",
            f"| recorded, and fitted in a symbolic width | {len(fitted)} |",
            f"| of these simulated as the dense run, to {LARGEST} | {len(same)} ({len(same) / len(fitted):.1%}), "
            f"the largest difference being {largest:.0e} |",
            f"| of these refused by the sampler, by name and line | {len(refused)} |",
        ]
    )


def written(tables: dict[str, list[Row]], problems: dict[str, str]) -> str:
    """The page."""
    parts = [HEAD, summary(tables)]
    for family, rows in tables.items():
        right = sum(row["as expected"] == "yes" for row in rows)
        lines = [f"## {family.replace('_', ' ').capitalize()}: {right} of {len(rows)} as expected", ""]
        if problems.get(family):
            lines += [f"This family was not (fully) examined: {problems[family]}", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
        parts.append("\n".join([*lines, *("| " + " | ".join(row.cells) + " |" for row in rows)]))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write docs/conformance.md."""
    asked, problems = sys.argv[1:] or FAMILIES, dict[str, str]()
    tables = read(PAGE.read_text()) if len(asked) < len(FAMILIES) else {}
    for family in FAMILIES:
        if family in asked:
            print(family, flush=True)
            lines, problems[family] = outcomes(family)
            tables[family] = [row(line) for line in lines]
    PAGE.write_text(written({family: tables[family] for family in FAMILIES}, problems))


if __name__ == "__main__":
    main()
