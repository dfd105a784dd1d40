"""Is a live training loop turned into a program that computes what the loop computes, at any width?"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, Concat, Gather, Leaf, Slice
from tpdyn.program.program import Program
from tpdyn.readings.finite import from_view, run, to_view
from tpdyn.recorder.canonical import canonical
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting.verify import verify_program
from tpdyn.recorder.fitting.widths import FitError, fit
from tpdyn.recorder.lowering import LoweringError
from tpdyn.recorder.record import How, further_width, joined, lowered_at, record

N = Scaling.of(1, 1)


def batch(outputs: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 5, generator=generator), torch.randn(7, outputs, generator=generator)


def loop(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 100) -> None:
    x, y = batch()
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


def sgd(width: int) -> None:
    model = mlp(width)
    loop(model, torch.optim.SGD(model.parameters(), lr=0.1 / width, momentum=0.9, weight_decay=0.01))


def adam(width: int) -> None:
    model = mlp(width)
    loop(model, torch.optim.AdamW(model.parameters(), lr=0.1 / width, weight_decay=0.01))


class Attention(nn.Module):
    """A fused projection, taken apart in one of several ways."""

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.embed, self.qkv, self.out = nn.Linear(5, width), nn.Linear(width, 3 * width), nn.Linear(width, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        n = h.shape[-1]
        fused = self.qkv(F.layer_norm(h, (n,)))
        if self.how == "chunk":
            q, k, v = fused.chunk(3, -1)
        elif self.how == "split":
            q, k, v = fused.split(n, -1)
        else:
            q, k, v = fused.view(7, 3, n).unbind(1)
        q, k, v = (t.view(7, 4, n // 4).transpose(0, 1) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(h + mixed.transpose(0, 1).reshape(7, n))


def attention(how: str) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = Attention(width, how)
        loop(model, torch.optim.SGD(model.parameters(), lr=0.01))

    return train


def gated(width: int) -> None:
    """Wide concatenation and a wide chunk, Adam."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, width), nn.Linear(5, 2 * width)
            self.c, self.d = nn.Linear(3 * width, 2 * width), nn.Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            u, g = self.c(torch.cat([torch.tanh(self.a(x)), self.b(x)], -1)).chunk(2, -1)
            return self.d(u * torch.sigmoid(g))

    model = Gated()
    loop(model, torch.optim.Adam(model.parameters(), lr=0.01))


def live_outputs(train: Callable[[int], None], width: int, steps: int) -> list[Tensor]:
    """What the script itself computes, in float32, without any recording: the root's outputs."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    outputs: list[Tensor] = []
    depth = [0]

    class Enough(Exception):
        pass

    def before(module: nn.Module, args: object) -> None:
        depth[0] += 1

    def after(module: nn.Module, args: object, output: Tensor) -> None:
        depth[0] -= 1
        if depth[0] == 0:
            outputs.append(output.detach().clone())
            if len(outputs) == steps:
                raise Enough

    handles = [
        nn.modules.module.register_module_forward_pre_hook(before),
        nn.modules.module.register_module_forward_hook(after),
    ]
    try:
        train(width)
    except Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def live_leaves(train: Callable[[int], None], program: Program, width: int) -> dict[str, Tensor]:
    """The script's own leaves at a width, by name."""
    lowered = lowered_at(train, width, How(program.steps, 0, verify=False))
    leaves: dict[str, Tensor] = {}
    for parameter, low in zip(program.parameters, lowered.parameters, strict=True):
        view = parameter.versions[0]
        shapes = {at: tuple(d.size_at(width) for d in program.statements[at].shape) for at in view.pieces}
        values = from_view(view, lowered.leaf_values[low.versions[0]], shapes)
        leaves |= {program.statements[at].name: value for at, value in values.items()}
    return leaves


