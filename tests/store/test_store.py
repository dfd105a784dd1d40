"""Mirrors tpdyn/store/store.py: a run that was put is got back, whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tpdyn.store.store import Measured, Store, StoreError, facts_of, key_of

VALUES = [Measured(0, "fc", "size", 0.1 + 0.2), Measured(1, "fc", "change", math.inf), Measured(2, "", "loss", 5e-324)]
FACTS = {"script": "train.py", "kind": "measure", "by": "script", "width": 64, "seed": 3}


def test_a_run_comes_back_bit_for_bit_also_in_another_process_s_store(tmp_path: Path) -> None:
    Store.under(tmp_path).put(key_of(FACTS), FACTS, VALUES)
    run = Store.under(tmp_path).get(key_of(FACTS))
    assert run is not None
    assert list(run.values) == VALUES
    assert run.facts["width"] == 64
    assert run.facts["made"]
    assert Store.under(tmp_path).get(key_of({"width": 65})) is None
    assert [path.stem for path in Store.under(tmp_path).files()] == [key_of(FACTS)]


WRITES = """
import sys
from tpdyn.store.store import Measured, Store
store = Store.under(sys.argv[1])
for seed in range(30):
    store.put(f"ab{seed:02}", {"width": 64, "seed": seed, "values": "x" * 3000}, [Measured(0, "fc", "size", float(seed))])
"""


def test_two_processes_share_it(tmp_path: Path) -> None:
    """Both write the same runs at once; whoever comes first or last, each file is a whole run."""
    other = subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path)])
    store, seen = Store.under(tmp_path), set()
    while other.poll() is None or len(seen) < 30:
        for seed in range(30):
            if len(store.files()) > 5:
                store.put(f"ab{seed:02}", FACTS | {"seed": seed}, [Measured(0, "fc", "size", float(seed))])
            run = store.get(f"ab{seed:02}")
            if run is not None:
                assert run.values[0].value == seed
                seen.add(seed)
    assert other.returncode == 0 and len(store.files()) == 30


def test_fresh_looks_nothing_up_and_keeps_what_is_made(tmp_path: Path) -> None:
    Store.under(tmp_path, fresh=True).put("ab12", FACTS, VALUES)
    assert Store.under(tmp_path, fresh=True).get("ab12") is None
    assert Store.under(tmp_path).get("ab12") is not None


def test_not_a_number_is_a_number_that_is_kept(tmp_path: Path) -> None:
    store = Store.under(tmp_path)
    store.put("ab12", FACTS, [Measured(0, "fc", "size", math.nan)])
    run = store.get("ab12")
    assert run is not None
    assert math.isnan(run.values[0].value)


def test_a_broken_file_is_no_run_and_is_made_anew(tmp_path: Path) -> None:
    store = Store.under(tmp_path)
    store.put("ab12", FACTS, VALUES)
    path = store.path("ab12")
    path.write_bytes(path.read_bytes()[:-20])
    assert store.get("ab12") is None
    assert facts_of(path) is None
    store.put("ab12", FACTS, VALUES)
    assert store.get("ab12") is not None


def test_a_full_disk_is_said_and_leaves_no_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.under(tmp_path)
    store.put("ab11", FACTS, VALUES)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"the disk is full\. Earlier ones are kept"):
        store.put("ab12", FACTS, VALUES)
    assert [path.name for path in (store.folder / "ab").iterdir()] == ["ab11.parquet"]


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    Store.under(tmp_path).put("ab12", FACTS, VALUES)
    facts = tmp_path / "runs" / "store.json"
    facts.write_text(json.dumps({"format": 99}))
    with pytest.raises(StoreError, match="format 99 of finished runs; expected format 1"):
        Store.under(tmp_path)
    facts.write_text("nonsense")
    with pytest.raises(StoreError, match="cannot be read"):
        Store.under(tmp_path)
