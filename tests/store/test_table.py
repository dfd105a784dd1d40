"""Mirrors tpdyn/store/table.py: all finished runs as one tidy table."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import tpdyn
from tpdyn.store.store import Measured, Store
from tpdyn.store.table import COLUMNS


def test_one_row_a_number_with_the_facts_of_its_run(tmp_path: Path) -> None:
    store = Store.under(tmp_path)
    for seed in (0, 1):
        facts = {"script": f"s{seed}.py", "kind": "measure", "by": "script", "width": 64, "seed": seed}
        store.put(f"ab{seed}", facts, [Measured(0, "fc", "size", 1.0 + seed), Measured(1, f"m{seed}", "change", 0.5)])
    (store.folder / "ab" / "broken.parquet").write_bytes(b"not a table")
    table = tpdyn.runs(tmp_path)
    assert tuple(table.column_names) == COLUMNS
    assert table.to_pylist()[2] == {
        "script": "s1.py", "width": 64, "seed": 1, "step": 0, "module": "fc", "what": "size", "value": 2.0,
        "kind": "measure", "by": "script", "key": "ab1",
    }  # fmt: skip
    assert tpdyn.runs(tmp_path / "runs").equals(table)


def test_a_folder_without_runs_is_refused_and_an_emptied_store_is_an_empty_table(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no finished runs; expected a folder"):
        tpdyn.runs(tmp_path)
    store = Store.under(tmp_path)
    store.put("ab0", {"width": 1, "seed": 0}, [])
    store.path("ab0").unlink()
    assert tuple(tpdyn.runs(tmp_path).column_names) == COLUMNS


def test_many_runs_open_fast(tmp_path: Path) -> None:
    """A hundred runs of a hundred modules in a tenth of a second would be a thousand in one. Here ten times that is let
    pass.
    """
    store = Store.under(tmp_path)
    values = [
        Measured(t, f"blocks.{m}", what, 0.5) for t in range(3) for m in range(100) for what in ("size", "change")
    ]
    store.put("ab0", {"width": 1, "seed": 0}, values)
    content = store.path("ab0").read_bytes()
    for number in range(100):
        (store.folder / "ab" / f"ab{number}.parquet").write_bytes(content)
    start = time.process_time()
    assert len(tpdyn.runs(tmp_path)) == 100 * len(values)
    assert time.process_time() - start < 1.0
