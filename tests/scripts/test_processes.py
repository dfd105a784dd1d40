"""Mirrors tpdyn/scripts/processes.py: a process that trains runs here, any other one as it would."""

from __future__ import annotations

import multiprocessing

import torch
from torch import nn

from tpdyn import record
from tpdyn.scripts.contained import contained


def hogwild(rank: int, model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()


def train(width: int) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    model.share_memory()
    started = [multiprocessing.get_context("spawn").Process(target=hogwild, args=(rank, model)) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0 and not process.is_alive()


def test_what_is_trained_in_processes_of_the_script_is_recorded() -> None:
    def contained_train(width: int) -> None:
        with contained():
            train(width)

    program = record(contained_train, widths=(8, 12, 20), steps=2)
    assert program.steps == 2 and program.verified is not None


def test_a_process_without_a_model_is_started() -> None:
    queue: multiprocessing.SimpleQueue[int] = multiprocessing.get_context("fork").SimpleQueue()
    with contained():
        process = multiprocessing.get_context("fork").Process(target=queue.put, args=(3,))
        process.start()
        assert process.pid
        process.join()
    assert queue.get() == 3
