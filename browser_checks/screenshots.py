"""Makes the pictures of the tab that the documentation shows: `python browser_checks/screenshots.py [FOLDER OF LOGS]`.

Without a folder the logs are made first, which takes a few minutes.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import serving
from PIL import Image  # comes with matplotlib

from logs import ROOT, make

PICTURES = ROOT / "docs" / "pictures"
LARGEST = 150_000  # bytes of one picture
SIZE = (1240, 780)


def _module(page: Any) -> None:
    page.click('.card:has-text("fc2")')


def _statement(page: Any) -> None:
    page.fill("input[aria-label='find a statement']", "blocks.1.attention.qkv@1[0] =")
    page.keyboard.press("Enter")
    page.fill("input[aria-label='find a statement']", "")
    page.focus(".map canvas")


def _compared(page: Any) -> None:
    page.select_option(".tools select", label="muP")


def _held(page: Any) -> None:
    box = page.locator("svg.plot").bounding_box()
    page.mouse.click(box["x"] + 0.62 * box["width"], box["y"] + 0.4 * box["height"])


# name, theme, log, view, what to do before
SHOTS: tuple[tuple[str, str, str, str, Callable[[Any], None] | None], ...] = (
    ("verdict", "light", "standard-parametrization", "Verdict", None),
    ("compared", "light", "standard-parametrization", "Verdict", _compared),
    ("coordinates", "light", "gpt", "Coordinates", None),
    ("module", "dark", "standard-parametrization", "Coordinates", _module),
    ("program", "light", "gpt", "Program", None),
    ("statement", "dark", "gpt", "Program", _statement),
    ("phases", "light", "digits_mlp-train-phases", "Phases", _held),
    ("limits", "light", "digits_mlp-train_mup-limit", "Limits", None),
    ("transfer", "light", "digits_mlp-train-transfer", "Transfer", None),
    ("live", "light", "gpt-wide", "Live", None),
)


def shoot(folder: Path) -> None:
    """Open each view and write its picture."""
    address = serving.tab(serving.tensorboard(folder))
    with serving.browser() as running:
        for name, theme, log, view, before in SHOTS:
            with serving.page(running, theme, SIZE) as page:
                page.goto(address)
                serving.go(page, log, view)
                page.wait_for_timeout(700)
                if before is not None:
                    before(page)
                page.wait_for_timeout(900)
                file = PICTURES / f"board-{name}.png"
                picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                picture.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE).save(
                    file, optimize=True
                )
                if page.problems or file.stat().st_size > LARGEST:
                    raise SystemExit(f"{file}: {file.stat().st_size} bytes (at most {LARGEST}); {page.problems}")
                print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    if reason := serving.missing():
        raise SystemExit(reason)
    if len(sys.argv) > 1:
        shoot(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            shoot(make(Path(made), small=False))