@pytest.mark.parametrize(
    "train",
    [sgd, adam, attention("chunk"), attention("split"), attention("view"), gated],
    ids=["sgd", "adam", "chunk", "split", "view", "gated"],
)
def test_the_program_computes_what_the_script_computes_at_an_unseen_width(train: Callable[[int], None]) -> None:
    program = record(train, widths=(16, 24, 40), steps=3)
    assert program.verified == 56
    assert program.widths == (16, 24, 40)
    assert Program.from_json(program.to_json()) == program
    width = 32
    values = run(program, width, leaves=live_leaves(train, program, width))
    live = live_outputs(train, width, 3)
    marks = sorted((m for m in program.marks if m.kind == "output"), key=lambda m: m.step)
    assert len(marks) == len(live) == 3
    for mark, output in zip(marks, live, strict=True):
        # float32 against float64: 6e-8 an operation, 1e3 of them in a row allowed
        assert torch.allclose(to_view(mark.view, values), output.double(), rtol=6e-5, atol=6e-5)


@pytest.mark.parametrize("train", [attention("chunk"), attention("split"), attention("view"), gated])
def test_no_slice_of_a_wide_dim_is_left(train: Callable[[int], None]) -> None:
    program = record(train, verify=False)
    cut = [s.name for s in program.statements if isinstance(s.instruction, Slice | Concat)]
    assert cut == []
    assert program.verified is None


def test_dims_constants_and_laws_are_functions_of_the_width() -> None:
    program = record(sgd, verify=False)
    first = program.statements[program.parameter("2.weight").versions[0].var]
    assert first.shape == (N, N)
    assert isinstance(first.instruction, Leaf)
    assert first.instruction.law.kind == "uniform"
    assert first.instruction.law.scale.order == -tpdyn.exponents.HALF
    step = program.statements[program.parameter("2.weight").versions[1].var].instruction
    assert isinstance(step, Combine)
    assert any(str(scale) == "-0.1*n^-1" for scale, _ in step.terms) or "0.1" in program.show(phases=("optimizer",))


def test_two_widths_are_enough() -> None:
    assert record(sgd, widths=(16, 24)).verified is not None


def test_data_that_every_width_shares_are_kept() -> None:
    program = record(sgd, steps=1, verify=False)
    x, _ = batch()
    assert any(value.shape == x.shape and np.allclose(value, x) for value in program.arrays.values())


def test_a_program_that_says_something_else_is_caught_by_verification() -> None:
    """Break one number at a time: the checker must name it."""
    lowereds = [lowered_at(sgd, width, How(2, 0, verify=False)) for width in (16, 24, 40)]
    good = canonical(fit(lowereds))
    held_out = lowered_at(sgd, 56, How(2, 0), double=True)
    verify_program(good, held_out)
    broken = 0
    for position, statement in enumerate(good.program.statements):
        instruction = statement.instruction
        if not isinstance(instruction, Combine) or statement.origin.phase != "optimizer":
            continue
        scale, operand = instruction.terms[-1]
        wrong = replace(instruction, terms=(*instruction.terms[:-1], (scale * Scaling.of(2), operand)))
        statements = list(good.program.statements)
        statements[position] = replace(statement, instruction=wrong)
        program = replace(good.program, statements=tuple(statements))
        with pytest.raises(RecordingError, match=r"does not give what the script computes at width 56: .* differs"):
            verify_program(replace(good, program=program), held_out)
        broken += 1
    assert broken >= 12


def test_a_dim_that_only_more_widths_can_tell_is_caught_by_verification() -> None:
    """min(width, 50) equals the width wherever it was recorded."""

    def train(width: int) -> None:
        model = mlp(min(width, 50))
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1))

    with pytest.raises(RecordingError, match=r"at width 56: .* has shape \(50, 5\) in the script and \(56, 5\) in the"):
        record(train, steps=1)


def test_values_that_are_not_numbers_are_data() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        x, y = batch()
        x[0, 0], x[1, 1] = float("nan"), float("inf")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    assert record(train, steps=1).verified == 56


def test_data_that_are_not_numbers_are_kept_as_any_others() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        x, y = batch()
        x[0, 0] = float("nan")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        F.mse_loss(model(x), y).backward()
        optimizer.step()

    assert any(np.isnan(array).any() for array in record(train, steps=1, verify=False).arrays.values())


