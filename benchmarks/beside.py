"""Is this checkout slower than another one? Both run the same benchmark in turn, measurement by measurement.

    python benchmarks/reading.py --beside ../before

Each checkout runs its own script on its own package, in a process of its own. One of the two runs at a time: it takes one
measurement, then it is stopped for the other's. Times are processor time, even if a script asks for the clock on the wall.
So what else the machine does counts little. A ratio above 1 says that this checkout is slower.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
_START = """
import runpy, sys, time
time.perf_counter = time.process_time
sys.argv.pop(0)
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_LINE = re.compile(r"^(?P<what>\S.*?) +(?P<ms>[\d.]+) ms\b")
_COUNTS = re.compile(r" \(\d+ statements\)| +\d+ +\d+(?= )")
"""How many parameters and statements there are: another checkout may record another number."""


def measurement(line: str) -> tuple[str, float] | None:
    """What a line of a benchmark says: what was measured, and its milliseconds.

    >>> measurement("SGD, 2 hidden             6        310   maximal update             212 ms     210 to 214      1.6")
    ('SGD, 2 hidden maximal update', 212.0)
    """
    found = _LINE.match(line)
    return found and (" ".join(_COUNTS.sub(" ", found["what"]).split()), float(found["ms"]))


class Runner:
    """The benchmark of one checkout, stopped between its measurements."""

    def __init__(self, checkout: Path, script: str, arguments: Sequence[str]) -> None:
        given = [str(checkout / "benchmarks" / script), *arguments]
        # Plug-ins that are installed for one checkout need not exist in the other.
        alone = {"OMP_NUM_THREADS": "1", "HYPOTHESIS_NO_PLUGINS": "1"}
        environment = {**os.environ, **alone, "PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", _START, *given],
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process.send_signal(signal.SIGSTOP)

    def next(self) -> tuple[str, float] | None:
        """The next measurement; None at the end."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        for line in self.process.stdout:
            found = measurement(line)
            if found is not None:
                self.process.send_signal(signal.SIGSTOP)
                return found
        if self.process.wait():
            raise SystemExit(f"the benchmark of {self.process.args!r} failed")
        return None


def compare(script: str, other: Path, arguments: Sequence[str]) -> None:
    """Print each measurement of both checkouts, and the ratio, as soon as both are there."""
    runners = {"there": Runner(other.resolve(), script, arguments), "here": Runner(HERE, script, arguments)}
    taken: dict[str, dict[str, float]] = {}
    print(f"{'':<60} {other.name:>12} {'here':>12} {'ratio':>8}", flush=True)
    try:
        while runners:
            for name, runner in list(runners.items()):
                found = runner.next()
                if found is None:
                    del runners[name]
                    continue
                what, ms = found
                both = taken.setdefault(what, {})
                both[name] = ms
                if len(both) == 2:
                    ratio = both["here"] / both["there"] if both["there"] else float("nan")
                    print(f"{what:<60} {both['there']:>9.0f} ms {both['here']:>9.0f} ms {ratio:>8.2f}", flush=True)
    finally:
        for runner in runners.values():
            runner.process.kill()


def asked(parser: argparse.ArgumentParser) -> argparse.Namespace | None:
    """The arguments of a benchmark, or None where it was asked for a comparison, which is then made."""
    parser.add_argument("--beside", type=Path, metavar="PATH", help="another checkout, to be measured in turn")
    given = parser.parse_args()
    if given.beside is None:
        return given
    others = [word for word in sys.argv[1:] if word not in ("--beside", str(given.beside))]
    compare(Path(sys.argv[0]).name, given.beside, others)
    return None
