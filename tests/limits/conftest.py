"""The programs by hand that the sampler is tested with."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tpdyn.program.program import Program


def _programs() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "readings" / "sampled" / "conftest.py"
    spec = importlib.util.spec_from_file_location("sampled_programs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sgd() -> Program:
    """Three steps of gradient descent."""
    program: Program = _programs().network()
    return program


@pytest.fixture(scope="session")
def sign() -> Program:
    """Three steps of sign descent: an entrywise optimizer."""
    program: Program = _programs().network(optimizer="adam")
    return program