def test_a_script_that_overflows_is_told_where_and_when() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        x, y = batch()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
        for _ in range(9):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    with pytest.raises(RecordingError, match=r"overflows at width 56: .* in step \d .*Record fewer steps"):
        record(train, steps=8)


def test_a_number_computed_from_the_loss_is_refused_with_its_line() -> None:
    def train(width: int) -> None:
        model = mlp(width)
        x, y = batch()
        for _ in range(3):
            loss = F.mse_loss(model(x), y)
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * math.tanh(loss.item()) * p.grad
                    p.grad = None

    with pytest.raises(FitError, match=r"(?s)outside the theory.*at width 16.*test_record\.py:\d+") as error:
        record(train, steps=2)
    assert error.value.outside


def test_a_branch_on_the_width_is_shown_from_both_sides() -> None:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(5, width), nn.Tanh() if width < 20 else nn.ReLU(), nn.Linear(width, 3))
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1))

    with pytest.raises(FitError, match=r"(?s)first difference.*at width 16: Apply tanh.*at width 24: Apply relu"):
        record(train, steps=1)


def test_a_model_whose_width_does_not_change_is_refused() -> None:
    def train(width: int) -> None:
        model = mlp(12)
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1))

    with pytest.raises(FitError, match="Is the width used to build the model"):
        record(train, steps=1)


def test_the_batch_may_equal_a_width() -> None:
    def train(width: int) -> None:
        model = nn.Linear(5, width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            F.mse_loss(model(torch.ones(24, 5)), torch.zeros(24, width)).backward()
            optimizer.step()

    program = record(train, steps=1, verify=False)
    output = next(mark for mark in program.marks if mark.kind == "output")
    assert tuple(map(str, program.statements[output.view.var].shape)) in {("24", "n"), ("n", "24")}


@pytest.mark.parametrize(("widths", "message"), [((16,), "one width"), ((16, 0), "0 is not a positive")])
def test_bad_widths_are_refused_before_anything_runs(widths: tuple[int, ...], message: str) -> None:
    def train(width: int) -> None:
        raise AssertionError("ran")

    with pytest.raises(FitError, match=message):
        record(train, widths=widths)


def test_bad_steps_are_refused() -> None:
    with pytest.raises(RecordingError, match="steps = 0"):
        record(sgd, steps=0)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [((16, 24, 40), 56), ((16, 32), 48), ((64, 128, 256, 512), 192), ((8, 12, 20), 28), ((7, 11, 13), 17)],
)
def test_the_further_width_keeps_divisors_and_is_no_recorded_width(widths: tuple[int, ...], expected: int) -> None:
    assert further_width(widths) == expected


def test_a_script_that_does_not_accept_the_further_width_says_what_to_do() -> None:
    def train(width: int) -> None:
        if width not in (16, 24, 40):
            raise ValueError("heads!")
        sgd(width)

    with pytest.raises(RecordingError, match=r"(?s)could not be verified at the further width 56.*heads!"):
        record(train, steps=1)


def test_progress_is_told() -> None:
    told: list[str] = []
    record(sgd, steps=1, progress=told.append)
    assert told[0] == "recording at width 16"
    assert told[-1] == "verifying at width 56"


