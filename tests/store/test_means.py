"""Mirrors tpdyn/store/means.py; stores and workers have tests of their own."""

from __future__ import annotations

from pathlib import Path

from tpdyn.store.means import HERE, Means
from tpdyn.store.store import Measured, Store


def test_runs_are_kept_only_with_a_store_and_an_identity(tmp_path: Path) -> None:
    for means in (HERE, Means(store=Store.under(tmp_path)), Means(identity={"a": 1})):
        means.keep("ab12", {"width": 1, "seed": 0}, [])
        assert not means.keeps
        assert means.found("ab12") is None
    means = Means(store=Store.under(tmp_path), identity={"a": 1, "versions": {"torch": "2"}}, name="a.py")
    key = means.key("measure", 64, 0, steps=3)
    assert key != means.key("measure", 64, 0, steps=2) != means.key("transfer", 64, 0, steps=2)
    means.keep(key, {"width": 64, "seed": 0}, [Measured(0, "", "loss", 1.0)])
    found = means.found(key)
    assert found is not None
    assert (found.facts["script"], found.facts["versions"]) == ("a.py", {"torch": "2"})


def test_workers_get_what_can_be_sent_and_this_process_the_function_itself() -> None:
    own, sent = (lambda width: width), (lambda width: -width)
    assert Means(worker=sent).function(own) is own
    assert Means(worker=sent, jobs=2).function(own) is sent
    assert Means(jobs=2).function(own) is own
