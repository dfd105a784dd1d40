"""Is what is written of the published shape, and is every field of it published?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tpdyn.board.schema import schema
from tpdyn.board.watched import document, of_events
from tpdyn.reporting.tags import SCHEMA

Make = Callable[..., dict[str, Any]]
Published = Callable[[dict[str, Any]], list[str]]


def test_the_schema_names_its_version_and_every_kind() -> None:
    kinds = [each["$ref"].rpartition("/")[2] for each in schema()["oneOf"]]
    assert kinds == ["check", "refusal", "phases", "transfer", "limit", "monitor"]
    for kind in kinds:
        assert schema()["$defs"][kind]["properties"]["kind"] == {"const": kind}
        assert schema()["$defs"][kind]["properties"]["schema"] == {"const": SCHEMA}


def test_a_monitored_run_is_of_the_published_shape(published: Published) -> None:
    alarm = {"step": 1, "rule": "dead", "name": "fc", "text": "", "source": ""}
    head = {"keys": [["size", "fc"]], "alarms": [alarm], "width": 8}
    assert published(document(of_events(head, [(5, 0.0, [np.nan])]))) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"regime": "odd"}, "regime"),
        ({"widths": ["64"]}, "widths"),
        ({"new": 1}, "new is not published"),
        ({"modules": [{}]}, "no name"),
        ({"step": True}, "step"),
    ],
)
def test_another_shape_is_noticed(make: Make, published: Published, change: dict[str, Any], told: str) -> None:
    assert published(make()) == []
    found = published(make() | change)
    assert any(told in each for each in found), found
