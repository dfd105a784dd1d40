"""Do the callbacks of Lightning and of Hugging Face's Trainer record the first steps, and leave training as it is?"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.integrations.first_steps import FirstSteps
from tpdyn.program.program import Program
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.record import joined

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(5, generator=generator), torch.tensor(k % 3)) for k in range(24)]


def network(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3, bias=False)
    )


def with_lightning(width: int, folder: Path, steps: int, **options: Any) -> tuple[Any, nn.Module]:
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    from tpdyn.integrations.lightning import RecordingCallback

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = network(width)

        def training_step(self, batch: Any, _: int) -> Tensor:
            if options.get("broken") and self.global_step == 1:
                raise RuntimeError("out of coffee")
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    module = Module()
    callback = RecordingCallback(steps, width=width, path=options.get("path")) if steps else None
    trainer = lightning.Trainer(
        max_steps=4, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=[callback] if steps else [],
        accumulate_grad_batches=options.get("accumulate", 1),
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(data(), 6))  # type: ignore[arg-type]
    return callback, module.net


def with_hugging_face(width: int, folder: Path, steps: int, **options: Any) -> tuple[Any, nn.Module]:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from tpdyn.integrations.hugging_face import RecordingCallback

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(width)

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": F.cross_entropy(self.net(x), labels)}

    torch.manual_seed(0)
    model = Model()
    callback = RecordingCallback(steps, width=width, path=options.get("path")) if steps else None
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=4, per_device_train_batch_size=6, report_to=[], save_strategy="no",
        use_cpu=True, disable_tqdm=True, learning_rate=0.1, lr_scheduler_type="constant", max_grad_norm=0.0,
        optim="sgd", gradient_accumulation_steps=options.get("accumulate", 1),
    )  # fmt: skip
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=[{"x": x, "labels": y} for x, y in data()],
        callbacks=[callback] if steps else [],
    )
    trainer.train()
    return callback, model.net


FRAMEWORKS = pytest.mark.parametrize("train", [with_lightning, with_hugging_face], ids=["Lightning", "Hugging Face"])


@FRAMEWORKS
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_first_steps_are_recorded_and_training_goes_on_as_without(
    train: Callable[..., Any], accumulate: int, tmp_path: Path
) -> None:
    path = tmp_path / "program.json"
    callback, model = train(16, tmp_path, 2, path=path, accumulate=accumulate)
    program = callback.program
    assert program.steps == 2
    assert Program.from_json(path.read_text()) == program
    names = {parameter.name.rpartition("net.")[2] for parameter in program.parameters}
    assert names == {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight"}
    _, without = train(16, tmp_path, 0, accumulate=accumulate)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), without.parameters(), strict=True))


@FRAMEWORKS
def test_recordings_at_several_widths_are_joined_and_give_orders(train: Callable[..., Any], tmp_path: Path) -> None:
    program = joined([train(width, tmp_path, 3)[0].recording for width in (64, 128, 256, 512)])
    assert program.widths == (64, 128, 256) and program.verified == 512
    prediction = tpdyn.predict(program)
    name = next(row.name for row in prediction.rows() if row.name.endswith("net.2"))
    assert prediction.order(name, "size") == 0
    assert prediction.regime is tpdyn.Regime.UNSTABLE  # standard parametrization, SGD


def test_an_exception_in_training_ends_the_recording(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of coffee"):
        with_lightning(16, tmp_path, 3, broken=True)
    assert torch.utils._python_dispatch._len_torch_dispatch_stack() == 0


def test_a_program_is_asked_for_too_early() -> None:
    with pytest.raises(RecordingError, match="the recording is waiting: it ends after 3 optimizer steps"):
        _ = FirstSteps(3).program
    with pytest.raises(RecordingError, match="steps = 0"):
        FirstSteps(0)


def test_only_different_widths_are_joined() -> None:
    made = []
    for width in (16, 16, 24):
        torch.manual_seed(0)
        model = network(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = (torch.stack(column) for column in zip(*data(), strict=True))
        with tpdyn.recording(width=width) as recorder:
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        made.append(recorder)
    with pytest.raises(RecordingError, match="widths 16, 16, 24: expected each once"):
        joined(made)
    with warnings.catch_warnings():
        assert joined(made[1:]).widths == (16, 24)


def test_what_is_to_be_done_with_a_recording_is_done_when_it_is_ready() -> None:
    def train(width: int, steps: int, **options: Any) -> None:
        torch.manual_seed(0)
        model = network(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = (torch.stack(column) for column in zip(*data(), strict=True))
        with tpdyn.recording(steps, width=width, **options):
            for _ in range(3):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()

    ready: list[tpdyn.recording] = []
    for width in (16, 24, 40):
        train(width, 2, on_ready=ready.append)
    assert tpdyn.predict(joined(ready)).regime is tpdyn.Regime.UNSTABLE

    with pytest.raises(RuntimeError, match="out of coffee"), tpdyn.recording(on_ready=ready.append):
        raise RuntimeError("out of coffee")
    assert len(ready) == 3
