"""Does one look see each call by its name in predictions, with its line, however the script is written?"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tpdyn.monitoring.probe import ROWS, Autocast, Before, Look, Probe, norms


def look(model: nn.Module, *inputs: Tensor, dtype: torch.dtype | None = None) -> Look:
    return Probe(model, lambda each: each(*inputs), Autocast("cpu", dtype)).look()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.fc(self.fc(x))).softmax(dim=-1)


def test_a_second_call_has_a_name_and_each_call_its_line() -> None:
    seen = look(Twice(), torch.ones(2, 4))
    assert [name for what, name in seen.values if what == "size"] == ["fc", "fc#2", "output"]
    assert "self.fc(self.fc(x))" in seen.sources["fc"].text
    assert ("logits", "output") in seen.values
    assert ("saturated", "output") in seen.values


def test_the_fused_fast_path_of_an_encoder_hides_nothing() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    seen = look(layer, torch.randn(2, 5, 8))
    assert {
        ("size", "self_attn"),
        ("logits", "self_attn"),
        ("size", "linear2"),
        ("dead", "output"),
    } <= seen.values.keys()


def test_a_probe_runs_under_the_autocast_of_the_script() -> None:
    assert look(Twice(), torch.ones(2, 4), dtype=torch.bfloat16).dtypes["fc"] == "bfloat16"
    assert look(Twice(), torch.ones(2, 4)).dtypes["fc"] == "float32"


def test_masked_logits_do_not_count() -> None:
    class Attention(nn.Module):
        def forward(self, q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, k, attn_mask=mask, scale=1.0)

    q, k = torch.eye(3)[None, None], 5.0 * torch.eye(3)[None, None]
    k[0, 0, 2] *= 10
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[:, 2] = False
    assert look(Attention(), q, k, mask).values["logits", "output"] == 5.0


def test_a_module_without_tensors_and_an_empty_model_are_no_problem() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> None:
            return None

    assert look(Nothing(), torch.ones(1)).values == {}


def test_a_module_that_hands_on_what_its_last_child_returned_has_the_same_numbers() -> None:
    class Outer(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.fc, self.inplace = nn.Linear(4, 4), inplace

        def forward(self, x: Tensor) -> Tensor:
            h: Tensor = self.fc(x)
            return h.mul_(2.0) if self.inplace else h

    for inplace, times in ((False, 1.0), (True, 2.0)):
        model, x = Outer(inplace), torch.ones(2, 4)
        probe = Probe(model, lambda each, x=x: each(x), Autocast())
        for _ in range(2):
            seen = probe.look()
            with torch.no_grad():
                model.fc.weight *= 1.5
        assert seen.values["size", "output"] == pytest.approx(times * seen.values["size", "fc"])
        assert seen.values["change", "output"] == pytest.approx(times * seen.values["change", "fc"])
        assert seen.values["change", "fc"] > 0


def test_norms_are_those_of_float32_whatever_the_dtype() -> None:
    tensors = [torch.full((4,), 300.0, dtype=torch.float16), torch.ones(3), torch.ones(2, dtype=torch.float64)]
    sparse = torch.eye(3).to_sparse()
    assert [float(each) for each in norms([*tensors, sparse])] == pytest.approx([600.0, 3**0.5, 2**0.5, 3**0.5])


def test_many_rows_are_spread_evenly_over_the_batch() -> None:
    """16 examples of 64 tokens: a stride of 4, enough for 256 rows, would meet only tokens of value 0."""
    model = nn.Linear(1, 1, bias=False)
    x = torch.arange(16.0)[:, None, None] + 4.0 * (torch.arange(64.0) % 4)[None, :, None]
    assert x[..., 0].numel() > ROWS
    probe = Probe(model, lambda each: each(x), Autocast())
    with torch.no_grad():
        model.weight.fill_(1.0)
        probe.look()
        before = Before(model)
        model.weight += 0.5
    seen = probe.look(before)
    mean = x.mean().item()
    assert seen.values["size", "output"] == pytest.approx(1.5 * mean, rel=0.01)
    assert seen.values["change", "output"] == pytest.approx(0.5 * mean, rel=0.01)
    assert seen.values["update", "output"] == pytest.approx(0.5 * mean, rel=0.01)
    assert seen.values["largest", "output"] == pytest.approx(1.5 * x.max().item())
    assert seen.values["alignment", "output"] == pytest.approx(1.0)
    assert seen.values["step", "weight"] == pytest.approx(0.5)


def test_operations_within_a_module_that_hides_them_are_seen_after_a_linear_layer_too() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Softmax(dim=-1))
    seen = look(model, torch.ones(2, 4))
    assert {("dead", "1"), ("logits", "3")} <= seen.values.keys()


def test_a_pass_that_fails_leaves_neither_hooks_nor_guards() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(RuntimeError):
        look(model, torch.ones(2, 3))
    assert not model[0]._forward_hooks
    assert ("dead", "1") in look(model, torch.ones(2, 4)).values
