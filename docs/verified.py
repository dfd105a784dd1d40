"""Where does the table in docs/howto/verify.md come from? `python docs/verified.py RUN.json ...`

The files are written by `tpdyn verify --profile ... --json`, of all proofs or with `--only` of one. What a run lacks stays on
the pages as it is. `RATES` below says what each theorem's check does on right and on wrong input, as its docstring does. The
thorough run prints those figures. They are written into docs/reference/verified.md, test by test, as they were printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE, FIGURES = HERE / "howto" / "verify.md", HERE / "reference" / "verified.md"
PROFILES = ("standard", "thorough")
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"

EXACT = "exact"
RATES: dict[str, tuple[str, str, str]] = {
    # theorem: (how it is checked, false alarms, what is rejected)
    "a few entries depend on the width if seeds say so": (
        "binomial bounds at 1e-5",
        "8 of 75,000 (level 1e-3)",
        "powers of 1/2: 99.0 to 100 %",
    ),
    "a gaussian given linear facts is gaussian": (
        EXACT,
        "none",
        "one-sided projection; no correction for facts met twice",
    ),
    "a matrix acts as fresh noise plus a dot": (
        "6 standard errors",
        "2e-9 a number",
        "no dot (18 to 65 standard errors); by the limit a dot off by a tenth",
    ),
    "a parametrization survives shards over processes": ("to 1e-6", "none", "shards without a width"),
    "adam in the operator regime follows its initial operator": (
        "orders at 99 %",
        "as the judge's",
        "the other of two regimes, always",
    ),
    "averages converge to their mean": (EXACT + "; Cauchy: 5 standard errors", "6e-7", "half the bound; n^-2 for n^-1"),
    "averages of random programs converge to the limit": (
        "6 standard errors",
        "2e-9 an average",
        "limits off by a fifth; no dot",
    ),
    "cells of recorded scripts hold everywhere": (EXACT, "none", "formulas beyond a facet"),
    "conformance": (EXACT, "none", "a script that comes further than it should, too"),
    "conformance scripts have a maximal update": (EXACT, "none", "row norms of a trained weight as representations"),
    "derived updates are flat in width": (
        "99 % intervals",
        "3 of 60 draws for a GPT with SGD, 0 of 60 for each of eight pairs",
        "all hidden rates off by n^1/2: always",
    ),
    "derived updates of weights that are made of others": (
        "estimates within 1/4",
        "0 of 60 draws for each of ten cases",
        "rates of the layer off by n^1/2: always",
    ),
    "false alarm and power": ("binomial bounds at 1e-4", "1 % promised", "orders off by 1/2"),
    "fix edits the gpt example": (EXACT, "none", "-"),
    "gaussian integration by parts": (EXACT + "; quadrature to 1e-7", "none", "jumps; a missing constant; 10 %"),
    "gaussian moments are sums over pairings": (EXACT, "none", "non-crossing pairings only; one pairing less"),
    "gradient independence fails for a readout that is not random": (
        EXACT + "; 5 standard errors",
        "6e-7",
        "the other readout's moments: 24 to 65 standard errors",
    ),
    "jacobians have the singular values of free products": (
        EXACT + "; 5 standard errors",
        "6e-7",
        "moments of phi' (66), variance off by 10 % (13), a layer more (8.2)",
    ),
    "known parametrizations": (EXACT + "; one by runs", "none", "a table with one wrong entry"),
    "marchenko pastur at any aspect ratio": (
        EXACT + "; 5 standard errors",
        "0 of 720",
        "entries too large by a tenth: always",
    ),
    "measured runs have the predicted orders": ("99 % intervals", "1 % promised", "orders off by 1/2, for most values"),
    "a monitored run over processes is the run": ("bit for bit", "none", "a probe that changes batch norm"),
    "right verdicts stand where powers cross": ("the judge; slopes within 0.5", "seeds fixed", "orders too small by 1"),
    "runs keep their orders at very large widths": (
        "99 % intervals",
        "as the judge's",
        "each of two orders for the other",
    ),
    "mup is stable and sp is not": (EXACT, "none", "any larger or smaller rate"),
    "mup is the only maximal parametrization": (EXACT, "none", "the other symmetry; a free readout"),
    "norms of rows have the law of dense rows": (
        "5 standard errors",
        "4e-5",
        "a row's norm forgotten (33), orthogonal parts (13), a component drawn anew (175)",
    ),
    "one law": ("permutations at 1 %", "1 %", "another slope by 1/2: 1000 of 1000"),
    "orders bound random programs": (
        "4 standard deviations",
        "3e-5 a value",
        "a reading without the law of large numbers",
    ),
    "orders bound random training": ("measured twice", "1e-4 an example", "1/2 at one number: half; 1: always"),
    "orders do not depend on depth": (EXACT, "none", "parities forgotten beyond 48 sources"),
    "orders of kinks and functions of weights": (EXACT + "; slopes", "none", "the earlier rules, off by 1/2"),
    "orders of matrices of activations": (EXACT + "; slopes", "none", "what was called a growing batch, as outside"),
    "orders of packed projections": ("slopes within 0.4", "3 standard deviations", "the order of the other parts"),
    "orders of weights that are computed": (
        EXACT + "; slopes within 0.4",
        "seeds fixed",
        "1/2 at a wide value: always",
    ),
    "outputs become gaussian with the nngp covariance": (
        "6 standard errors; KS at 1e-4",
        "1e-4",
        "covariance off by 10 %; a missing block",
    ),
    "parametrization symmetry": (EXACT + ", bit for bit", "none", "the other optimizer's symmetry"),
    "products of ginibre matrices have fuss catalan moments": (
        EXACT + "; 5 standard errors",
        "0 of 100",
        "entries too large by a tenth: always",
    ),
    "recorded programs replay the live script": ("bit for bit", "none", "any constant changed by a factor"),
    "shampoo meets the spectral condition": (EXACT + "; runs", "as the judge's", "the script as it stands"),
    "simulated runs have the law of dense runs": (
        "5 standard errors",
        "4e-5",
        "no dot (139), no projection (70), 5 % (16)",
    ),
    "simulations are exact": ("to 1e-11", "none", "refusals by another reason"),
    "spectra do not depend on the law of entries": (EXACT + "; moments", "0 of 600", "Cauchy entries: 200 of 200"),
    "sums become gaussian moment by moment": (EXACT, "none", "another fourth cumulant; another rate"),
    "tensor programs iv stability and regimes of sgd": (EXACT, "none", "exponents off by 1/2; the other theorem"),
    "tensor programs ivb stability and regimes of adam": (EXACT, "none", "exponents off by 1/2; the other regime"),
    "the dynamical dichotomy": (EXACT + "; runs", "none", "the other regime"),
    "the optimal rate stays under mup and moves under sp": (
        EXACT + "; seeds fixed",
        "seeds fixed",
        "each for the other",
    ),
    "the semicircle follows from the master theorem": ("to round-off", "none", "no dot (1, not 2); crossings (3)"),
    "the spectrum of a symmetric matrix is a semicircle": (
        EXACT + "; 5 standard errors",
        "0 of 640",
        "entries too large by a tenth: always",
    ),
    "the tangent kernel is frozen under ntp and moves under mup": (
        "6 standard errors; exponents",
        "beyond 4.6 standard deviations",
        "each for the other; a kernel off by a fifth",
    ),
    "until decided": ("drawn sizes", "0 of 18,000", "0 of 36,000 confirmed"),
    "weights and diagonals of activations are free": (
        "the limit's error",
        "0 of 300",
        "factors not centred; commuting independence; no dot",
    ),
    "which limits learn representations and depend on the algorithm": (
        EXACT + "; the limit's error",
        "none",
        "another seed differs by less",
    ),
    "verdicts of scripts that were misread": ("the orders; slopes within 0.45", "seeds fixed", "orders off by 1/2"),
    "wide runs approach the feature learning limit": (
        "6 standard errors",
        "2e-9 a number",
        "a rate off by a fifth (1.9), the kernel limit (7.4), a step late (12)",
    ),
    "workers make the same runs": ("bit for bit", "none", "-"),
}


def tests(theorem: dict[str, Any]) -> str:
    """How many tests hold, in this run or kept from one that was stopped; what else there is."""
    held = theorem["passed"] + theorem["known"]
    more = [f"{len(theorem['expected failures'])} known not to"] if theorem["expected failures"] else []
    more += [f"**{len(theorem['failures'])} fail**"] if theorem["failures"] else []
    return ", ".join([str(held), *more])


def statement(name: str) -> str:
    """Write the name of a file as a sentence."""
    return name.removeprefix("test_").replace("_", " ")


def table(page: str, runs: list[dict[str, Any]]) -> str:
    """All theorems with their rates, a column for each profile: those of the page, then what these runs have."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    held = {row[0]: dict(zip(PROFILES, row[-len(PROFILES) :], strict=True)) for row in rows[2:]}
    for run in runs:
        for each in run["theorems"]:
            held.setdefault(statement(each["name"]), {})[run["profile"]] = tests(each)
    columns = [f"`{profile}`" for profile in PROFILES]
    lines = [
        "| theorem | checked | false alarms | rejected | " + " | ".join(columns) + " |",
        "|---" * 4 + "|---:" * len(columns) + "|",
    ]
    for name in sorted(held.keys() & RATES.keys()):
        cells = [name, *RATES[name], *(held[name].get(profile, "not run") for profile in PROFILES)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figures(page: str, runs: list[dict[str, Any]]) -> str:
    """What the tests of thorough runs printed, section by section; the page's own where these runs lack one."""
    head, *sections = page.split("\n## ")
    told = {section.partition("\n")[0]: section.partition("\n")[2].strip("\n") for section in sections}
    for each in (each for run in runs if run["profile"] == "thorough" for each in run["theorems"]):
        printed = [line for line in each["figures"] if not line.startswith("step ")]  # of scripts that are recorded
        if printed:
            block = ("<!-- shown: by the run -->", "```text", *printed, "```")
            told[statement(each["name"]).capitalize()] = "\n".join(block)
    return "\n".join([head.rstrip("\n"), *(f"\n## {name}\n\n{told[name]}" for name in sorted(told))]) + "\n"


def main(names: list[str]) -> int:
    """Write both pages."""
    if not names:
        print(__doc__, file=sys.stderr)
        return 2
    runs = [json.loads(Path(name).read_text()) for name in names]
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    old, after = rest.split(END)
    PAGE.write_text(before + BEGIN + "\n" + table(old, runs) + "\n" + END + after)
    FIGURES.write_text(figures(FIGURES.read_text(), runs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
