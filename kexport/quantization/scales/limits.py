# ruff: noqa: ARG001 - every function has the signature of the seam, whether it needs all of it or not
"""The ratios of scales that XNNPACK, LiteRT's default CPU delegate, can compute with.

Beyond them a convolution makes the whole file unloadable (`failed to create XNNPACK runtime`), other operators run
outside of the delegate, and subnormal scales end the process. The bounds are those of XNNPACK's operators
(src/operators) and of the delegate (tflite/delegates/xnnpack/xnnpack_delegate.cc); tests find each again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from kexport.graph import Node
from kexport.operations import Add, Conv, Dense, Multiply, Operation, ScaleShift
from kexport.quantization.plan import Affine, Precision, QuantPlan

Range = tuple[float, float]
LINEAR: Range = (0.0, 2.0**8)  # input scale * kernel scale / output scale, of each channel
SUM: Range = (2.0**-10, 2.0**8)  # each input's scale / output scale
PRODUCT: Range = (2.0**-16, 2.0**8)  # product of the inputs' scales / output scale
CONVERSION: Range = (2.0**-8, 2.0**7)  # input scale / output scale, where int8 becomes int8
NORMAL: Range = (2.0**-126, np.inf)  # any scale, that of a bias too: a normal float32
CONSTANT_STEPS = 127


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A ratio of scales of one node that is not ``allowed[0] <= ratio < allowed[1]``."""

    node: str
    what: str
    ratio: float
    allowed: Range

    def __str__(self) -> str:
        low, high = self.allowed
        return f"node {self.node!r}: {self.what} is {self.ratio:.4g}, XNNPACK takes {low:.4g} to below {high:.4g}"


def scale_limits(plan: QuantPlan) -> tuple[Limit, ...]:
    """The ratios of ``plan`` that are out of bounds, at most one of each kind and input for a node, in graph order."""
    return tuple(limit for node in plan.graph for limit in _node_limits(plan, node))


def _node_limits(plan: QuantPlan, node: Node) -> Iterator[Limit]:
    precision = plan.precision(node.name)
    if precision is Precision.INT8:
        values = (*node.inputs, node.name)
        facts = [("the scale of " + repr(value), plan.values[value].scale, NORMAL) for value in values]
        facts += _facts(node.operation, plan, node)
    elif precision is Precision.WEIGHTS:
        facts = [("the smallest scale of its kernel", float(plan.kernels[node.name].scales.min()), NORMAL)]
    else:
        facts = []
    for what, ratio, (low, high) in dict.fromkeys(facts):
        if not low <= ratio < high:
            yield Limit(node=node.name, what=what, ratio=ratio, allowed=(low, high))


Facts = list[tuple[str, float, Range]]


@singledispatch
def _facts(operation: Operation, plan: QuantPlan, node: Node) -> Facts:
    """What is to be checked: a name, a number, its bounds. Most operations compute with any scales."""
    return []


@_facts.register(Conv)
@_facts.register(Dense)
def _linear(_: Conv | Dense, plan: QuantPlan, node: Node) -> Facts:
    scales = plan.kernels[node.name].scales
    source, made = np.float32(plan.values[node.inputs[0]].scale), np.float32(plan.values[node.name].scale)
    with np.errstate(over="ignore", under="ignore"):
        bias = source * scales
        ratios = bias / made
    return [
        ("the smallest scale of its kernel", float(scales.min()), NORMAL),
        ("the smallest scale of its bias", float(bias.min()), NORMAL),
        ("its largest ratio of input scale * kernel scale / output scale", float(ratios.max()), LINEAR),
    ]


@_facts.register
def _add(_: Add, plan: QuantPlan, node: Node) -> Facts:
    made = plan.values[node.name].scale
    what = "the ratio of the scales of input {!r} and output"
    return [(what.format(value), _ratio(plan.values[value].scale, made), SUM) for value in node.inputs]


@_facts.register
def _multiply(_: Multiply, plan: QuantPlan, node: Node) -> Facts:
    left, right = (np.float32(plan.values[value].scale) for value in node.inputs)
    ratio = _ratio(float(left * right), plan.values[node.name].scale)
    return [("the product of its inputs' scales / output scale", ratio, PRODUCT)]


@_facts.register
def _shift(operation: ScaleShift, plan: QuantPlan, node: Node) -> Facts:
    source, made, offset = plan.values[node.inputs[0]], plan.values[node.name], float(operation.offset[0])
    ratio = _ratio(source.scale, made.scale)
    if offset == 0.0:
        return [("the ratio of the scales of input and output", ratio, CONVERSION)]
    constant = _ratio(constant_of(offset, made)[1], made.scale)
    return [
        ("the ratio of the scales of input and output", ratio, SUM),
        (f"the ratio of the scales of the constant {offset:g} and output", constant, SUM),
    ]


def constant_of(offset: float, made: Affine) -> tuple[int, float]:
    """The int8 number and the scale of a constant that is added: ``number * scale`` is ``offset`` to a float32.

    127 steps, which every runtime computes with well; one step where XNNPACK would refuse steps that fine.
    """
    steps = CONSTANT_STEPS if abs(offset) / CONSTANT_STEPS >= 2 * SUM[0] * made.scale else 1
    return (steps if offset > 0 else -steps), float(np.float32(abs(offset) / steps))


def _ratio(left: float, right: float) -> float:
    return float(np.float32(left) / np.float32(right))
