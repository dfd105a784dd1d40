"""Do the theorems hold on this machine, with these versions? The proofs that lie in the package are run, and reported.

Each file of `proofs_checks` is a theorem. It runs in a process of its own, several at a time, without network, from any folder.
What passed is kept beside the logs, under a key of the package's own text and of the versions. A stopped run goes on where it
was, and whatever changed is proved again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tpdyn.commands.failures import BadInput, Exit
from tpdyn.home import PACKAGE, shipped
from tpdyn.reporting.progress import Progress, silent
from tpdyn.reporting.verified import Theorem
from tpdyn.store.identity import package


@final
@dataclass(frozen=True, slots=True)
class Profile:
    """How thoroughly: the profile of Hypothesis, which files are left out, and whether a GPU is needed."""

    hypothesis: str
    left_out: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    gpu: bool = False


RUNS = (
    "test_derived_updates_are_flat_in_width",
    "test_false_alarm_and_power",
    "test_known_parametrizations",
    "test_measured_runs_have_the_predicted_orders",
    "test_runs_keep_their_orders_at_very_large_widths",
    "test_simulated_runs_have_the_law_of_dense_runs",
)
"""The files that run scripts at growing widths, on the GPU if there is one."""

PROFILES: Mapping[str, Profile] = {
    "quick": Profile(
        "quick",
        left_out=(
            "test_a_parametrization_survives_shards_over_processes",
            "test_cells_of_recorded_scripts_hold_everywhere",
            "test_conformance",
            "test_derived_updates_are_flat_in_width",
            "test_false_alarm_and_power",
            "test_known_parametrizations",
            "test_measured_runs_have_the_predicted_orders",
            "test_orders_bound_random_training",
            "test_runs_keep_their_orders_at_very_large_widths",
            "test_until_decided",
        ),
    ),
    "standard": Profile("default"),
    "thorough": Profile("thorough"),
    "gpu": Profile("default", only=RUNS, gpu=True),
}
"""quick: a few minutes, without the files that run or record many scripts. standard: all files. thorough:
five times the examples. gpu: the files that run scripts, refused where there is no GPU."""


@final
@dataclass(frozen=True, slots=True)
class Verified:
    """What became of all files of a profile. folder: of logs, and of what is kept for the next run."""

    profile: str
    theorems: tuple[Theorem, ...]
    seconds: float
    folder: Path
    seed: int

    @property
    def exit(self) -> Exit:
        """0 if every theorem holds."""
        return Exit.DISAGREEMENT if any(each.outcome == "fails" for each in self.theorems) else Exit.OK

    def to_dict(self) -> dict[str, Any]:
        """Write all of it as JSON data."""
        return {
            "profile": self.profile,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "holds": self.exit is Exit.OK,
            "theorems": [
                {
                    "name": each.name,
                    "outcome": each.outcome,
                    "passed": each.passed,
                    "skipped": each.skipped,
                    "known": each.known,
                    "seconds": each.seconds,
                    "failures": [test for test, _ in each.failures],
                    "expected failures": dict(each.expected),
                    "figures": list(each.figures),
                }
                for each in self.theorems
            ],
        }


def proofs() -> Path:
    """Find the folder of proofs. Raises FileNotFoundError where it was not installed."""
    return shipped("proofs_checks")


def verify(
    profile: str = "quick",
    only: str = "",
    *,
    logdir: Path = Path("logs"),
    jobs: int | None = None,
    seed: int = 0,
    fresh: bool = False,
    progress: Progress = silent,
) -> Verified:
    """Run the proofs of a profile, and log what became of them.

    only: a part of the names of files or tests ("semicircle"; spaces for underscores). jobs: processes at a time, one a core
    unless given. seed: of Hypothesis' examples. fresh: run what passed before again. progress: (what, done, total).
    Raises BadInput for an unknown profile, a missing package, a missing GPU, and a name that nothing has.
    """
    if profile not in PROFILES:
        raise BadInput(f"--profile {profile}: no such profile; expected one of: {', '.join(PROFILES)}")
    missing = [name for name in ("pytest", "hypothesis") if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(f"the proofs need {' and '.join(missing)}: pip install 'tpdyn[verify]'")
    chosen = PROFILES[profile]
    if chosen.gpu and not _has_gpu():
        raise BadInput("--profile gpu: torch sees no GPU here; use --profile standard, or run it where there is one")
    files = [path for path in sorted(proofs().glob("test_*.py")) if not chosen.only or path.stem in chosen.only]
    wanted = only.strip().replace(" ", "_")
    if wanted:
        files = [path for path in files if wanted in path.stem or wanted in path.read_text()]
    if not files:
        raise BadInput(f"--only {only}: no proof has this in its name; the proofs are in {proofs()}")
    left_out = [] if wanted else [path for path in files if path.stem in chosen.left_out]
    due = [path for path in files if path not in left_out]
    folder = logdir.absolute() / "verify" / profile
    start = time.monotonic()
    run = _Run(folder, chosen.hypothesis, seed, wanted, fresh)
    proved = run.all_of(due, jobs or max(1, os.cpu_count() or 1), progress)
    proved = [each for each in proved if each.ran or not wanted or wanted in each.name]
    if not proved:
        raise BadInput(f"--only {only}: no proof and no test has this in its name; the proofs are in {proofs()}")
    theorems = [*proved, *(Theorem(path.stem, "left out") for path in left_out)]
    verified = Verified(profile, tuple(sorted(theorems, key=lambda t: t.name)), time.monotonic() - start, folder, seed)
    (folder / "verified.json").write_text(json.dumps(verified.to_dict(), indent=1) + "\n")
    return verified


def key() -> str:
    """Return a digest of what all proofs depend on: the package, what they share, and the versions of their imports."""
    digest = hashlib.sha256(package().encode())
    for path in sorted(proofs().rglob("*.py")):
        if not path.name.startswith("test_"):
            digest.update(path.name.encode() + path.read_bytes())
    for name in ("torch", "numpy", "scipy", "hypothesis"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            digest.update(importlib.metadata.version(name).encode())
    digest.update(sys.version.encode())
    return digest.hexdigest()[:16]


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@contextlib.contextmanager
def _terminations_raise() -> Iterator[None]:
    """Turn SIGTERM into SystemExit meanwhile, so that no process of ours outlives this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process that still runs, and all that it started: each leads a session of its own."""
    if process.poll() is not None:
        return
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)


@final
class _Run:
    """One run of some files: where it writes, and what it knows from before."""

    def __init__(self, folder: Path, hypothesis: str, seed: int, wanted: str, fresh: bool) -> None:
        self.folder, self.hypothesis, self.seed, self.wanted = folder, hypothesis, seed, wanted
        folder.mkdir(parents=True, exist_ok=True)
        self.passed = folder / f"passed-{key()}-{seed}"
        for other in folder.glob("passed-*"):
            if fresh or other != self.passed:
                shutil.rmtree(other) if other.is_dir() else other.unlink()
        self.passed.mkdir(exist_ok=True)
        (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")

    def all_of(self, files: Sequence[Path], jobs: int, tell: Progress) -> list[Theorem]:
        """Run the files; return their theorems, in the order in which they end."""
        waiting, running, theorems = list(files), dict[Path, tuple[subprocess.Popen[bytes], float]](), list[Theorem]()
        with _terminations_raise(), contextlib.ExitStack() as at_the_end:
            while waiting or running:
                while waiting and len(running) < jobs:
                    path = waiting.pop(0)
                    running[path] = (self._started(path), time.monotonic())
                    at_the_end.callback(_stop, running[path][0])
                time.sleep(0.1)
                for path, (process, start) in list(running.items()):
                    lines = _lines(self._outcomes(path))
                    tests = sum("test" in line for line in lines)
                    total = next((line["collected"] for line in lines if "collected" in line), 0)
                    if process.poll() is None:
                        if total:
                            tell(path.stem.removeprefix("test_").replace("_", " "), min(tests, total - 1), total)
                        continue
                    del running[path]
                    theorems.append(self._ended(path, process.returncode, time.monotonic() - start))
                    tell("theorems", len(theorems), len(files))
        return theorems

    def _started(self, path: Path) -> subprocess.Popen[bytes]:
        self._outcomes(path).unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            str(self.folder / "pytest.ini"),
            "--rootdir",
            str(path.parent),
        ]
        command += ["-p", "tpdyn.testing.outcomes", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += [f"--hypothesis-seed={self.seed}", str(path)]
        if self.wanted and self.wanted not in path.stem:
            command += ["-k", self.wanted]
        roots = (str(Path(PACKAGE).parent), str(path.parent))  # the second for processes that a proof starts
        given = os.environ | {
            "HYPOTHESIS_PROFILE": self.hypothesis,
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.folder / "hypothesis"),
            "TPDYN_OUTCOMES": str(self._outcomes(path)),
            "TPDYN_KNOWN": str(self._kept(path)),
            "TPDYN_RUNS": str(self.folder.parent),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "PYTHONPATH": os.pathsep.join(filter(None, (*roots, os.environ.get("PYTHONPATH")))),
        }
        with self._said(path).open("wb") as said:
            return subprocess.Popen(
                command,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=given,
                cwd=self.folder,
                start_new_session=True,
            )

    def _ended(self, path: Path, status: int, seconds: float) -> Theorem:
        lines = _lines(self._outcomes(path))
        tests = [line for line in lines if "test" in line]
        figures = "\n".join(line["printed"] for line in _lines(self._kept(path)))  # of this run, and of those before
        failures = [(line["test"], line["text"]) for line in tests if line["outcome"] == "failed"]
        if status not in (0, 1, 5) and not failures:
            failures = [(path.name, f"pytest ended with status {status}:\n{self._said(path).read_text()[-3000:]}")]
        return Theorem(
            path.stem,
            "fails" if failures else "holds",
            sum(line["outcome"] == "passed" for line in tests),
            sum(line["outcome"] == "skipped" for line in tests),
            sum(line.get("known", 0) for line in lines),
            round(seconds, 1),
            tuple(failures),
            tuple((line["test"], line["reason"]) for line in tests if line["outcome"] == "xfailed"),
            tuple(line for line in figures.splitlines() if line.strip()),
        )

    def _kept(self, path: Path) -> Path:
        """Return where the names of a proof's tests that passed stay: another text of the proof is another proof."""
        return self.passed / f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.txt"

    def _outcomes(self, path: Path) -> Path:
        return self.folder / f"{path.stem}.jsonl"

    def _said(self, path: Path) -> Path:
        return self.folder / f"{path.stem}.txt"


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines that are there, but for one that is being written."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
