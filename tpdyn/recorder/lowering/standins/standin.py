"""What is a tensor for which closed instructions lack a word? A stand-in, kept aside until an operation reads its entries.

Examples are the maximum that a softmax subtracts, the index that a choice found, a complex number, an identity matrix. Each
kind has one file. It holds the rules of the operations that understand the kind, and what it is computed as for all others.
`lower` asks the kinds one after the other. The first that an operation meets reads it, or settles; whatever is left has a
plain rule.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

from tpdyn.recorder.live.tape import Node, base_name, mapped
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.values import Handle, Refusal, StandsIn

Settle = Callable[[LoweredBuilder, Any], Any]


class Settles(Exception):
    """A stand-in's rules do not understand an operation: the stand-in is computed, and the operation reads what it then is."""


@final
@dataclass(frozen=True, slots=True)
class Call:
    """One operation of the tape, with arguments that are lowered. kinds: the types of all that lies inside them."""

    node: Node
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    kinds: frozenset[type]

    @staticmethod
    def of(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Return the call, its kinds read off the arguments."""
        return Call(node, args, kwargs, kinds_in((args, kwargs)))

    @property
    def name(self) -> str:
        """The operation without its overload."""
        return base_name(self.node.op)

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments that are not about layout."""
        layout = ("layout", "device", "pin_memory", "generator")
        return {key: value for key, value in self.kwargs.items() if key not in layout}

    @property
    def is_known(self) -> bool:
        """Whether nothing in it depends on parameters."""
        return not any(issubclass(kind, (Handle, StandsIn)) for kind in self.kinds)

    def holds(self, *kinds: type) -> bool:
        """Tell whether one of its arguments, however nested, is of one of the kinds."""
        return not self.kinds.isdisjoint(kinds)

    def settled(self, b: LoweredBuilder, settle: Settle) -> Call:
        """Return the same call, each item of its arguments settled."""
        return Call.of(
            self.node, mapped(self.args, lambda x: settle(b, x)), mapped(self.kwargs, lambda x: settle(b, x))
        )

    def with_args(self, args: tuple[Any, ...]) -> Call:
        """Return the same call of other arguments."""
        return replace(self, args=args, kinds=kinds_in((args, self.kwargs)))


@final
@dataclass(frozen=True, slots=True)
class StandIn:
    """One kind of stand-in.

    read: what an operation that meets it makes, a tuple; None where it meets none. Raises Settles for an operation without
    a rule, Refusal for one that nothing can be said about. settle: what one item of the arguments is computed as.
    """

    name: str
    read: Callable[[LoweredBuilder, Call], tuple[Any, ...] | None]
    settle: Settle = lambda b, item: item


def outputs(result: Any) -> tuple[Any, ...]:
    """Return what a rule made, as a tuple."""
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def applied(rule: Rule, what: str, b: LoweredBuilder, args: Any, options: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a rule makes. Raises Refusal where the rule does not know the arguments."""
    try:
        return outputs(rule(b, *args, **options))
    except TypeError:
        try:
            inspect.signature(rule).bind(b, *args, **options)
        except TypeError as error:
            raise Refusal(f"{what} does not take these arguments: {error}") from error
        raise


def kinds_in(items: Any) -> frozenset[type]:
    """Return the types of all that lies inside nested arguments: asked once for several kinds, all of them final."""
    kinds: set[type] = set()
    waiting = [items]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            waiting += item
        elif isinstance(item, dict):
            waiting += item.values()
        else:
            kinds.add(type(item))
    return frozenset(kinds)
