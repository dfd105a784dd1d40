"""Would a test notice if a rule were wrong? Sabotages rules one by one, and runs the checks that should notice.

    python -m tpdyn.testing.mutate                    all mutants, the fast checks of each area
    python -m tpdyn.testing.mutate --only contraction --jobs 2
    python -m tpdyn.testing.mutate --list

It runs in a checkout, since the tests are not part of the package. Files stay as they are. Each mutant lives in a process
of its own, which reads one file with one text replaced. Results are kept (`--results`), so a stopped run goes on where it
was. A mutant is noticed if a check fails, or if the checks do not end in `--limit` seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, Literal, final

from tpdyn.testing.mutants import ALL, Mutant

CHECKS: Mapping[str, tuple[str, ...]] = {
    "orders": ("tests/readings/orders", "tests/regimes/test_predict.py", "tests/regimes/test_judgement.py"),
    "sampled": ("tests/readings/sampled", "tests/commands/test_simulate.py", "tests/limits/test_limit.py"),
    "kernels": ("tests/readings/kernels", "tests/program/test_law.py", "tests/limits/test_kernels.py"),
    "lowering": (
        "tests/recorder/lowering",
        "tests/recorder/live/test_foreach.py",
        "tests/recorder/test_conformance.py",
    ),
    "fitting": ("tests/recorder/fitting", "tests/recorder/test_record.py", "tests/recorder/test_bad_input.py"),
    "statistics": ("tests/claims", "tests/tuning"),
}
"""The fast checks of each area, those that should notice first."""

PROOFS: Mapping[str, tuple[str, ...]] = {
    "orders": (
        "tests/facts",
        "tests/regimes",
        "tests/program/test_continued.py",
        "tests/parametrizing/test_families.py",
        "proofs_checks/test_orders_of_kinks_and_functions_of_weights.py",
        "proofs_checks/test_orders_of_weights_that_are_computed.py",
        "proofs_checks/test_tensor_programs_iv_stability_and_regimes_of_sgd.py",
        "proofs_checks/test_tensor_programs_ivb_stability_and_regimes_of_adam.py",
        "proofs_checks/test_known_parametrizations.py",
        "proofs_checks/test_orders_bound_random_programs.py",
        "proofs_checks/test_orders_bound_random_training.py",
    ),
    "sampled": (
        "proofs_checks/test_simulations_are_exact.py",
        "proofs_checks/test_simulated_runs_have_the_law_of_dense_runs.py",
    ),
    "kernels": (),
    "lowering": (
        "tests/recorder/test_conformance.py",
        "proofs_checks/test_recorded_programs_replay_the_live_script.py",
    ),
    "fitting": ("proofs_checks/test_recorded_programs_replay_the_live_script.py",),
    "statistics": ("proofs_checks/test_until_decided.py", "proofs_checks/test_false_alarm_and_power.py"),
}
"""What runs besides with `--proofs`: what is slower, the slow tier in its profile `quick`."""

_HEAVY = ("torch", "numpy", "scipy.stats", "scipy.optimize", "networkx")

Fate = Literal["noticed", "survived", "stale", "broken"]


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant. by: the check that noticed it. seconds: how long the checks ran."""

    name: str
    area: str
    fate: Fate
    by: str = ""
    seconds: float = 0.0
    equivalent: str = ""


def checks_of(mutant: Mutant, root: Path, proofs: bool = False) -> tuple[str, ...]:
    """List the checks that should notice a mutant: the mirrored test file, then those of its area."""
    path = Path(mutant.file)
    mirror = Path("tests") / path.parent / f"test_{path.name}"
    files = [mirror.as_posix()] if (root / mirror).exists() else []
    files += [each for each in CHECKS[mutant.area] if each not in files]
    if proofs:
        files += PROOFS[mutant.area]
    return tuple(each for each in files if (root / each).exists())


