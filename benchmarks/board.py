"""How long does the tab take to answer? `python benchmarks/board.py [RUNS] [MODULES]`: 100 logs of checks with 100 modules
each, and 100 monitored runs of 100 modules and 200 looks. Other numbers may be given.

TensorBoard reads the folder first; printed is the time of each further request, the slowest of five.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tensorboard import program
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_ingester
from tensorboard.plugins.core import core_plugin
from werkzeug.test import Client

from tpdyn.board.loader import Loader
from tpdyn.monitoring.history import History
from tpdyn.monitoring.writer import Writer
from tpdyn.reporting.board import put
from tpdyn.reporting.events import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "board"))
from conftest import small

LOOKS = 200


def fill(folder: Path, runs: int, modules: int) -> None:
    """Write the logs."""
    for k in range(runs):
        with Run(folder / f"check-{k}" / "verdict") as run:
            put(run, 0, small(modules=modules))
        writer = Writer(folder / f"live-{k}", History(), {})
        for step in range(LOOKS if k == 0 else 2):
            writer.write(step, {(what, f"fc{m}"): 1.0 for m in range(modules) for what in ("size", "change")}, {}, [])
        writer.close()


def main() -> None:
    """Print a line for each request."""
    runs, modules = (int(word) for word in (*sys.argv[1:], "100", "100")[:2])
    with tempfile.TemporaryDirectory() as made:
        fill(Path(made), runs, modules)
        board = program.TensorBoard(plugins=[core_plugin.CorePluginLoader(), Loader()])
        board.configure(argv=["tensorboard", "--logdir", made, "--load_fast", "false", "--reload_interval", "0"])
        ingester = data_ingester.LocalDataIngester(board.flags)
        start = time.perf_counter()
        ingester.start()
        wsgi = application.TensorBoardWSGIApp(
            board.flags, board.plugin_loaders, ingester.data_provider, board.assets_zip_provider
        )
        client = Client(wsgi)
        while len(client.get("/data/plugin/tpdyn/logs").get_json()["logs"]) < 2 * runs:
            time.sleep(0.2)  # it reads in a thread of its own
        print(f"{2 * runs} logs of {modules} modules; read by TensorBoard in {time.perf_counter() - start:.1f} s")
        for route in (
            "/logs",
            "/document?log=check-7/verdict",
            "/document?log=live-0/monitor",
            "/curves?log=live-0/monitor&what=size",
            "/curves?log=live-0/monitor&name=fc7",
        ):
            taken = []
            for _ in range(5):
                start = time.perf_counter()
                assert client.get(f"/data/plugin/tpdyn{route}").status_code == 200
                taken.append(time.perf_counter() - start)
            print(f"{route}: {1000 * max(taken):.0f} ms", flush=True)


if __name__ == "__main__":
    main()
