"""How does a fresh machine run tpdyn? `python3 bootstrap.py demo` or `python3 bootstrap.py tests`; nothing else needed.

Only the standard library is used. A virtual environment in `.venv` gets tox (see tox.ini). Then tox installs everything
else into `.tox/` with the tested versions of `constraints.txt`. It runs the environment asked for, or several with commas
between. The system's Python is not touched, so an externally managed one is fine. Further arguments go on to it:
`bootstrap.py tests -k orders`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
NAMES = ("demo", "tests", "proofs", "types", "style", "docs", "frontend", "browser", "wheel", "ci", "neural-tangents")


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is what an older Python meets first)
        return complain(
            f"Python {sys.version.split()[0]} was used; tpdyn needs 3.11 or newer.",
            "run this file with a newer one, e.g. python3.11 bootstrap.py demo",
        )
    if not arguments or not set(arguments[0].split(",")) <= set(NAMES):
        given = arguments[0] if arguments else "nothing"
        return complain(f"asked for {given!r}; expected one of: {', '.join(NAMES)}.", "python3 bootstrap.py demo")
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        prepare(python)
    except subprocess.CalledProcessError as error:
        return complain(f"set-up failed: {' '.join(map(str, error.cmd))}", "see the message above, then run this again")
    command = [str(python), "-m", "tox", "run", "-q", "-e", arguments[0], "--root", str(ROOT)]
    if arguments[1:]:
        command += ["--", *arguments[1:]]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    try:
        return subprocess.call(command, cwd=ROOT, env=environment)
    except KeyboardInterrupt:
        return 130


def prepare(python: Path) -> None:
    """Make `.venv` with tox in it, unless it is there; raises CalledProcessError when a step of it fails."""
    ready = ENVIRONMENT / ".ready"
    constraints = (ROOT / "constraints.txt").read_text()
    if python.exists() and ready.exists() and ready.read_text() == constraints:
        return
    try:
        import ensurepip  # noqa: F401  (Debian and Ubuntu ship venv without it)
        import venv
    except ImportError:
        complain(
            "this Python has no venv or no ensurepip, so no virtual environment can be made.",
            "on Debian or Ubuntu: sudo apt install python3-venv",
        )
        raise SystemExit(2) from None
    print(f"setting up {ENVIRONMENT.name} and .tox (once; a few minutes) ...", file=sys.stderr, flush=True)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", "tox"]
    subprocess.run([str(part) for part in install], check=True)
    ready.write_text(constraints)


def complain(problem: str, remedy: str) -> int:
    print(f"bootstrap.py: {problem}\n  try: {remedy}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