@final
class _Noticed:
    """A pytest plugin that remembers the first check that failed."""

    def __init__(self) -> None:
        self.first = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remember a failure; pytest calls this for each phase of each test."""
        if report.failed and not self.first:
            self.first = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        """Remember a file that cannot be imported: it has noticed, too."""
        if report.failed and not self.first:
            self.first = f"{report.nodeid} (import)"


def sabotage(path: Path, source: str) -> None:
    """Let this process read `source` wherever it imports the file at `path`. Nothing is undone: for a process that ends."""
    from importlib.machinery import SourceFileLoader

    target, get_data, path_stats = str(path), SourceFileLoader.get_data, SourceFileLoader.path_stats

    def data(self: SourceFileLoader, asked: Any) -> bytes:
        return source.encode() if str(asked) == target else get_data(self, asked)

    def stats(self: SourceFileLoader, asked: Any) -> Mapping[str, Any]:
        return (
            {"mtime": time.time(), "size": 0} if str(asked) == target else path_stats(self, asked)
        )  # no stale bytecode

    sys.dont_write_bytecode = True
    SourceFileLoader.get_data = data  # type: ignore[assignment, method-assign]
    SourceFileLoader.path_stats = stats  # type: ignore[assignment, method-assign]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tpdyn"]:
        del sys.modules[name]


def run_checks(mutant: Mutant | None, checks: Sequence[str], root: Path) -> tuple[Fate, str]:
    """Run checks on a sabotaged package, in this process, which is of little use afterwards. None: nothing is sabotaged."""
    import pytest

    if mutant is not None:
        path = root / "tpdyn" / mutant.file
        source = mutant.applied(path.read_text())
        if source is None:
            return "stale", ""
        sabotage(path, source)
    plugin = _Noticed()
    os.environ.setdefault("HYPOTHESIS_PROFILE", "quick")
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0", "--rootdir", str(root)]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # a plugin may be imported before the checks
    for check in checks:  # one after the other: a mutant that the first file notices need not wait for the others
        status = pytest.main([*arguments, check], plugins=[plugin])
        if plugin.first:
            return "noticed", plugin.first
        if status != pytest.ExitCode.OK:
            return "broken", f"pytest ended with status {int(status)} in {check}"
    return "survived", ""


def _answer(pipe: Connection, mutant: Mutant, checks: Sequence[str], root: Path) -> None:
    """Send what became of a mutant, from a process of its own, whose output is dropped."""
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    try:
        pipe.send(run_checks(mutant, checks, root))
    except BaseException as error:
        pipe.send(("broken", f"{type(error).__name__} outside of a check: {error}"[:500]))


def results_of(
    mutants: Iterable[Mutant], root: Path, *, jobs: int = 1, limit: float = 600.0, proofs: bool = False
) -> Iterator[Result]:
    """Yield the result of each mutant, as they come. jobs: processes at a time. limit: seconds for each."""
    waiting, running = list(mutants), list[tuple[Mutant, ForkProcess, Connection, float]]()
    context = get_context("fork")
    for name in _HEAVY:  # once, not once a mutant
        importlib.import_module(name)
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop(0)
            pipe, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_answer, args=(theirs, mutant, checks_of(mutant, root, proofs), root))
            child.start()
            theirs.close()
            running.append((mutant, child, pipe, time.monotonic()))
        time.sleep(0.05)
        for each in list(running):
            mutant, child, pipe, start = each
            spent = time.monotonic() - start
            ended = pipe.poll()  # an answer, or the end of a child without one: it crashed
            if not ended and spent < limit:
                continue
            fate: Fate = "noticed"
            by = "a crash" if ended else "the checks did not end"
            if ended:
                with contextlib.suppress(EOFError):
                    fate, by = pipe.recv()
            child.kill()
            child.join()
            running.remove(each)
            yield Result(mutant.name, mutant.area, fate, by, round(spent, 1), mutant.equivalent)


def table(results: Sequence[Result], mutants: Sequence[Mutant] = ALL) -> str:
    """Write the score area by area, and the survivors, as Markdown."""
    lines = ["| area | planted | run | noticed | equivalent | survived |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    areas = list(dict.fromkeys(mutant.area for mutant in mutants))
    rows = [_counts(area, [r for r in results if r.area == area], mutants) for area in areas]
    for row in (*rows, ("all", *(sum(row[k] for row in rows) for k in range(1, 6)))):
        lines.append("| " + " | ".join(map(str, row)) + " |")
    left = [each for each in results if each.fate in ("survived", "broken") and not each.equivalent]
    if left:
        lines += ["", "Survivors:", "", *(f"* `{each.name}`" for each in left)]
    same = [each for each in results if each.fate == "survived" and each.equivalent]
    if same:
        lines += ["", "Equivalent:", "", *(f"* `{each.name}`: {each.equivalent}" for each in same)]
    return "\n".join(lines)


def each_of(results: Sequence[Result]) -> str:
    """List every sabotage with the check that noticed it, as Markdown, area by area."""
    lines: list[str] = []
    for area in dict.fromkeys(each.area for each in results):
        lines += ["", f"## {area}", "", "| file | sabotage | noticed by |", "| --- | --- | --- |"]
        for each in sorted((r for r in results if r.area == area), key=lambda r: r.name):
            file, _, what = each.name.partition(": ")
            by = f"`{each.by.removeprefix('tests/')}`" if each.fate == "noticed" else each.fate
            shown = "equivalent" if each.equivalent and each.fate == "survived" else by
            lines.append(f"| `{file}` | {what} | {shown} |")
    return "\n".join(lines)


def _counts(area: str, results: Sequence[Result], mutants: Sequence[Mutant]) -> tuple[Any, ...]:
    planted = sum(mutant.area == area for mutant in mutants)
    noticed = sum(each.fate == "noticed" for each in results)
    same = sum(each.fate == "survived" and bool(each.equivalent) for each in results)
    ran = sum(each.fate != "stale" for each in results)
    return area, planted, ran, noticed, same, ran - noticed - same


def _known(path: Path, mutants: Sequence[Mutant]) -> dict[str, Result]:
    """Read earlier results of the mutants that still exist."""
    by_name = {mutant.name: mutant for mutant in mutants}
    results: dict[str, Result] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        result = Result(**json.loads(line))
        if result.name in by_name:
            results[result.name] = replace(result, equivalent=by_name[result.name].equivalent)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if a mutant survives that is not shown to be equivalent, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tpdyn.testing.mutate", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="mutants whose area, file or sabotage holds this text")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for the checks of one mutant")
    parser.add_argument(
        "--proofs", action="store_true", help="run the slow tier, too, where the fast one did not notice"
    )
    parser.add_argument("--results", type=Path, default=Path("logs/mutants.jsonl"), help="what was found is kept here")
    parser.add_argument("--again", action="store_true", help="run what survived before again")
    parser.add_argument("--each", action="store_true", help="print every sabotage with the check that noticed it")
    parser.add_argument("--list", action="store_true", help="only list the mutants, with their lines")
    given = parser.parse_args(arguments)
    root = Path.cwd()
    chosen = [m for m in ALL if given.only in f"{m.area} {m.name}"]
    if not (root / "tests").is_dir() or not (root / "tpdyn" / "testing").is_dir():
        print(f"{root} is not a checkout of tpdyn: the checks are not part of the package", file=sys.stderr)
        return 2
    if given.list:
        for mutant in chosen:
            print(
                f"{mutant.file}:{mutant.line((root / 'tpdyn' / mutant.file).read_text()) or '(stale)'}: {mutant.what}"
            )
        return 0
    known = _known(given.results, ALL)
    redo = ("survived", "broken", "stale") if given.again or given.proofs else ()
    due = [m for m in chosen if m.name not in known or known[m.name].fate in redo]
    given.results.parent.mkdir(parents=True, exist_ok=True)
    for number, result in enumerate(results_of(due, root, jobs=given.jobs, limit=given.limit, proofs=given.proofs), 1):
        known[result.name] = result
        with given.results.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        print(f"[{number}/{len(due)}] {result.fate}: {result.name} ({result.seconds:.0f} s) {result.by}", flush=True)
    results = [known[m.name] for m in chosen if m.name in known]
    print(table(results, chosen))
    if given.each:
        print(each_of(results))
    return int(any(each.fate in ("survived", "broken") and not each.equivalent for each in results))


if __name__ == "__main__":
    raise SystemExit(main())
