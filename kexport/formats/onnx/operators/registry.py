"""Which function writes which operation, and in which layout operations work that are free to choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kexport.formats.onnx.emitter import Emitter, Layout
from kexport.graph import Node
from kexport.operations import Operation

Emit = Callable[[Emitter, Node, Any], None]
Function = TypeVar("Function", bound=Emit)
OPERATORS: dict[type[Operation], Emit] = {}


def emits(kind: type[Operation]) -> Callable[[Function], Function]:
    """Register the function that writes one kind of operation."""

    def register(function: Function) -> Function:
        OPERATORS[kind] = function
        return function

    return register


def common_layout(emitter: Emitter, node: Node) -> Layout:
    """The layout that needs the fewest Transposes; NHWC where ranks differ, as only there they broadcast."""
    if any(emitter.rank(value) != 4 for value in node.inputs):
        return Layout.NHWC
    missing = {layout: sum(layout not in emitter.layouts(value) for value in set(node.inputs)) for layout in Layout}
    return Layout.NCHW if missing[Layout.NCHW] <= missing[Layout.NHWC] else Layout.NHWC


def present_layout(emitter: Emitter, node: Node) -> Layout:
    """The layout in which the node's only input exists already; NCHW if it exists in both."""
    return Layout.NCHW if Layout.NCHW in emitter.layouts(node.inputs[0]) else Layout.NHWC
