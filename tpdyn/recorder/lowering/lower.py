"""How is a whole tape lowered? Find what is needed, then node by node: input, draw, constant, or a rule."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from typing import Any, final

import torch

from tpdyn.program.instructions import Law, Leaf
from tpdyn.program.program import Origin
from tpdyn.recorder.live.replay import by_default
from tpdyn.recorder.live.tape import Node, Ref, Tape, TapeMark, base_name, mapped
from tpdyn.recorder.lowered import Lowered, LoweredMark, LoweredParameter
from tpdyn.recorder.lowering.builder import LoweredBuilder, scaling
from tpdyn.recorder.lowering.draws import measured_law
from tpdyn.recorder.lowering.finish import join_combines, reads, tidy
from tpdyn.recorder.lowering.rules import (
    alignments,
    attention,
    convolution,
    cumulative,
    elementwise,
    functions,
    grouped,
    indexing,
    linear,
    losses,
    normalisation,
    pooling,
    randomness,
    reductions,
    strides,
    views,
)
from tpdyn.recorder.lowering.standins import chosen, complex_numbers, shifted
from tpdyn.recorder.lowering.standins.complex_numbers import Complex
from tpdyn.recorder.lowering.standins.known import KNOWN, SAME, as_known, fold, known_inputs
from tpdyn.recorder.lowering.standins.matrices import standin as matrices
from tpdyn.recorder.lowering.standins.matrices.diagonals import APART
from tpdyn.recorder.lowering.standins.standin import Call, Settles, StandIn, applied
from tpdyn.recorder.lowering.values import (
    Handle,
    Known,
    KnownKind,
    LoweringError,
    Refusal,
    Refused,
    StandsIn,
    Tensor,
    uniform_number,
)

STANDINS: tuple[StandIn, ...] = (
    KNOWN,
    shifted.SHIFTED,
    matrices.MATRICES,
    APART,
    chosen.CHOSEN,
    complex_numbers.COMPLEX,
)
"""Which stand-ins does an operation meet? They are asked in this order. The first that has a rule for it reads it."""

NESTED = 20
"""So many values are written down within each other; longer chains from their start. Python's stack has a thousand frames."""

BEFORE = ("initialization", "data")
"""The phases before and between passes: a copy that is made there is a parameter's own beginning."""

Made = Tensor | StandsIn

RULES: dict[str, elementwise.Rule] = {
    **elementwise.RULES,
    **linear.RULES,
    **functions.RULES,
    **cumulative.RULES,
    **grouped.RULES,
    **chosen.RULES,
    **strides.RULES,
    **matrices.RULES,
    **convolution.RULES,
    **pooling.RULES,
    **reductions.RULES,
    **views.RULES,
    **normalisation.RULES,
    **losses.RULES,
    **alignments.RULES,
    **attention.RULES,
    **indexing.RULES,
    **randomness.RULES,
    **shifted.START,
}


def lower(tape: Tape) -> Lowered:
    """Return the tape in closed instructions, at its width.

    Raises LoweringError naming every operation that has no rule (or that its rule refuses) with its source line.
    """
    with by_default(tape.default):
        lowered = _Lowering(tape).run()
        if _is_fed(lowered):
            return lowered
        try:
            return _Lowering(tape, fed_by_constants=True).run()
        except LoweringError:  # a rule wants its constant
            return lowered


def _is_fed(lowered: Lowered) -> bool:
    """Tell whether some output depends on data (a loss, where no output is marked). Else its input was folded into numbers."""
    from_data: list[bool] = []
    for statement in lowered.statements:
        leaf = statement.instruction
        is_data = isinstance(leaf, Leaf) and leaf.kind == "data"
        from_data.append(is_data or any(from_data[var] for var in reads(statement)))
    outputs = [mark for mark in lowered.marks if mark.kind == "output"]
    return any(from_data[mark.var] for mark in outputs or lowered.marks if mark.kind != "module")


