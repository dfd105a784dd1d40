"""No device is assumed: recorder, observer, seeds and sampler run on a stand-in for a GPU, where mixing devices raises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

HERE = Path(__file__).parent
CHECKS = (
    "a_mixed_device_operation_raises",
    "the_observer_sees_there_what_it_sees_on_the_cpu",
    "a_script_without_devices_is_moved_there",
    "the_recorder_writes_there_the_program_of_the_cpu",
    "seeds_of_the_program_run_there_as_on_the_cpu",
    "a_simulation_runs_there_as_on_the_cpu",
)


@pytest.mark.slow
def test_recorder_observer_seeds_and_sampler_run_on_an_accelerator_that_mixes_with_no_other_device() -> None:
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch cannot register a device in Python")
    found = subprocess.run(
        [sys.executable, str(HERE / "accelerator.py"), *CHECKS], capture_output=True, text=True, cwd=HERE.parent
    )
    assert found.returncode == 0, found.stderr[-4000:]
