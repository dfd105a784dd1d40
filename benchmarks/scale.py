"""How long, and in how much memory, from a large script to its orders? `python benchmarks/scale.py [--layers 12]`

GPT-2 has twelve layers and its full vocabulary. It is that of Hugging Face transformers, where that is installed, else that
of examples/gpt.py. Three steps of AdamW are recorded at three widths, fitted, verified at a fourth, and given orders. All
is in one process, on one thread. Printed: the seconds of each stage and the largest resident memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from tpdyn.recorder.canonical import canonical
from tpdyn.recorder.fitting.widths import fit
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import verify_tape
from tpdyn.recorder.lowering import lower
from tpdyn.recorder.record import check_at, further_width
from tpdyn.regimes.predict import predict

WIDTHS, HEADS, STEPS = (16, 24, 40), 4, 3


def script(layers: int, vocabulary: int, tokens: tuple[int, int]) -> Callable[[int], None]:
    """An ordinary training loop, as a function of the width."""

    def train(width: int) -> None:
        batch = torch.randint(vocabulary, tokens, generator=torch.Generator().manual_seed(0))
        if importlib.util.find_spec("transformers"):
            from transformers import GPT2Config, GPT2LMHeadModel

            model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=HEADS))
        else:
            sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
            import gpt

            model = gpt.GPT(vocabulary, 1024, width, HEADS, layers, mup=False)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(STEPS):
            optimizer.zero_grad()
            if importlib.util.find_spec("transformers"):
                loss = model(input_ids=batch, labels=batch).loss
            else:
                loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            optimizer.step()

    return train


class Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.begin = self.last = time.perf_counter()
        self.stages: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """What has passed since the last stage belongs to this one."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self.last
        self.last = now

    def total(self) -> float:
        """Seconds from the beginning to the last stage's end."""
        return self.last - self.begin


def memory() -> float:
    """The largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--context", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train = script(arguments.layers, arguments.vocabulary, (arguments.batch, arguments.context))
    print(f"{memory():.2f} GiB with everything imported")
    clock, lowereds = Clock(), []
    for width in WIDTHS:
        tape = record_tape(train, width, STEPS, 0)
        clock.lap("record")
        verify_tape(tape)
        clock.lap("replay")
        tape.live = {}  # they were compared
        lowereds.append(lower(tape))
        operations = len(tape.nodes)
        del tape
        clock.lap("lower")
    fitted = fit(lowereds)
    clock.lap("fit")
    made = canonical(fitted)
    clock.lap("canonical form")
    check_at(train, made, lowereds[0], further_width(WIDTHS), STEPS, 0)
    clock.lap("verify at a further width")
    predict(made.program)
    clock.lap("orders")
    for stage, seconds in clock.stages.items():
        print(f"{stage:>26} {seconds:6.1f} s")
    print(f"{'together':>26} {clock.total():6.1f} s, {memory():.2f} GiB at most")
    print(f"{operations} operations a width, {len(made.program.statements)} statements")


if __name__ == "__main__":
    main()