def _may_be_input(known: Known, node: Node) -> bool:
    """Tell whether a constant could be what the script feeds to its network: a tensor from outside of all modules."""
    outside = not node.origin.module and node.origin.phase in ("data", "forward")
    return outside and known.kind == "constant" and known.tensor.numel() > 1 and known.number != 0


def _multiplied(b: LoweredBuilder, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Multiply the second operand by `alpha` or `value` (of add, sub, addcmul, addcdiv) where that is itself a value."""
    for key in ("alpha", "value"):
        factor = kwargs.get(key)
        if isinstance(factor, (Handle, Known)):
            args = (args[0], b.product(args[1], factor), *args[2:])
            kwargs = {name: item for name, item in kwargs.items() if name != key}
    return args, kwargs


@final
class _Lowering:
    def __init__(self, tape: Tape, *, fed_by_constants: bool = False) -> None:
        self.tape, self.fed_by_constants = tape, fed_by_constants
        self._nested = 0  # values that are being written down, each for the next
        self.builder = LoweredBuilder()
        self.values: dict[Ref, Made | None] = {}
        self.problems: dict[str, None] = {}
        self.trained = self._needed([mark for mark in tape.marks if mark.kind != "module"])
        # the first name wins: tied weights are one parameter
        self.initial: dict[Ref, str] = {}
        for parameter in tape.parameters:
            if parameter.versions and parameter.versions[0] is not None:
                self.initial.setdefault(self._copied(parameter.versions[0]), parameter.name)
        # A parameter may be a view of the tensor that was drawn (`nn.Parameter(w.detach().flatten())`), and be read through
        # another view, as w itself, say: then w is the parameter regrouped, and no value of its own.
        self.drawn_as: dict[Ref, Ref] = {}
        for ref in self.initial:
            node = tape.nodes[ref.node]
            views = base_name(node.op) in ("view", "t", "transpose")
            if views and isinstance(node.args[0], Ref) and node.args[0] not in self.initial:
                self.drawn_as.setdefault(node.args[0], ref)

    def run(self) -> Lowered:
        needed = self._needed(self.tape.marks)
        for number, node in enumerate(self.tape.nodes):
            if number in needed:
                self._node(number, node)
        if self.problems:
            listed = "\n".join(f"  {problem}" for problem in self.problems)
            raise LoweringError(f"{len(self.problems)} operation(s) of the script cannot be lowered:\n{listed}")
        return self._finish()

    # -- what is needed -----------------------------------------------------------------------------------------------

    def _copied(self, ref: Ref) -> Ref:
        """Return the value of which another is a copy, made in training (to restore a weight that is perturbed)."""
        node = self.tape.nodes[ref.node]
        while base_name(node.op) in SAME and node.origin.phase not in BEFORE and isinstance(node.args[0], Ref):
            source = self.tape.nodes[node.args[0].node].outputs[node.args[0].output]
            if base_name(node.op) == "copy" or source != node.outputs[ref.output]:
                break
            ref = node.args[0]
            node = self.tape.nodes[ref.node]
        return ref

    def _is_float(self, ref: Ref) -> bool:
        meta = self.tape.nodes[ref.node].outputs[ref.output]
        return meta is not None and meta.dtype.is_floating_point

    def _needed(self, marks: list[TapeMark]) -> set[int]:
        """Return the nodes on which named values depend."""
        needed: set[int] = set()
        waiting = [mark.ref.node for mark in marks if self._is_float(mark.ref)]
        waiting += [ref.node for parameter in self.tape.parameters for ref in parameter.refs]
        while waiting:
            number = waiting.pop()
            if number in needed:
                continue
            needed.add(number)
            node = self.tape.nodes[number]
            if base_name(node.op) in elementwise.SHAPE_ONLY:
                continue
            waiting += [ref.node for ref in node.reads]
        return needed

    # -- one node -----------------------------------------------------------------------------------------------------

    def _node(self, number: int, node: Node) -> None:
        self.builder.origin = node.origin
        outputs: tuple[Made | None, ...]
        try:
            outputs = self._outputs(number, node)
        except (Refusal, ZeroDivisionError) as problem:
            empty = isinstance(problem, ZeroDivisionError)
            self._problem(number, node, "a mean over no entries: some dim has size 0" if empty else str(problem))
            outputs = (Refused(),) * len(node.outputs)
        for output, value in enumerate(outputs):
            ref = Ref(number, output)
            if ref in self.values:
                continue  # a parameter that was met in the tensor it was drawn as
            if ref in self.initial and isinstance(value, Known):
                try:
                    value = self._initial(self.initial[ref], value, node)
                except Refusal as refusal:
                    self._problem(number, node, str(refusal))
                    value = Refused()
            elif ref in self.drawn_as and isinstance(value, Known):
                value = self._regrouped(self.drawn_as[ref], value, node)
            elif self.fed_by_constants and isinstance(value, Known) and _may_be_input(value, node):
                value = Known(value.tensor, "data", value.draw, value.name, value.notes)
            self.values[ref] = value

    def _problem(self, number: int, node: Node, why: str) -> None:
        """Note what cannot be lowered; a metric on which updates and outputs do not depend is only noted."""
        source = node.origin.source
        location = f"{source} `{source.text}`" if source.text else str(source)
        module = f" in {node.origin.module}" if node.origin.module else ""
        what = why if node.op in why else f"{node.op}: {why}"
        text = f"{what} at {location}{module} [{node.origin.phase}]"
        if number in self.trained:
            self.problems.setdefault(text)
        else:
            self.builder.notes.append(f"not followed, as nothing that is trained depends on it: {text}")

    def _outputs(self, number: int, node: Node) -> tuple[Made | None, ...]:
        if node.op == "input":
            return (self._input(node),)
        call = Call.of(node, mapped(node.args, self._resolved), mapped(node.kwargs, self._resolved))
        if call.holds(Refused):
            return (Refused(),) * len(node.outputs)
        if call.name in elementwise.SHAPE_ONLY and isinstance(call.args[0], StandsIn):
            call = call.with_args((self._zeros(node.args[0]), *call.args[1:]))
        for standin in STANDINS:
            try:
                out = standin.read(self.builder, call)
            except Settles:
                call, out = call.settled(self.builder, standin.settle), None
            if out is not None:
                if standin is KNOWN:
                    self._remember(call, out)
                return out
        return self._plain(call)

    def _remember(self, call: Call, out: tuple[Any, ...]) -> None:
        """Note how what is made of initial parameters is computed: a forward pass that reads it reads the parameters."""
        read = known_inputs(as_known(self.builder, call.args), as_known(self.builder, call.kwargs))
        if not any(known.made or self._is_initial(known) for known in read):
            return
        for number, known in enumerate(out):
            if isinstance(known, Known) and known not in read and known.kind != "constant":
                known.made = functools.partial(self._computed, call, number)

    def _is_initial(self, known: Known) -> bool:
        """Whether it is the initial value of a parameter."""
        return known.leaf is not None and known.leaf.var in self.builder.known_of

    def _computed(self, call: Call, number: int) -> Handle | None:
        """Return an output of an operation on parameters, written down now; None where rules cannot."""
        b, origin = self.builder, call.node.origin
        before, b.origin = b.origin, replace(b.origin, module=origin.module, source=origin.source)
        self._nested += 1
        try:
            if self._nested > NESTED:
                self._write_inputs(call)
            value = self._plain(call)[number]
        except Refusal:
            return None
        finally:
            b.origin = before
            self._nested -= 1
        return value if isinstance(value, Handle) else None

    def _write_inputs(self, call: Call) -> None:
        """Write down what an operation reads, from the start of its chain. (A power iteration is a long one.)"""
        waiting, opened = known_inputs(call.args, call.kwargs), set[int]()
        while waiting:
            known = waiting[-1]
            if id(known) not in opened and known.leaf is None and isinstance(known.made, functools.partial):
                opened.add(id(known))
                source = known.made.args[0]
                waiting += known_inputs(source.args, source.kwargs)
            else:
                waiting.pop()
                if id(known) in opened:
                    with contextlib.suppress(Refusal):  # if it is needed, its reader says so
                        self.builder.value(known)

    def _plain(self, call: Call) -> tuple[Made | None, ...]:
        """Return what the plain rule makes, of values and known tensors only."""
        node = call.node
        if randomness.is_draw(node):
            return randomness.drawn(self.builder, node, call.args)
        rule = RULES.get(call.name)
        if rule is None:
            if call.is_known:
                return fold(node, call.args, call.kwargs, "data")  # of data and draws only: the result is data too
            raise Refusal(f"no rule for {node.op}")
        args, kwargs = _multiplied(self.builder, call.args, call.options)
        return applied(rule, f"the rule for {node.op}", self.builder, args, kwargs)

    def _zeros(self, ref: Ref) -> Known:
        """Return zeros of a tensor's shape and type, for what reads nothing else of it."""
        meta = self.tape.nodes[ref.node].outputs[ref.output]
        assert meta is not None
        return Known.full(meta.shape, 0.0, meta.dtype)

    def _resolved(self, item: Any) -> Any:
        """Return the value of a Ref, or the number that operations get in its stead."""
        if not isinstance(item, Ref):
            return item
        if item not in self.values:
            meta = self.tape.nodes[item.node].outputs[item.output]  # read for its shape only
            return None if meta is None else self._zeros(item)
        value = self.values[item]
        number = value.number if item.number and isinstance(value, Known) else None
        return value if number is None else number

    # -- inputs and parameters ----------------------------------------------------------------------------------------

    def _input(self, node: Node) -> Known:
        if not isinstance(node.value, torch.Tensor):
            raise Refusal(f"input {node.name!r} has no recorded value")
        kind: KnownKind = node.input_kind or "data"
        if kind == "buffer" and (not node.value.dtype.is_floating_point or uniform_number(node.value) is not None):
            kind = "constant"
        return Known(node.value, kind, None, node.name)

    def _initial(self, name: str, known: Known, node: Node) -> Handle | Complex:
        """Return the leaf of a parameter's initial value; a complex one is two parameters, its parts."""
        if not complex_numbers.is_complex(known):
            return self._parameter(name, known, node)
        pair = complex_numbers.parts(self.builder, known)
        real, imag = (
            self._parameter(name + suffix, part, node)
            for suffix, part in complex_numbers.named(pair)
            if isinstance(part, Known)
        )
        self.builder.known_of[Complex(real, imag)] = known
        return Complex(real, imag)

    def _parameter(self, name: str, known: Known, node: Node) -> Handle:
        """Return the leaf of a parameter's initial value, with the law that it was drawn from."""
        b = self.builder
        if known.leaf is not None and not self._is_initial(known):  # it was computed from other parameters, and read
            known = Known(known.tensor, known.kind, known.draw, known.name, known.notes)
        known.leaf = known.leaf or b.drawn.same_parameter(name, known)
        if known.leaf is not None:
            return known.leaf
        uniform = uniform_number(known.tensor) if known.draw is None else None
        if known.draw is not None:
            law = known.draw.to_law()
        elif uniform is not None:
            law = Law("zero") if uniform == 0 else Law("constant", scaling(float(uniform)))
        else:
            law = measured_law(known.tensor)
            seen = (
                "orthogonal: its entries are taken for uniformly drawn"
                if law.kind == "orthogonal"
                else "measured, not read"
            )
            b.notes.append(f"law of {name} {seen}")
            if known.kind != "parameter":
                b.made[name] = base_name(node.op)
        b.notes.extend(f"{name}: {note}" for note in known.notes)
        before, b.origin = b.origin, Origin(0, "initialization", node.origin.module, node.origin.source)
        known.leaf = b.leaf(Leaf("parameter", b.fresh_name(name), law), known.tensor)
        b.origin = before
        b.known_of[known.leaf.var] = known
        b.drawn.add_parameter(name, known, known.leaf)
        return known.leaf

    def _regrouped(self, parameter: Ref, known: Known, node: Node) -> Handle:
        """Return the tensor that a parameter is a view of, made from the parameter's leaf."""
        b = self.builder
        node_of = self.tape.nodes[parameter.node]
        meta = node_of.outputs[parameter.output]
        assert meta is not None
        swapped = (
            None if base_name(node_of.op) == "view" else (0, 1) if base_name(node_of.op) == "t" else node_of.args[1:]
        )
        tensor = known.tensor.reshape(meta.shape) if swapped is None else known.tensor.transpose(*swapped)
        whole = Known(tensor, known.kind, known.draw, known.name, known.notes)
        leaf = self.values[parameter] = self._parameter(self.initial[parameter], whole, node)
        before, b.origin = b.origin, Origin(0, "initialization", node.origin.module, node.origin.source)
        value = b.value(b.reshape(leaf, known.shape) if swapped is None else b.transpose(leaf, *swapped))
        b.origin = before
        if b.is_whole(value):
            b.known_of[value.var] = known
        return value

    # -- the result ---------------------------------------------------------------------------------------------------

    def _finish(self) -> Lowered:
        b, tape = self.builder, self.tape
        for var in sorted(b.drawn.overlapping):
            statement = b.statements[var]
            assert isinstance(statement.instruction, Leaf)
            b.statements[var] = replace(statement, instruction=replace(statement.instruction, law=Law("data")))
            b.notes.append(f"{statement.instruction.name} shares rows with other data: only their size is assumed")
        lowered = Lowered(tape.width, b.statements, steps=tape.steps, leaf_values=b.leaf_values)
        positions: dict[Ref, dict[str, int]] = {}

        def position_of(ref: Ref) -> dict[str, int]:
            """Return the statement of a value (or of each part of a complex one), by what its name gains."""
            if ref not in positions:
                b.origin = tape.nodes[ref.node].origin
                value: Any = self.values[ref]
                for standin in STANDINS:
                    value = standin.settle(b, value)
                if complex_numbers.is_complex(value):
                    pair = complex_numbers.parts(b, value)
                    positions[ref] = {suffix: b.position(part) for suffix, part in complex_numbers.named(pair)}
                elif isinstance(value, (Handle, Known)):
                    positions[ref] = {"": b.position(value)}
                else:
                    raise LoweringError(f"{tape.nodes[ref.node].op} did not make its output {ref.output}")
            return positions[ref]

        for parameter in tape.parameters:
            versions = [position_of(ref) for ref in parameter.versions if ref is not None]
            gradients = [None if ref is None else position_of(ref) for ref in parameter.gradients]
            for suffix in versions[0] if versions else ():
                lowered.parameters.append(
                    LoweredParameter(
                        parameter.name + suffix,
                        [at[suffix] for at in versions],
                        [None if at is None else at[suffix] for at in gradients],
                    )
                )
        for mark in tape.marks:
            if self._is_float(mark.ref) and not isinstance(self.values[mark.ref], Refused):
                lowered.marks.append(LoweredMark(mark.kind, mark.name, mark.step, position_of(mark.ref)[""]))
        for ref, tensor in tape.live.items():
            for suffix, position in positions.get(ref, {}).items():
                part = getattr(tensor, suffix.removeprefix(".")) if suffix else tensor
                lowered.live[position] = part.detach().to(torch.float64)
        lowered.notes, lowered.made = list(dict.fromkeys([*tape.notes, *b.notes])), b.made
        join_combines(lowered)
        tidy(lowered)
        return lowered