class Patches(nn.Module):
    """A grid of patches after a token of its own. There is attention over all of them, then part of them is taken back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patch, self.first = nn.Conv2d(1, width, 2, 2), nn.Parameter(torch.randn(1, 1, width))
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.first.expand(x.shape[0], -1, -1), grid], 1)
        h = h + torch.softmax(self.q(h) @ h.transpose(1, 2) / h.shape[-1], -1) @ h
        patches = h[:, 1:].unflatten(1, (2, 3))
        weights = torch.softmax(self.patch(x).mean(1).flatten(1), -1)  # along a product of two axes
        return self.out(patches.mean(2).mean(1) + (patches.flatten(1, 2) * weights.unsqueeze(-1)).sum(1))  # type: ignore[no-any-return]


def test_tokens_beside_a_grid_of_patches_are_one_axis() -> None:
    def train(width: int) -> None:
        model = Patches(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(3, 1, 4, 6, generator=torch.Generator().manual_seed(0))
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    program = record(train, steps=2)
    assert program.verified == 56
    # neither the six patches nor the seven tokens are written out one by one
    assert len(program.statements) < 300


class Segments(nn.Module):
    """BERT's habit: an embedding of the segment, of which a batch has only one; a buffer filled through a view."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.segment, self.token, self.out = nn.Embedding(2, width), nn.Embedding(9, width), nn.Linear(width, 3)
        self.register_buffer("places", torch.empty(5, dtype=torch.int64).expand(1, -1))
        self.places.copy_(torch.arange(5).expand(1, -1))

    def forward(self) -> Tensor:
        tokens = self.places
        h = self.token(tokens) + self.segment(torch.zeros_like(tokens))
        return self.out(torch.cat([h]).mean(1))  # type: ignore[no-any-return]


