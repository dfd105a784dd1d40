"""Is a long run still what its prediction, or a smaller twin, said? `with tpdyn.monitor(model, optimizer): train()`.

The monitor counts optimizer steps by their hooks, and looks now and then through one fixed batch (`tpdyn.monitoring.probe`).
The run stays bitwise what it would have been. Between looks it costs one Python call a step.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.utils import _pytree as pytree

from tpdyn.monitoring.alarms import Alarm, Limits, alarms
from tpdyn.monitoring.expected import Band, bands
from tpdyn.monitoring.history import History, read
from tpdyn.monitoring.probe import Autocast, Before, Key, Look, Probe
from tpdyn.monitoring.schedule import as_schedule
from tpdyn.monitoring.writer import Writer
from tpdyn.regimes.prediction import Prediction

Item = TypeVar("Item")


@final
class monitor:
    """Watch a training run: sizes, changes, updates, logits, dead units, gradients and weights, with alarms.

    model: any nn.Module; wrappers of DDP, DataParallel and torch.compile are looked through. optimizer: one, or several (the
    steps of the first are counted). prediction, twins: what to expect; see `tpdyn.monitoring.expected`. A twin is the
    history, or the log folder, of a monitored smaller run. width: that of this model. It is needed beside twins, and by
    later runs that take this one as a twin. probe: the fixed batch. It is a tensor, a tuple of arguments, a dict of
    keywords, or a function that runs the model forward. None takes the first batch of the run. every: looks after step 1
    and each so many steps; schedule: instead, a function of the step, e.g. torch.profiler.schedule.
    logdir: where TensorBoard looks; None keeps everything in `history` only. limits: what counts as too large.
    on_alarm: called with each alarm; by default they become warnings.

    Memory: in a look a copy of the weights and one forward pass. Always 256 rows of the outputs at the first look. In a
    distributed run only rank 0 looks. Raises ValueError unless given a model, optimizers and twins. Raises it for sharded
    parameters (FSDP), too, which one process cannot look at.

    Example:
        >>> import torch, tpdyn
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with tpdyn.monitor(model, optimizer, every=2) as watched:
        ...     for _ in range(4):
        ...         optimizer.zero_grad()
        ...         model(torch.ones(3, 4)).square().mean().backward()
        ...         optimizer.step()
        >>> watched.history.steps
        [0, 1, 2, 4]
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer],
        prediction: Prediction | None = None,
        *,
        twins: Sequence[History | str | os.PathLike[str]] = (),
        width: int | None = None,
        probe: Any = None,
        every: int = 100,
        schedule: Callable[[int], Any] | None = None,
        logdir: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        on_alarm: Callable[[Alarm], object] | None = None,
    ) -> None:
        self._outer, self._model = model, _unwrapped(model)
        self._optimizers = _checked(optimizer)
        self._wanted = as_schedule(every, schedule)
        self._limits = limits or Limits()
        self._on_alarm = on_alarm or _warn
        self._logdir = None if logdir is None else Path(logdir)
        self._autocast = Autocast()
        self._call = _call_of(probe)
        self._bands: Mapping[Key, Band] = {}
        if twins or prediction is not None:
            if width is None or not twins:
                raise ValueError(
                    "expected values need `width=` (that of this model) and `twins=`: histories or log folders of smaller "
                    "monitored runs. The prediction carries them along"
                )
            self._bands = bands(
                width, [each if isinstance(each, History) else read(each) for each in twins], prediction
            )
        self.history = History(width=width)
        self.raised: list[Alarm] = []
        self._step = 0
        self._now: set[tuple[str, str]] = set()
        self._before: Before | None = None
        self._handles: list[Any] = []
        self._probe: Probe | None = None
        self._writer: Writer | None = None
        self._broken = False

    # -- as a statement, and around a loader ----------------------------------------------------------------------

    def __enter__(self) -> monitor:
        if self._handles:
            raise RuntimeError("this monitor is already running; make another one for another run")
        if not _is_first_process():
            return self
        if self._logdir is not None:
            self._writer = Writer(self._logdir, self.history, self._bands)
        self._handles = [
            self._outer.register_forward_pre_hook(self._entered, with_kwargs=True),
            self._optimizers[0].register_step_pre_hook(lambda *_: self._begin()),
            self._optimizers[0].register_step_post_hook(lambda *_: self._end()),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def over(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield the batches of a loader while the run is watched: `for x, y in monitor.over(loader)`."""
        with self:
            yield from batches

    # -- events ---------------------------------------------------------------------------------------------------

    def _entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note, from the script's first pass, its autocast and (if no probe was given) its batch."""
        if self._probe is not None or not torch.is_grad_enabled():
            return
        self._handles.pop(0).remove()
        device = next((each.device.type for each in self._model.parameters()), "cpu")
        self._autocast.note(device)
        if self._call is None:
            kept = pytree.tree_map_only(Tensor, lambda each: each.detach().clone(), (args, kwargs))
            self._call = lambda model: model(*kept[0], **kept[1])
        self._probe = Probe(self._model, self._call, self._autocast)

    def _begin(self) -> None:
        if self._broken:
            return
        if self._probe is None:
            if self._call is None:
                self._stop(
                    self._step,
                    "the optimizer steps, but the model was not called, so there is no batch. Give `probe=`, or the "
                    "module that the script calls",
                )
                return
            self._probe = Probe(self._model, self._call, self._autocast)
        if self._step == 0:
            self._look(0, None)
        if self._wanted(self._step + 1) and not self._broken:
            with torch.no_grad():
                self._before = Before(self._model)

    def _end(self) -> None:
        self._step += 1
        before, self._before = self._before, None
        if before is not None:
            self._look(self._step, before)

    def _look(self, step: int, before: Before | None) -> None:
        """Look once. What goes wrong here ends the watching, never the run."""
        assert self._probe is not None
        try:
            look = self._probe.look(before)
        except Exception as error:
            self._stop(
                step,
                f"{type(error).__name__}: {error}. A model that cannot be called once more with its first batch wants `probe=`",
            )
        else:
            self._keep(step, look)

    def _stop(self, step: int, why: str) -> None:
        self._broken = True
        warnings.warn(f"tpdyn.monitor stops watching at step {step}, the run goes on: {why}", stacklevel=2)

    def _keep(self, step: int, look: Look) -> None:
        history = self.history
        new = {name: (kind, _told(look, name)) for name, kind in look.dtypes.items() if name not in history.dtypes}
        history.dtypes.update({name: kind for name, (kind, _) in new.items()})
        history.sources.update({name: source for name, (_, source) in new.items() if source})
        history.steps.append(step)
        history.looks.append(look.values)
        raised = alarms(history, self._bands, self._limits)
        fresh = [each for each in raised if (each.rule, each.name) not in self._now]
        self._now = {(each.rule, each.name) for each in raised}
        self.raised += fresh
        if self._writer is not None:
            self._writer.write(step, look.values, new, fresh, self._now)
        for each in fresh:
            self._on_alarm(each)


def _told(look: Look, name: str) -> str:
    source = look.sources.get(name)
    return str(source) if source is not None and source.file else ""


def _warn(alarm: Alarm) -> None:
    warnings.warn(f"tpdyn.monitor: {alarm.told()}", stacklevel=2)


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the module that the script wrote. Raises ValueError for what cannot be looked at."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"{type(model).__name__} is not a model; expected a torch.nn.Module")
    while True:
        kind = type(model).__name__
        if "FullySharded" in kind:
            raise ValueError(
                "the parameters of this model are sharded over processes (FSDP); one process cannot look at them"
            )
        inner = getattr(model, "_orig_mod", None) if kind == "OptimizedModule" else None
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            break
        model = inner
    if any(hasattr(each, "placements") for each in model.parameters()):
        raise ValueError(
            "the parameters of this model are sharded over processes (DTensor); one process cannot look at them"
        )
    return model


def _checked(optimizer: Optimizer | Sequence[Optimizer]) -> list[Optimizer]:
    optimizers = list(optimizer) if isinstance(optimizer, Sequence) else [optimizer]
    optimizers = [getattr(each, "optimizer", each) for each in optimizers]  # wrappers of Accelerate and Lightning
    if not optimizers or not all(isinstance(each, Optimizer) for each in optimizers):
        kinds = ", ".join(type(each).__name__ for each in optimizers) or "nothing"
        raise ValueError(f"optimizer is {kinds}; expected a torch.optim.Optimizer, or a list of them")
    return optimizers


def _call_of(probe: Any) -> Callable[[nn.Module], object] | None:
    """Return a function that runs the forward pass. Raises ValueError for a probe that is none."""
    match probe:
        case None:
            return None
        case Tensor():
            return lambda model: model(probe)
        case Mapping():
            return lambda model: model(**probe)
        case tuple() | list():
            return lambda model: model(*probe)
        case _ if callable(probe):
            function: Callable[[nn.Module], object] = probe
            return function
        case _:
            raise ValueError(
                f"probe is {type(probe).__name__}; expected a tensor, a tuple of arguments or a dict of keywords. Or give a "
                "function that runs the model forward"
            )


def _is_first_process() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
