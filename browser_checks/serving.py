"""How is a log folder looked at as a reader does? TensorBoard with the tab, and the system's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def missing() -> str:
    """Why no browser can be opened; empty if one can."""
    if CHROMIUM is None:
        return "no Chromium on this machine (Debian: apt-get install chromium)"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed (pip install playwright); it drives the system's Chromium"
    return ""


def tensorboard(folder: Path, reader: str = "false") -> str:
    """Start TensorBoard over a folder in this process; its address. reader: "true" for the Rust one, "false" for Python's."""
    from tensorboard import default, program

    from tpdyn.board.loader import Loader

    others = [each for each in default.get_plugins() if not getattr(each, "__module__", "").startswith("tpdyn")]
    board = program.TensorBoard(plugins=[*others, Loader()])
    board.configure(
        argv=[
            "tensorboard", "--logdir", str(folder), "--port", "0", "--host", "127.0.0.1", "--load_fast", reader,
            "--reload_interval", "1",
        ]
    )  # fmt: skip
    return str(board.launch())


def tab(address: str) -> str:
    """The address of the tab alone, as TensorBoard frames it."""
    return f"{address}data/plugin_entry.html?name=tpdyn"


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A running Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@contextlib.contextmanager
def page(running: Any, theme: str = "light", size: tuple[int, int] = (1360, 860)) -> Iterator[Any]:
    """A page that collects what goes wrong on it in `page.problems`."""
    context = running.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: said.type == "error" and "404" not in said.text and problems.append(said.text))
    opened.problems = problems
    yield opened
    context.close()


def go(opened: Any, log: str, view: str) -> None:
    """Choose a log and a view, and wait until it is drawn."""
    opened.wait_for_selector(".log")
    opened.click(f'.log[title="{log}"]')
    opened.click(f'nav.views button:has-text("{view}")')
    opened.wait_for_selector("text=/^Reading/", state="detached")
    opened.wait_for_timeout(250)
