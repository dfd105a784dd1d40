"""Is every snippet of the documentation true? Each page is run as a reader would run it, from top to bottom."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _of_docs(name: str):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


snippets, conformance, verified = _of_docs("snippets"), _of_docs("conformance"), _of_docs("verified")


def _page(tmp_path: Path, text: str) -> Path:
    page = tmp_path / "page.md"
    page.write_text(text)
    return page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\n1 / 0\n```\n", "block at line 2: ZeroDivisionError"),
        ("```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```\n", "line 6: this was printed"),
        ("```bash\ntpdyn demo\n```\n", "line 1: a block of bash without"),
        ("<!-- run -->\n```bash\nexit 3\n```\n", "status 3, expected 0"),
        ("<!-- shown -->\n```bash\nexit 3\n```\n", "must say why"),
        ("```python\n1\n", "line 1: the fence is never closed"),
    ],
)
def test_a_page_that_is_wrong_is_refused_with_its_line(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snippets, "ROOT", tmp_path)
    with pytest.raises(snippets.WrongPage, match=said):
        snippets.check(_page(tmp_path, text))


def test_blocks_share_a_namespace_a_folder_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snippets, "ROOT", tmp_path)
    text = (
        '```python title="mine.py"\nprint(6 * 7)\n```\n\n<!-- run, status 3 -->\n```bash\npython mine.py; exit 3\n```\n\n'
        "<!-- output -->\n```text\n```\n\n```python\nx = 1\n```\n\n```python\nprint(x)\n```\n\n<!-- sample -->\n```text\n```\n"
    )
    page = _page(tmp_path, text)
    snippets.write(page)
    assert "```text\n42\n```" in page.read_text()
    assert "```text\n1\n```" in page.read_text()
    snippets.check(page)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_pages_outside_of_the_site_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", (ROOT / page).read_text())
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def _mentions(pattern: str) -> list[tuple[str, str]]:
    """(page, text) of everything in backticks that the pages say and that matches."""
    pages = [*snippets.pages(), ROOT / "CONTRIBUTING.md"]
    return [
        (page.name, found)
        for page in pages
        for found in dict.fromkeys(re.findall(rf"`({pattern})[`(]", page.read_text()))
    ]


def test_every_name_of_the_package_that_a_page_mentions_exists() -> None:
    mentions = _mentions(r"tpdyn(?:\.\w+)+")
    assert len(mentions) > 30
    assert not [(page, name) for page, name in mentions if not _exists(name)]


def _exists(name: str) -> bool:
    value, done = importlib.import_module("tpdyn"), "tpdyn"
    for part in name.split(".")[1:]:
        done += f".{part}"
        if not hasattr(value, part):
            try:
                importlib.import_module(done)
            except ModuleNotFoundError as error:
                return not (error.name or "").startswith("tpdyn")  # what an integration needs is not installed
        value = getattr(value, part)
    return True


def test_a_name_that_is_gone_is_noticed() -> None:
    assert _exists("tpdyn.readings.orders.parity") and _exists("tpdyn.Program.show")
    assert not _exists("tpdyn.Program.nothing")
    assert not _exists("tpdyn.readings.nothing")


def test_every_file_that_a_page_mentions_exists() -> None:
    mentions = _mentions(r"(?:tpdyn|tests|examples|docs|benchmarks|proofs_checks)/(?!a/)[\w/.]*")
    assert len(mentions) > 10
    assert not [(page, path) for page, path in mentions if not (ROOT / path).exists()]


def test_every_public_name_and_every_command_is_in_the_reference() -> None:
    import tpdyn
    from tpdyn import cli

    reference = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    named = {home.rpartition(".")[2] for home in re.findall(r"^::: (\S+)$", reference, re.MULTILINE)}
    public = {name for name in tpdyn.__all__ if not name.startswith("_")}
    assert not public - named - {"Program"}  # with all of its module
    assert "::: tpdyn.program.program" in reference
    commands = {each.name or each.callback.__name__ for each in cli.app.registered_commands if each.callback}
    assert not {name for name in commands if f"## tpdyn {name}\n" not in reference}


def test_the_floors_that_contributing_lists_are_those_of_the_house() -> None:
    house = ast.parse((ROOT / "tests" / "test_house.py").read_text())
    (floors,) = (
        ast.literal_eval(node.value)
        for node in house.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    listed = re.findall(r"^(\w+)  ", (ROOT / "CONTRIBUTING.md").read_text().split("Where things live")[1], re.MULTILINE)
    assert listed == [names[0] for names in floors]


def test_the_page_of_what_is_recorded_counts_its_own_rows() -> None:
    """It takes half an hour to make; proofs_checks/ examines the scripts themselves."""
    page = conformance.PAGE.read_text()
    assert conformance.written(conformance.read(page), {}) == page


def test_all_but_a_few_simulated_runs_are_dense_runs_and_refusals_name_their_line() -> None:
    rows = [row for table in conformance.read(conformance.PAGE.read_text()).values() for row in table]
    fitted = [row for row in rows if row["fitted"] == "yes"]
    assert len(rows) > 500 and len(fitted) > 0.95 * len(rows)
    assert sum(row.simulated for row in fitted) >= 0.95 * len(fitted)
    for row in fitted:
        assert row.simulated or (row["coupled"] == "refused" and re.search(r"; at \w+\.py:\d+$", row["why"])), row


@pytest.mark.parametrize("family", [name for name in conformance.FAMILIES if name != "layers"])
def test_the_page_has_every_script_of_a_family(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are left out: to list them takes seconds."""
    monkeypatch.syspath_prepend(str(conformance.FOLDER))
    cases = importlib.import_module(f"conformance.{family}").cases()
    rows = conformance.read(conformance.PAGE.read_text())[family]
    assert [row["script"] for row in rows] == [case.name for case in cases]


def test_every_proof_has_its_rates_and_its_row_and_a_run_of_one_changes_that_row_only() -> None:
    proofs = {verified.statement(path.stem) for path in (ROOT / "proofs_checks").glob("test_*.py")}
    page = verified.PAGE.read_text().split(verified.BEGIN)[1].split(verified.END)[0]
    assert verified.RATES.keys() == proofs == {row.split(" | ")[0].strip("| ") for row in page.strip().splitlines()[2:]}
    assert verified.table(page, []).strip() == page.strip()
    one = {"profile": "standard", "theorems": [_ran("test_until_decided", 7, [("a", "b")])]}
    changed = verified.table(page, [one]).splitlines()
    (row,) = set(changed) - set(page.splitlines())
    assert row.startswith("| until decided | ") and " | **1 fail** |" in row.replace("7, ", "")


def test_what_a_thorough_run_printed_takes_the_place_of_what_stood_there() -> None:
    page = verified.FIGURES.read_text()
    assert verified.figures(page, []) == page
    run = {"profile": "thorough", "theorems": [_ran("test_until_decided", 7, [], ["step 0: loss 1", "false alarms 0"])]}
    changed = verified.figures(page, [run])
    section = changed.partition("## Until decided\n")[2].partition("\n## ")[0]
    assert section.strip() == "<!-- shown: by the run -->\n```text\nfalse alarms 0\n```"
    assert changed.replace(section, "") == page.replace(
        page.partition("## Until decided\n")[2].partition("\n## ")[0], ""
    )


def _ran(
    name: str, passed: int, failures: list[tuple[str, str]], figures: list[str] | None = None
) -> dict[str, object]:
    return {
        "name": name, "passed": passed, "known": 0, "expected failures": [], "failures": failures, "figures": figures or [],
    }  # fmt: skip
