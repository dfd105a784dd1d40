"""Claims are plain data with names; what cannot be claimed is refused at the door."""

import numpy as np
import pytest

from tpdyn import claims
from tpdyn.claims.claim import widened


def train(width):
    return None


def test_claims_have_names() -> None:
    assert claims.regime(train, "feature-learning").name == "regime[train, feature learning]"
    assert claims.order("a.py:train", "fc1", change="-1/2").name == "order[a.py:train, change of fc1, -1/2]"
    assert claims.transfer(train).name == "transfer[train, lr stays]"
    assert claims.limit(train, 1).name == "limit[train]"
    assert widened([claims.regime(train, "kernel")], (8, 16))[0].widths == (8, 16)


def test_what_cannot_be_claimed_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of: unstable, trivial, kernel, feature learning"):
        claims.regime(train, "lazy")
    with pytest.raises(ValueError, match="expected one of them"):
        claims.order(train, "fc1")
    with pytest.raises(ValueError, match="as many rows as columns"):
        claims.kernel(train, np.ones((2, 3)))
    with pytest.raises(ValueError, match="expected positive ones"):
        claims.law(train, covariance=np.zeros((2, 2)))
    with pytest.raises(AttributeError, match="it has: "):
        claims.nothing  # noqa: B018
