"""Does every view open in a real browser, on real logs, in both themes and with both of TensorBoard's readers?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving

from logs import make

pytestmark = pytest.mark.skipif(bool(serving.missing()), reason=serving.missing() or "a browser is there")

COUNT_FRAMES = """() => {
    window.frames_ = 0;
    const count = () => { window.frames_++; requestAnimationFrame(count); };
    count();
}"""
VIEWS = [
    ("standard-parametrization", "Verdict", ".hero .regime", "Unstable"),
    ("gpt", "Verdict", ".hero .regime", "Unstable"),
    ("muP", "Coordinates", ".card .name", "fc1"),
    ("gpt", "Coordinates", ".card .name", "tokens"),
    ("gpt", "Program", ".map canvas", ""),
    ("digits_mlp-train-phases", "Phases", "svg.plot", "initial entries of out.weight"),
    ("digits_mlp-train_mup-limit", "Limits", ".plotted svg", ""),
    ("digits_mlp-train-transfer", "Transfer", ".reason h2", "train"),
    ("gpt-wide", "Live", ".strip", "alarm"),
]


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("browser") / "logs")


@pytest.fixture(scope="session")
def running() -> Iterator[Any]:
    with serving.browser() as found:
        yield found


@pytest.fixture(scope="session")
def addresses(logs: Path) -> dict[str, str]:
    return {reader: serving.tensorboard(logs, reader) for reader in ("false", "true")}


@pytest.mark.parametrize(("theme", "reader"), [("light", "false"), ("dark", "true")])
def test_every_view_opens(running: Any, addresses: dict[str, str], theme: str, reader: str) -> None:
    with serving.page(running, theme) as page:
        page.goto(serving.tab(addresses[reader]))
        for log, view, selector, text in VIEWS:
            serving.go(page, log, view)
            page.wait_for_selector(selector)
            assert text.lower() in page.text_content(selector).lower(), (log, view)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{view} is too wide"
        assert page.problems == []


def test_the_phase_diagram_says_the_formulas_of_every_cell_and_what_would_change(
    running: Any, addresses: dict[str, str]
) -> None:
    with serving.page(running) as page:
        page.goto(serving.tab(addresses["false"]))
        serving.go(page, "digits_mlp-train-phases", "Phases")
        box = page.locator("svg.plot").bounding_box()
        said = set()
        for across in (0.2, 0.35, 0.5, 0.65, 0.8):
            for down in (0.15, 0.35, 0.55, 0.75):
                page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
                page.wait_for_selector("table.formulas")
                said.add(page.text_content(".reason .first"))
        assert {"unstable", "unstable at initialisation", "trivial"} <= said
        page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.8 * box["height"])
        page.wait_for_selector(".fix")
        assert "→" in page.text_content(".fix b")
        assert "was" in page.text_content("table.formulas")
        assert page.problems == []


def test_the_tab_stands_in_tensorboard_itself_and_follows_its_theme(running: Any, addresses: dict[str, str]) -> None:
    with serving.page(running) as page:
        page.goto(f"{addresses['false']}#tpdyn")
        frame = page.frame_locator("iframe")
        frame.locator(".hero .regime").wait_for(timeout=30_000)
        assert frame.locator("html.dark").count() == 0
        page.evaluate("document.body.classList.add('dark-mode')")
        frame.locator("html.dark").wait_for(state="attached")


def test_a_module_opens_by_keyboard_and_closes_with_escape(running: Any, addresses: dict[str, str]) -> None:
    with serving.page(running) as page:
        page.goto(serving.tab(addresses["false"]))
        serving.go(page, "standard-parametrization", "Coordinates")
        page.focus(".card >> nth=1")
        page.keyboard.press("Enter")
        page.wait_for_selector(".drawer")
        drawer = page.text_content(".drawer")
        assert "fc2" in drawer
        assert "hidden = torch.tanh(self.fc2(hidden))" in drawer
        assert "Parts of the change" in drawer
        page.keyboard.press("Escape")
        page.wait_for_selector(".drawer", state="detached")
        page.focus('nav.views [aria-selected="true"]')
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".map canvas")


def test_a_size_has_its_limit_beside_it(running: Any, addresses: dict[str, str]) -> None:
    with serving.page(running) as page:
        page.goto(serving.tab(addresses["true"]))
        serving.go(page, "muP", "Coordinates")
        page.click("text=sizes")
        page.wait_for_selector(".card svg >> text=n = ∞")
        serving.go(page, "digits_mlp-train_mup-limit", "Limits")
        for title in ("Outputs and kernels against the width", "Distance of one run", "Distribution of coordinates"):
            assert page.locator(f'section:has-text("{title}") svg[viewBox]').count() > 0
        assert page.problems == []


def test_a_statement_is_found_and_explained(running: Any, addresses: dict[str, str]) -> None:
    with serving.page(running) as page:
        page.goto(serving.tab(addresses["false"]))
        serving.go(page, "gpt", "Program")
        page.fill("input[aria-label='find a statement']", "head@1[")
        page.keyboard.press("Enter")
        page.wait_for_selector(".drawer")
        assert "orders add" in page.text_content(".drawer")
        before = page.text_content(".drawer h2")
        page.focus(".map canvas")
        page.keyboard.press("ArrowLeft")  # to its first operand
        page.wait_for_function(f"document.querySelector('.drawer h2').textContent !== {json.dumps(before)}")
        assert page.problems == []


def test_two_logs_stand_side_by_side(running: Any, addresses: dict[str, str]) -> None:
    with serving.page(running) as page:
        page.goto(serving.tab(addresses["false"]))
        serving.go(page, "standard-parametrization", "Verdict")
        page.select_option(".tools select", label="muP")
        page.wait_for_selector(".pair .hero >> nth=1")
        assert [each.lower() for each in page.locator(".hero .regime").all_text_contents()] == [
            "unstable",
            "feature learning",
        ]


def test_a_run_that_goes_on_is_seen_without_a_reload(running: Any, logs: Path, tmp_path: Path) -> None:
    from tpdyn.reporting.board import put
    from tpdyn.reporting.events import Run

    document = json.loads((logs / "muP" / "verdict.json").read_text())
    with Run(tmp_path / "live" / "verdict") as run, serving.page(running) as page:
        put(run, 0, document | {"runs": [1, 24]})
        run.flush()
        page.goto(serving.tab(serving.tensorboard(tmp_path)))
        page.wait_for_selector("text=running: 1 of 24 runs", timeout=20_000)
        put(run, 1, document | {"runs": [17, 24]})
        run.flush()
        page.wait_for_selector("text=running: 17 of 24 runs", timeout=20_000)


def test_a_monitored_run_is_drawn_while_it_goes_on(running: Any, tmp_path: Path) -> None:
    from tpdyn.monitoring.alarms import Alarm
    from tpdyn.monitoring.expected import Band
    from tpdyn.monitoring.history import History
    from tpdyn.monitoring.writer import Writer

    hostile = "<img src=x onerror=document.title='broken'>"
    band = Band(np.array([0, 900]), np.array([0.5, 0.5]), np.array([2.0, 2.0]))
    writer = Writer(tmp_path / "run", History(width=8), {("size", "fc"): band})

    def look(step: int, size: float, *alarms: Alarm) -> None:
        values = {("size", "fc"): size, ("size", hostile): 1.0}
        writer.write(step, values, {}, alarms, {(each.rule, each.name) for each in alarms})

    curve = "document.querySelector('.card svg g[clip-path] path:last-of-type').getAttribute('d')"
    look(0, 1.0)
    with serving.page(running, "dark") as page:
        page.goto(serving.tab(serving.tensorboard(tmp_path, "true")))
        page.click('nav.views button:has-text("Live")')
        page.wait_for_selector("text=no alarm now", timeout=20_000)
        page.wait_for_selector(".card svg g[clip-path] path", state="attached")
        assert page.locator(".card").count() == 2
        drawn = page.evaluate(curve)
        look(100, 1.5)
        page.wait_for_selector("text=step 100", timeout=20_000)
        page.wait_for_function(f"{curve} !== {json.dumps(drawn)}")
        page.wait_for_selector(".card .chip.good")
        look(200, 5.0, Alarm("size outside the band", "fc", 200, f"the size of {hostile} is 5", "train.py:3"))
        page.wait_for_selector(".alarms >> text=the size of <img", timeout=20_000)
        page.wait_for_selector(".card .chip.bad")
        page.click(".alarms .alarm")
        page.wait_for_selector(".drawer svg")
        writer.close()
        page.wait_for_selector("text=ended", timeout=20_000)
        assert page.locator("img").count() == 0
        assert page.problems == []


def test_hostile_names_are_texts(running: Any, logs: Path, tmp_path: Path) -> None:
    from tpdyn.reporting.board import put
    from tpdyn.reporting.events import Run

    hostile = "<img src=x onerror=document.title='broken'>"
    text = (logs / "muP" / "verdict.json").read_text().replace('"fc1"', json.dumps(hostile))
    document = json.loads(text)
    document["because"] = [{"text": hostile, "module": hostile, "statement": "v", "formula": hostile, "position": 0, "fix": hostile,
                            "place": {"file": hostile, "line": 1, "text": hostile}}]  # fmt: skip
    with Run(tmp_path / f"a{hostile.replace('/', '')}" / "verdict") as run:
        put(run, 0, document)
    with serving.page(running) as page:
        page.goto(serving.tab(serving.tensorboard(tmp_path)))
        page.wait_for_selector(".hero .regime")
        page.click('nav.views button:has-text("Coordinates")')
        page.wait_for_selector(".card")
        page.click(".card >> nth=0")
        page.wait_for_selector(".drawer")
        assert hostile in page.text_content("body")
        assert page.locator("img").count() == 0
        assert page.title() != "broken"


def test_a_document_of_another_shape_breaks_its_view_alone(running: Any, logs: Path, tmp_path: Path) -> None:
    from tpdyn.reporting.board import put
    from tpdyn.reporting.events import Run

    document = json.loads((logs / "muP" / "verdict.json").read_text())
    for name, content in (
        ("good", document),
        ("odd", {"schema": document["schema"], "kind": "transfer", "modules": 3}),
    ):
        with Run(tmp_path / name / "verdict") as run:
            put(run, 0, content)
    with serving.page(running) as page:
        page.goto(serving.tab(serving.tensorboard(tmp_path)))
        serving.go(page, "odd", "Transfer")
        page.wait_for_selector("text=This view cannot be drawn")
        serving.go(page, "good", "Verdict")
        page.wait_for_selector(".hero .regime")


def test_the_report_draws_itself_offline(running: Any, logs: Path, tmp_path: Path) -> None:
    from tpdyn.commands.report import report

    file = report(logs, tmp_path / "report.html")
    assert Path(file).stat().st_size < 3_000_000
    with serving.page(running, "dark") as page:
        page.context.set_offline(True)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{file}")
        for log, view, selector, _ in VIEWS:
            serving.go(page, f"{log}/monitor" if view == "Live" else log, view)
            page.wait_for_selector(selector)
        assert page.problems == []
        assert all(url.startswith("file://") for url in asked)


def test_a_large_program_opens_in_three_seconds_and_pans_smoothly(running: Any, logs: Path, tmp_path: Path) -> None:
    """Four times the GPT of the examples: as many statements as twelve layers with three steps have."""
    from tpdyn.board.folder import Log, logs_in
    from tpdyn.board.page import page as report

    (log,) = logs_in(logs / "gpt")
    assert log.atlas is not None
    count = len(log.atlas["nodes"]["name"])
    nodes = {key: [value for _ in range(4) for value in values] for key, values in log.atlas["nodes"].items()}
    nodes["slot"] = [slot + count * (k // count) for k, slot in enumerate(nodes["slot"])]
    nodes["inputs"] = [[var + count * (k // count) for var in inputs] for k, inputs in enumerate(nodes["inputs"])]
    (tmp_path / "large.html").write_text(report([Log("gpt", log.document, log.atlas | {"nodes": nodes})]))
    with serving.page(running) as page:
        start = time.perf_counter()
        page.goto(f"file://{tmp_path}/large.html#gpt|program")
        page.wait_for_selector(".map canvas")
        page.wait_for_timeout(100)
        assert time.perf_counter() - start < 3
        assert len(nodes["name"]) > 7000
        box = page.locator(".map canvas").bounding_box()
        page.mouse.move(box["x"] + 600, box["y"] + 300)
        page.mouse.down()
        page.evaluate(COUNT_FRAMES)
        start = time.perf_counter()
        for k in range(30):
            page.mouse.move(box["x"] + 600 - 5 * k, box["y"] + 300 - 2 * k)
        rate = page.evaluate("window.frames_") / (time.perf_counter() - start)
        page.mouse.up()
        print(f"{len(nodes['name'])} statements: {rate:.0f} frames/s")
        assert rate > 15  # a machine that draws without a graphics card, and is shared; 30 and more are seen alone
