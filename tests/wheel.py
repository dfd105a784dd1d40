"""Does the wheel alone do what the checkout does, from any folder and without a network? `python tests/wheel.py WHEEL_OR_FOLDER`

The wheel is unpacked into an empty folder, the only place where the package can be found. Every connection is refused, in child
processes, too. Then a user's commands run: a theorem by name, an example that lies in the wheel, the plugin for TensorBoard.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OFFLINE = """
import socket

def refused(self, address, *rest):
    if self.family != socket.AF_UNIX:
        raise OSError(f"no network here: {address}")
    return connect(self, address, *rest)

connect, socket.socket.connect = socket.socket.connect, refused
"""
"""Read by every Python that starts with its folder on the path."""

WHERE = "import os, tpdyn; print(os.path.dirname(tpdyn.__file__))"
REFUSED = """
import socket
try:
    socket.create_connection(("127.0.0.1", 9))
except OSError as error:
    print(error)
"""
PLUGIN = "from tpdyn.board.loader import Loader; from tpdyn.integrations import pytest_plugin"


def main(given: str) -> int:
    path = Path(given)
    wheels = [path] if path.suffix == ".whl" else sorted(path.glob("tpdyn-*.whl"))
    if len(wheels) != 1 or not wheels[0].is_file():
        print(f"{given}: expected one wheel of tpdyn: pip wheel --no-deps --wheel-dir {given} .", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        unpacked, elsewhere = folder / "unpacked", folder / "elsewhere"
        elsewhere.mkdir()
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(unpacked)
        (unpacked / "sitecustomize.py").write_text(OFFLINE)
        environment = os.environ | {"PYTHONPATH": str(unpacked), "HYPOTHESIS_PROFILE": "quick"}

        def python(*arguments: str) -> str:
            command = [sys.executable, *arguments]
            ended = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
            if ended.returncode:
                raise SystemExit(f"{' '.join(arguments)}: status {ended.returncode}\n{ended.stdout}{ended.stderr}")
            return ended.stdout

        found = python("-c", WHERE).strip()
        if Path(found).resolve() != (unpacked / "tpdyn").resolve():
            raise SystemExit(f"tpdyn came from {found}; expected the unpacked wheel, {unpacked}")
        if "no network here" not in python("-c", REFUSED):
            raise SystemExit("connections are not refused: another sitecustomize is in the way")
        python("-c", PLUGIN)
        example = unpacked / "tpdyn" / "examples" / "digits_mlp.py"
        told = python("-m", "tpdyn", "check", f"{example}:train_mup", "--no-measure", "--require", "feature-learning")
        told += python("-m", "tpdyn", "verify", "--only", "semicircle")
        print(told)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) == 2 else "."))
