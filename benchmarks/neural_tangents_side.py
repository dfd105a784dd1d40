"""The side of `benchmarks/numbers.py` that neural-tangents runs; Python of the tox environment `neural-tangents`, nothing of ours.

`python neural_tangents_side.py values data.npz out.npz` writes both kernels of each architecture. `time` prints, as json,
CPU and wall seconds of a jitted call in steady state. It prints, too, the largest memory beyond what the process held
before.
"""

from __future__ import annotations

import json
import sys
import time
import types

import numpy as np

sys.modules["neural_tangents.experimental"] = types.ModuleType("neural_tangents.experimental")
import jax  # noqa: E402
from neural_tangents import stax  # noqa: E402


def dense(std=1.5, bias=0.1, outputs=1):
    return stax.Dense(outputs, W_std=std, b_std=bias)


def conv(std=1.5, bias=0.1):
    return stax.Conv(1, (3, 3), W_std=std, b_std=bias, padding="SAME")


def residual():
    branch = stax.serial(stax.Relu(), dense(), stax.Relu(), dense())
    return stax.serial(dense(), stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())


def architectures():
    """By name: the layers, and which inputs they take."""
    attention = stax.GlobalSelfAttention(
        1, 1, 1, 1, linear_scaling=True, W_key_std=1.5, W_query_std=1.5, W_value_std=1.5, W_out_std=1.5, b_std=None
    )
    functions = {"relu": stax.Relu(), "erf": stax.Erf(), "gelu": stax.Gelu()}
    found = {f"mlp {name}": ("rows", [dense(), f, dense(), f, dense(), f, dense()]) for name, f in functions.items()}
    for name in ("relu", "erf"):
        f = functions[name]
        found[f"conv {name} flatten"] = ("images", [conv(), f, conv(), f, stax.Flatten(), dense()])
        found[f"conv {name} pooling"] = ("images", [conv(), f, conv(), f, stax.GlobalAvgPool(), dense()])
    found["residual relu"] = ("rows", [residual(), stax.Relu(), dense()])
    found["attention"] = ("tokens", [dense(bias=None), attention, stax.Relu(), stax.Flatten(), dense(bias=None)])
    return found


def values(source, target):
    jax.config.update("jax_enable_x64", True)
    data, made = np.load(source), {}
    for name, (kind, layers) in architectures().items():
        kernel = stax.serial(*layers)[2]
        for pair, x2 in (("12", data[kind + "2"]), ("11", None)):
            found = kernel(data[kind + "1"], x2, ("nngp", "ntk"))
            made[f"{name}|nngp|{pair}"], made[f"{name}|ntk|{pair}"] = np.array(found.nngp), np.array(found.ntk)
    np.savez(target, **made)


def resident():
    """The largest resident memory of this process so far, in MiB (`ru_maxrss` would count what its parent held)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def timed(which):
    before = resident()
    rows, relu = np.random.RandomState(0), stax.Relu()
    if which == "mlp":
        x = rows.standard_normal((2000, 784)).astype(np.float32)
        layers = [dense(2**0.5, 0.0), relu] * 3 + [dense(1.0, 0.0)]
    else:
        x = rows.standard_normal((16, 16, 16, 3)).astype(np.float32)
        layers = [conv(2**0.5, 0.0), relu] * 3 + [stax.GlobalAvgPool(), dense(1.0, 0.0)]
    kernel = stax.serial(*layers)[2]
    call = jax.jit(lambda x: kernel(x, None, ("nngp", "ntk")))
    best = [float("inf")] * 2
    for _ in range(5 if which == "mlp" else 2):
        clocks = time.process_time(), time.perf_counter()
        made = call(x)
        made.nngp.block_until_ready(), made.ntk.block_until_ready()
        best = [min(best[0], time.process_time() - clocks[0]), min(best[1], time.perf_counter() - clocks[1])]
    memory = resident() - before
    ntk = np.array(made.ntk)
    print(json.dumps({"cpu": best[0], "wall": best[1], "mib": memory, "ntk": ntk.diagonal().tolist()}))


if __name__ == "__main__":
    values(*sys.argv[2:]) if sys.argv[1] == "values" else timed(sys.argv[2])
