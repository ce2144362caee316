"""TFLite operators for sequences, step by step, and for volumes.

UNIDIRECTIONAL_SEQUENCE_LSTM keeps its state between two runs of an interpreter, so that a result would depend on
what was computed before; there is none for a GRU that resets behind its product. Unrolled, every operator is one
that XNNPACK takes, and the product with the input is one for all steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.tflite.delegation import CONCAT_MOST
from kexport.formats.tflite.operators.padding import SAME, VALID, joined_on
from kexport.formats.tflite.operators.seam import assemble, bias_of, reshaped
from kexport.formats.tflite.program import Assembler, Sizes
from kexport.graph import Graph
from kexport.operations import Activate, Activation, Cell, Conv3d, Recurrent, Weights

MOST_STEPS = 512
"""Unrolled, a step is about fifteen operators."""


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """One recurrent layer while it is unrolled."""

    operation: Recurrent
    code: Assembler
    name: str
    batch: int

    @property
    def units(self) -> int:
        return self.operation.units

    def dense(self, label: str, value: int, kernel: Weights, bias: Weights) -> int:
        """``value @ kernel + bias`` over the last axis."""
        code, shared = self.code, f"{self.name}/{label.partition('/')[0]}"
        weights = code.weights(f"{shared}/kernel", kernel, last_first=True)
        return code.emit(
            "FULLY_CONNECTED",
            (value, weights, bias_of(code, shared, bias, kernel.shape[1])),
            name=f"{self.name}/{label}",
            shape=(*code.shape(value)[:-1], kernel.shape[1]),
            version=5,
            kind="FullyConnectedOptions",
            keepNumDims=True,
        )

    def part(self, label: str, value: int, start: int, size: int, axis: int = 2) -> int:
        """A span of one axis."""
        code, name = self.code, f"{self.name}/{label}"
        begin = [0, 0, 0]
        begin[axis] = start
        shape = list(code.shape(value))
        shape[axis] = size
        wanted = tuple(shape)
        inputs = (value, code.indices(f"{name}/begin", begin), code.indices(f"{name}/size", wanted))
        return code.emit("SLICE", inputs, name=name, shape=wanted, kind="SliceOptions")

    def gate(self, label: str, value: int, start: int, gates: int = 1) -> int:
        """One or more gates that lie side by side."""
        return self.part(label, value, start * self.units, gates * self.units)

    def apply(self, label: str, function: Activation | None, value: int) -> int:
        """An activation of the layer."""
        if function is None:
            return value
        name, shape = f"{self.name}/{label}", self.code.shape(value)
        return assemble(Activate(function=function), self.code, name=name, inputs=(value,), shape=shape)

    def two(self, builtin: str, label: str, left: int, right: int) -> int:
        """ADD, SUB or MUL."""
        kind = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[builtin]
        name, shape = f"{self.name}/{label}", self.code.shape(left)
        return self.code.emit(builtin, (left, right), name=name, shape=shape, kind=kind)

    def state(self, inputs: Sizes, place: int) -> int:
        """What the state is before the first step: an input, or zeros."""
        shape = (self.batch, 1, self.units)
        if len(inputs) > place:
            return reshaped(self.code, f"{self.name}/state{place}", inputs[place], shape)
        return self.code.constant(f"{self.name}/zeros", np.zeros(shape, np.float32))


def too_long(graph: Graph) -> Iterator[str]:
    """The recurrent nodes with too many steps to be unrolled, in words."""
    for node in graph:
        steps = graph.shapes[node.inputs[0]][1] if isinstance(node.operation, Recurrent) else None
        if steps is not None and steps > MOST_STEPS:
            yield f"node {node.name!r}: {steps} steps, TFLite files are unrolled up to {MOST_STEPS}"


@assemble.register
def _recurrent(operation: Recurrent, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    batch, length = code.shape(inputs[0])[:2]
    if length > MOST_STEPS:
        raise UnsupportedError(
            f"node {name!r}: {length} steps, TFLite files are unrolled up to {MOST_STEPS}",
            hint="--engine tflite-converter",
        )
    steps = _Steps(operation=operation, code=code, name=name, batch=batch)
    fused = operation.cell is not Cell.GRU
    bias = operation.bias + operation.inner_bias if fused else operation.bias
    products = steps.dense("product", inputs[0], operation.kernel, bias)
    output, cell, shown = steps.state(inputs, 1), -1, []
    if operation.cell is Cell.LSTM:
        cell = steps.state(inputs, 2)
    order = range(length - 1, -1, -1) if operation.backwards else range(length)
    for step in order:
        product = steps.part(f"step{step}/product", products, step, 1, axis=1) if length > 1 else products
        if operation.cell is Cell.LSTM:
            output, cell = _lstm(steps, f"step{step}", product, output, cell)
        else:
            output = (_gru if operation.cell is Cell.GRU else _simple)(steps, f"step{step}", product, output)
        shown.append(output)
    if operation.cells:
        return reshaped(code, name, cell, shape)
    if operation.backwards:
        shown.reverse()
    return _joined(code, name, shown)


def _joined(code: Assembler, name: str, values: list[int]) -> int:
    """The steps one after another, five and then five of those at a time: more XNNPACK does not take."""
    level = 0
    while len(values) > CONCAT_MOST:
        groups = [values[first : first + CONCAT_MOST] for first in range(0, len(values), CONCAT_MOST)]
        labels = [f"{name}/joined{level}/{number}" for number in range(len(groups))]
        values = [
            joined_on(code, label, group, 1) if len(group) > 1 else group[0]
            for label, group in zip(labels, groups, strict=True)
        ]
        level += 1
    return joined_on(code, name, values, 1) if len(values) > 1 else values[0]


def _inner(steps: _Steps, label: str, value: int, kernel: Weights, bias: Weights | None = None) -> int:
    none = np.zeros(kernel.shape[1], np.float32) if bias is None else bias
    return steps.dense(f"inner/{label}", value, kernel, none)


def _lstm(steps: _Steps, label: str, product: int, output: int, cell: int) -> tuple[int, int]:
    operation = steps.operation
    inner = _inner(steps, label, output, operation.recurrent)
    total = steps.two("ADD", f"{label}/total", product, inner)
    gates = [
        steps.apply(f"{label}/{name}", function, steps.gate(f"{label}/{name}/part", total, place))
        for place, (name, function) in enumerate(
            (
                ("input", operation.gate),
                ("forget", operation.gate),
                ("candidate", operation.activation),
                ("output", operation.gate),
            )
        )
    ]
    kept = steps.two("MUL", f"{label}/kept", gates[1], cell)
    new = steps.two("MUL", f"{label}/new", gates[0], gates[2])
    cell = steps.two("ADD", f"{label}/cell", kept, new)
    shown = steps.apply(f"{label}/shown", operation.activation, cell)
    return steps.two("MUL", f"{label}/result", gates[3], shown), cell


def _gru(steps: _Steps, label: str, product: int, output: int) -> int:
    """``update * output + (1 - update) * candidate``, as ``candidate + update * (output - candidate)``."""
    operation, units = steps.operation, steps.units
    kernels, biases = operation.recurrent, operation.inner_bias
    outer = steps.gate(f"{label}/gates/product", product, 0, 2)
    candidate = steps.gate(f"{label}/candidate/product", product, 2)
    if operation.reset_after:
        inner = _inner(steps, label, output, kernels, biases)
        sums = steps.two("ADD", f"{label}/gates/sum", outer, steps.gate(f"{label}/gates/inner", inner, 0, 2))
        gates = steps.apply(f"{label}/gates", operation.gate, sums)
        reset = steps.gate(f"{label}/reset", gates, 1)
        part = steps.gate(f"{label}/candidate/inner", inner, 2)
        added = steps.two("MUL", f"{label}/candidate/reset", reset, part)
    else:
        first, last = np.ascontiguousarray(kernels[:, : 2 * units]), np.ascontiguousarray(kernels[:, 2 * units :])
        inner = _inner(steps, label, output, first, np.ascontiguousarray(biases[: 2 * units]))
        gates = steps.apply(f"{label}/gates", operation.gate, steps.two("ADD", f"{label}/gates/sum", outer, inner))
        reset = steps.two("MUL", f"{label}/reset", steps.gate(f"{label}/reset/gate", gates, 1), output)
        added = steps.dense(f"last/{label}", reset, last, np.ascontiguousarray(biases[2 * units :]))
    whole = steps.two("ADD", f"{label}/candidate/sum", candidate, added)
    new = steps.apply(f"{label}/candidate", operation.activation, whole)
    update = steps.gate(f"{label}/update", gates, 0)
    change = steps.two("MUL", f"{label}/change", update, steps.two("SUB", f"{label}/difference", output, new))
    return steps.two("ADD", f"{label}/result", new, change)


def _simple(steps: _Steps, label: str, product: int, output: int) -> int:
    inner = _inner(steps, label, output, steps.operation.recurrent)
    return steps.apply(f"{label}/result", steps.operation.activation, steps.two("ADD", f"{label}/sum", product, inner))


@assemble.register
def _conv3d(operation: Conv3d, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    source, scheme = _padded(operation, code, name, inputs[0], shape)
    bias = np.zeros(shape[4], np.float32) if operation.bias is None else operation.bias
    weights = (code.constant(f"{name}/kernel", operation.kernel), code.constant(f"{name}/bias", bias))
    depth, height, width = operation.strides
    dilation = operation.dilation
    return code.emit(
        "CONV_3D",
        (source, *weights),
        name=name,
        shape=shape,
        kind="Conv3DOptions",
        padding=scheme,
        strideD=depth,
        strideH=height,
        strideW=width,
        dilationDFactor=dilation[0],
        dilationHFactor=dilation[1],
        dilationWFactor=dilation[2],
    )


def _padded(operation: Conv3d, code: Assembler, name: str, source: int, shape: Sizes) -> tuple[int, int]:
    """The volume with zeros around it, or with none where TensorFlow's SAME writes them."""
    size = code.shape(source)
    same = []
    for axis in range(3):
        window = (operation.kernel.shape[axis] - 1) * operation.dilation[axis] + 1
        total = max((shape[1 + axis] - 1) * operation.strides[axis] + window - size[1 + axis], 0)
        whole = -(-size[1 + axis] // operation.strides[axis]) == shape[1 + axis]
        same.append(whole and operation.padding[axis] == (total // 2, total - total // 2))
    if not any(sum(pair) for pair in operation.padding):
        return source, VALID
    if all(same):
        return source, SAME
    amounts = code.indices(f"{name}/amounts", ((0, 0), *operation.padding, (0, 0)))
    grown = (size[0], *(size[1 + axis] + sum(operation.padding[axis]) for axis in range(3)), size[4])
    return code.emit("PAD", (source, amounts), name=f"{name}/padded", shape=grown, kind="PadOptions"), VALID
