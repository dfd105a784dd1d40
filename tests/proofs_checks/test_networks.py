"""Do the drawn architectures run, in the parametrization that they claim, and shrink to the plainest?"""

from __future__ import annotations

import pytest
import torch
from hypothesis import find
from networks import BLOCKS, FEATURES, TOKENS, Wide, inputs, networks


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block_keeps_its_shape_and_depends_on_every_sample_by_itself(kind: str) -> None:
    torch.manual_seed(0)
    network, x = Wide((kind, "dense"), "gelu", bias=0.3).make(8), inputs(3)
    assert x.shape == (3, TOKENS, FEATURES)
    made = network(x)
    assert made.shape == (3, 1)
    torch.testing.assert_close(network(x[1:2]), made[1:2])
    assert sum(p.dim() == 2 and p.shape == (8, 8) for p in network.parameters()) == BLOCKS[kind] + 1


def test_the_readout_is_that_of_ntp_or_of_mup() -> None:
    outputs = []
    for power in (0.5, 1.0):
        torch.manual_seed(0)
        outputs.append(Wide((), power=power).make(16)(inputs(2)))
    torch.testing.assert_close(outputs[0], 4 * outputs[1])


def test_it_shrinks_to_one_layer_of_tanh_without_biases() -> None:
    assert find(networks(), lambda wide: True) == Wide(())
    assert find(networks(), lambda wide: "attention" in wide.blocks) == Wide(("attention",))