def test_indices_that_are_all_equal_are_a_lookup_and_an_expansion_without_repetition_can_be_written() -> None:
    def train(width: int) -> None:
        model = Segments(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model().square().mean().backward()
            optimizer.step()

    program = record(train, steps=2)
    assert program.verified == 56
    lookups = [s.instruction for s in program.statements if isinstance(s.instruction, Gather)]
    assert {program.statements[lookup.index.var].type for lookup in lookups} == {"int"}


class SortedExperts(nn.Module):
    """Tokens sorted by expert, multiplied run by run, and put back. This is the fast kernels' way, or a loop over runs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.router, self.out = nn.Linear(5, width), nn.Linear(width, 3), nn.Linear(width, 3)
        self.experts = nn.Parameter(torch.randn(3, width, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        share, chosen = self.router(h).softmax(-1).topk(2)
        ordered, order = torch.sort(chosen.flatten())
        offsets = torch.histc(ordered.float(), 3, 0, 2).cumsum(0, dtype=torch.int32)
        made = torch._grouped_mm(h[order // 2], self.experts, offsets) * share.flatten()[order].unsqueeze(1)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return self.out(torch.tanh(made[back]).view(len(x), 2, -1).sum(1))  # type: ignore[no-any-return]


def test_rows_sorted_by_a_choice_are_what_they_are_without_sorting() -> None:
    def train(width: int) -> None:
        model = SortedExperts(width)
        loop(model, torch.optim.AdamW(model.parameters(), lr=0.1 / width))

    assert record(train, steps=2).verified == 56


def test_a_root_of_the_width_is_verified_at_a_width_where_it_is_whole() -> None:
    def train(width: int) -> None:
        rank = int(width**0.5)
        model = nn.Sequential(
            nn.Linear(5, width), nn.Linear(width, rank), nn.Tanh(), nn.Linear(rank, width), nn.Linear(width, 3)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(4, 5)
        while True:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    program = record(train, widths=(16, 36, 64), steps=1)
    assert program.verified == 100
    assert Scaling.of(1, "1/2") in {dim for statement in program.statements for dim in statement.shape}


@pytest.mark.parametrize("on", [True, False])
def test_the_search_for_garbage_is_as_it_was_after_a_recording_also_one_that_is_refused(on: bool) -> None:
    def refused(width: int) -> None:
        weight = torch.nn.Parameter(torch.ones(width, width))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        torch.special.i0(weight).sum().backward()
        optimizer.step()

    before = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        with pytest.raises(LoweringError, match="i0"):
            record(refused, widths=(4, 6, 10), steps=1)
        assert gc.isenabled() == on
    finally:
        (gc.enable if before else gc.disable)()


def few_by_numpy(power: float, count: int, *, seeded: bool = False, largest: int = 10**9) -> Callable[[int], None]:
    """A few entries drawn by numpy, after others whose number grows: each width draws its own."""

    def train(width: int) -> None:
        if width > largest:
            raise ValueError(f"at most {largest}")
        if seeded:
            np.random.seed(1)  # noqa: NPY002
        np.random.randn(width)  # noqa: NPY002
        model = nn.Sequential(nn.Linear(5, width), nn.Linear(width, 3))
        model.register_parameter("shift", nn.Parameter(torch.tensor(np.random.randn(count)).float() * width**power))  # noqa: NPY002
        x, y = batch()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            F.mse_loss(model(x) + model.shift.sum(), y).backward()
            optimizer.step()

    return train


def law_of_shift(program: Program) -> tuple[Fraction | None, str]:
    law = next(s.instruction.law for s in program.statements if isinstance(s.instruction, Leaf) and "shift" in s.name)
    return law.scale.order, next(note for note in program.notes if note.startswith("shift"))


@pytest.mark.parametrize(("count", "power", "seeded"), [(2, 0.0, False), (2, 0.5, True), (1, -0.5, True)])
def test_a_few_entries_that_numpy_draws_grow_only_if_several_seeds_say_so(
    count: int, power: float, seeded: bool
) -> None:
    order, note = law_of_shift(record(few_by_numpy(power, count, seeded=seeded), (4, 6, 10), steps=1, verify=False))
    assert order == Fraction(power) and "more seeds" in note


def test_where_a_script_accepts_no_width_far_away_the_recorded_ones_are_compared() -> None:
    order, note = law_of_shift(record(few_by_numpy(1.0, 16, largest=14), (4, 6, 10), steps=1))
    assert order == 1 and "more seeds" in note


def test_joined_recordings_of_a_few_entries_cannot_be_drawn_again() -> None:
    recordings = []
    for width in (16, 24, 40):
        torch.manual_seed(width)
        shift = nn.Parameter(torch.randn(2) * width)
        model = nn.Linear(5, width)
        with tpdyn.recording(1, width=width) as recorder:
            x, y = batch()
            optimizer = torch.optim.SGD([*model.parameters(), shift], lr=0.01)
            F.mse_loss(model(x).mean(1, keepdim=True) + shift.sum(), y[:, :1]).backward()
            optimizer.step()
        recordings.append(recorder)
    program = joined(recordings)
    assert any("too few (2)" in note for note in program.notes)


class Relative(nn.Module):
    """Attention that sees positions only, relative ones: Transformer-XL's shift regroups (5, 6) entries as (6, 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.query = nn.Linear(3, width), nn.Linear(width, width)
        self.positions = nn.Parameter(torch.randn(5, width))
        self.shifted, self.out = nn.Identity(), nn.Linear(width, 2)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.embed(x))
        scores = self.query(h) @ self.positions.T / self.width
        padded = torch.cat([scores.new_zeros(len(x), 5, 1), scores], dim=-1)
        scores = self.shifted(padded.view(len(x), 6, 5)[:, 1:].view_as(scores))
        return self.out(scores.softmax(-1) @ h).mean(1)


def relative(width: int, seed: int = 0, steps: int = 5) -> float:
    """Train it; return the size of the change of the shifted scores."""
    data = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, 5, 3, generator=data), torch.randn(4, 2, generator=data)
    torch.manual_seed(seed)
    model, seen = Relative(width), []
    model.shifted.register_forward_hook(lambda module, given, made: seen.append(made.detach()))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
    return float((seen[1] - seen[0]).square().mean().sqrt())


def test_the_relative_shift_of_transformer_xl_is_recorded_and_read() -> None:
    prediction = tpdyn.predict(tpdyn.record(relative, widths=(16, 24, 40), steps=3), remedy=False)
    (change,) = {row.change for row in prediction.rows() if row.name == "shifted" and row.step == 1}
    narrow, wide = (sum(relative(width, seed, 2) for seed in range(4)) for width in (128, 1024))
    assert abs(math.log(wide / narrow, 8) - float(change)) < 0.25, (change, narrow, wide)
