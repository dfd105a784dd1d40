"""Can TensorBoard read a monitored run while it goes on, with its bands and alarms?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tpdyn.monitoring.alarms import Alarm
from tpdyn.monitoring.expected import Band
from tpdyn.monitoring.history import History, read
from tpdyn.monitoring.writer import Writer


def test_each_look_can_be_read_at_once(tmp_path: Path) -> None:
    band = Band(np.array([0, 9]), np.array([2.0, 2.0]), np.array([8.0, 8.0]))
    writer = Writer(tmp_path, History(width=8), {("size", "fc"): band})
    alarm = Alarm("dead", "fc", 1, "fc is dead")
    for step, alarms in ((0, []), (1, [alarm]), (2, [])):
        writer.write(step, {("size", "fc"): 1.0 + step}, {}, alarms)
        assert read(tmp_path).steps[-1] == step
        events = EventAccumulator(str(writer.folder), size_guidance={"tensors": 0})
        events.Reload()
        assert [event.step for event in events.Tensors("size/fc")] == list(range(step + 1))
    assert [event.tensor_proto.float_val[0] for event in events.Tensors("size expected high/fc")] == [8.0] * 3
    assert b"fc is dead" in events.Tensors("alarms")[0].tensor_proto.string_val[0]
    writer.close()


def test_a_full_disk_ends_the_writing_with_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path, History(), {})

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._run, "flush", full)
    with pytest.warns(UserWarning, match="No space left"):
        writer.write(0, {("size", "fc"): 1.0}, {}, [])
    writer.write(1, {("size", "fc"): 1.0}, {}, [])
    assert read(tmp_path).steps == [0]
