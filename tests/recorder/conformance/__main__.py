"""What is seen of some scripts? `python -m conformance <family> [--every=<k>] [--coupled] [<name> ...]` prints one JSON each."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from importlib import import_module

import torch

from conformance.case import agrees, examine

if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torch's own, about scripts
    simulated = "--coupled" in sys.argv
    family, *names = (word for word in sys.argv[1:] if word != "--coupled")
    every = 1
    if names and names[0].startswith("--every="):
        every = int(names.pop(0).partition("=")[2])
    for case in import_module(f"conformance.{family}").cases()[::every]:
        if not names or case.name in names:
            outcome = examine(case, simulated=simulated)
            print(
                json.dumps({"name": case.name, "agrees": agrees(case, outcome), **dataclasses.asdict(outcome)}),
                flush=True,
            )
