"""What would a recording not see? Compiled code, fused kernels, buckets of gradients: while it runs, torch does without them.

Recurrent layers and optimizers run by their plain formulas, the same up to round-off. Compiled code runs eagerly. One
process under DistributedDataParallel exchanges no gradients. What was switched off is on again afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, final

import torch
from torch import nn
from torch.optim import Optimizer

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.frames import user_source


@final
class PlainTorch:
    """Torch without what is opaque, for a `with` block. note: told what is recorded in another way than it runs."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._kernels: tuple[bool, bool] | None = None  # mkldnn and cudnn as they were, while switched off
        self._synchronising: list[nn.parallel.DistributedDataParallel] = []  # to be told so again
        self._unfused: list[tuple[Optimizer, dict[str, Any]]] = []  # groups whose fused kernel is switched off

    def __enter__(self) -> None:
        self._compile = torch.compile
        self._stance: Any = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else None
        torch.compile = self._compile_eagerly

    def __exit__(self, *_: object) -> None:
        self._restore_kernels()
        self._fuse_again()
        for module in self._synchronising:
            module.require_backward_grad_sync = True
        self._synchronising.clear()
        torch.compile = self._compile
        if self._stance is not None:
            self._stance.__exit__(None, None, None)  # as it was, perhaps in a recording around this one

    def _compile_eagerly(self, *args: Any, **kwargs: Any) -> Any:
        """Run compiled code eagerly while recording: it would be opaque."""
        if self._stance is None:
            self._stance = torch.compiler.set_stance("force_eager")
        return self._compile(*args, **kwargs)

    # -- modules --------------------------------------------------------------------------------------------------

    def enter(self, module: nn.Module) -> None:
        """Prepare a module that is about to run."""
        if isinstance(module, nn.parallel.DistributedDataParallel):
            self._alone(module)
        if isinstance(module, nn.RNNBase):
            self.run(module, True)
            self._note(f"{type(module).__name__} is recorded without its fused kernels: the same up to round-off")

    def run(self, module: nn.Module, enters: bool) -> None:
        """Switch fused kernels off and on again, also where activation checkpointing runs a module in the backward pass."""
        if not isinstance(module, nn.RNNBase):
            return
        if not enters:
            self._restore_kernels()
            return
        if self._kernels is None:
            self._kernels = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
        torch._C._set_mkldnn_enabled(False)
        torch._C._set_cudnn_enabled(False)

    def _restore_kernels(self) -> None:
        if self._kernels is not None:
            torch._C._set_mkldnn_enabled(self._kernels[0])
            torch._C._set_cudnn_enabled(self._kernels[1])
            self._kernels = None

    def _alone(self, module: nn.parallel.DistributedDataParallel) -> None:
        """Leave out the exchange of gradients: one process needs none, and its buckets would hide where each gradient lies."""
        if module.process_group.size() > 1:
            raise RecordingError(
                f"DistributedDataParallel of {module.process_group.size()} processes; expected one. Try to record the "
                "unwrapped model in one process",
                user_source(),
            )
        if module.require_backward_grad_sync:
            module.require_backward_grad_sync = False  # as its own no_sync()
            self._synchronising.append(module)
            self._note("DistributedDataParallel of one process is recorded without its exchange of gradients")

    # -- optimizers -----------------------------------------------------------------------------------------------

    def step(self, optimizer: Optimizer) -> None:
        """Let an optimizer step by its plain formulas."""
        groups = [group for group in optimizer.param_groups if group.get("fused")]
        if groups and getattr(optimizer, "grad_scale", None) is not None:
            raise RecordingError(
                f"{type(optimizer).__name__} with fused=True and a gradient scaler; expected none. Try to record in float32 "
                "without GradScaler",
                user_source(),
            )
        for group in groups:
            group["fused"] = False
            self._unfused.append((optimizer, group))
            self._note(f"{type(optimizer).__name__} is recorded without its fused kernel: the same up to round-off")

    def _fuse_again(self) -> None:
        for optimizer, group in self._unfused:
            group["fused"] = True
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                if "step" in state:  # the kernel counts where the parameter is
                    state["step"] = state["step"].to(parameter.device, torch.float32)
        self._unfused.clear()
