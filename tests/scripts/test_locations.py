"""Mirrors tpdyn/scripts/locations.py: numbers are found where they are written, and nothing else in the text changes."""

from __future__ import annotations

import json

import pytest
import yaml

from tpdyn.scripts.locations import NotReadable, locations_in, with_values

PYTHON = "width = 400\nmodel = Sequential(Linear(784, 400), Linear(400, 20))\nname = f'{400}'  # 400\nrate = 1e-3\n"
YAML = "# 64\nmodel:\n  width: 64\n  layers: [64, -2]\nday: 2024-05-01\nname: n64\n"


def test_every_number_of_a_python_text_is_a_place_with_a_name_or_without() -> None:
    locations = locations_in(PYTHON, "train.py")
    assert [
        (location.line, location.value, location.names) for location in locations if location.value is not None
    ] == [
        (1, 400, ("width",)),
        (2, 784, ()),
        (2, 400, ()),
        (2, 400, ()),
        (2, 20, ()),
        (4, 1e-3, ("rate",)),
    ]


def test_entries_of_configurations_are_named_by_their_paths() -> None:
    found = {name: location.value for location in locations_in(YAML, "config.yaml") for name in location.names}
    assert found == {"model.width": 64, "model.layers.0": 64, "model.layers.1": 2}
    assert [p.names for p in locations_in('{"a": {"b": 3}}', "config.json")] == [("a.b",)]
    assert [p.names for p in locations_in("[a]\nb = 0.5\n", "config.toml")] == [("a.b",)]


def test_numbers_are_put_in_and_the_rest_stays() -> None:
    location = next(p for p in locations_in(YAML, "c.yaml") if p.names == ("model.width",))
    made = with_values(YAML, {location.position: "128"})
    assert yaml.safe_load(made) == {**yaml.safe_load(YAML), "model": {"width": 128, "layers": [64, -2]}}
    assert made.count("\n") == YAML.count("\n")
    (only,) = locations_in('{"\u00e9": 7}', "c.json")
    assert json.loads(with_values('{"\u00e9": 7}', {only.position: "9"})) == {"\u00e9": 9}


def test_a_file_that_cannot_be_read_says_why() -> None:
    with pytest.raises(NotReadable, match="not a Python file"):
        locations_in("def", "train.py")
    with pytest.raises(NotReadable, match="cannot be read"):
        locations_in("{", "config.json")
