"""Quantized ONNX: uint8 activations and int8 weights between QuantizeLinear and DequantizeLinear, standard domain only.

ONNX Runtime joins each operator with the conversions around it into an integer kernel. The activations are the
plan's int8 numbers plus 128, zero points too, so that the real numbers are the plan's (`onnx_stored` says why);
kernels are int8 per output channel, biases int32.

What is stored is small: many scales as float16 and biases as int16 where that changes no number (made wider while the
file is loaded), no zero points of convolutions' weights, equal scales and zero points once, no names of conversions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kexport.errors import UsageError
from kexport.formats import WrittenFile
from kexport.formats.onnx.emitter import Emitter, Layout
from kexport.formats.onnx.operators.network import emit_node
from kexport.formats.onnx.qdq.constants import integers, store, zero_point
from kexport.formats.onnx.qdq.forms import fast
from kexport.formats.onnx.qdq.gates import clipped
from kexport.formats.onnx.qdq.graph import explicit
from kexport.formats.onnx.qdq.stored import AddConstant, Load, Store, StoredClip, StoredPad, StoredRow, unsigned
from kexport.formats.onnx.writer import emit_inputs, emit_output, write_emitted
from kexport.graph import Node
from kexport.operations import Conv, Crop, GlobalPool, LeakyRelu, Operation, Pad, Pool, ScaleShift
from kexport.quantization.plan import KERNEL_LARGEST, QuantPlan

IO = "float32"
WANT_NCHW = (Conv, Pool, GlobalPool, Pad, StoredPad, Crop)


def write(
    plan: QuantPlan,
    path: Path,
    *,
    opset: int = 18,
    batch: int | None = None,
    metadata: Mapping[str, str] | None = None,
    io: str = IO,
) -> WrittenFile:
    """Write ``plan`` to exactly ``path``; ``batch`` of None keeps the batch axis symbolic.

    Inputs and outputs are float32. Same plan, same options: same bytes. Raises UsageError for another ``io``,
    UnsupportedError above 2 GB; nothing is written then.
    """
    if io != IO:
        raise UsageError(f"io {io}: the inputs and outputs of a quantized ONNX file are {IO}", hint="--formats tflite")
    return write_emitted(_emit(plan, opset=opset, batch=batch), path, metadata=metadata)


def _emit(plan: QuantPlan, *, opset: int, batch: int | None) -> Emitter:
    spelled = explicit(fast(clipped(plan)))
    storage = integers(spelled.graph, spelled.stored)
    emitter = Emitter(graph=spelled.graph.with_batch(batch), opset=opset, storage=storage)
    emit_inputs(emitter)
    for node in emitter.graph:
        _OPERATORS.get(type(node.operation), _float)(emitter, node, node.operation)
    for public, value in emitter.graph.outputs.items():
        emit_output(emitter, public, value)
    return emitter


def _float(emitter: Emitter, node: Node, operation: Operation) -> None:
    del operation
    emit_node(emitter, node)


def _scale_shift(emitter: Emitter, node: Node, operation: ScaleShift) -> None:
    """That of an image stays in its layout, NHWC, as the integers behind it do in ONNX Runtime.

    Constants are scalars, or go along whole rows of pixels: added channel by channel, they cost half a millisecond.
    """
    (source,) = node.inputs
    stored = any(isinstance(reader.operation, Store) for reader in emitter.graph.consumers[node.name])
    if not stored or emitter.rank(source) != 4 or Layout.NCHW in emitter.layouts(source):
        emit_node(emitter, node)
        return
    value, width = emitter.read(source, Layout.NHWC), node.shape[2] or 1
    parts = [("Mul", "scale", operation.scale, 1.0), ("Add", "offset", operation.offset, 0.0)]
    present = [part for part in parts if np.any(part[2] != part[3])] or parts[1:]
    for kind, label, numbers, _ in present:
        uniform = bool(np.all(numbers == numbers[0]))
        constant = numbers[0] if uniform else np.tile(numbers, (width, 1))
        name = node.name if kind == present[-1][0] else f"{node.name}:scaled"
        value = emitter.node(kind, [value, emitter.numbers(f"{node.name}:{label}", np.asarray(constant))], name)
    emitter.define(node.name, value, Layout.NHWC)


def _store(emitter: Emitter, node: Node, operation: Store) -> None:
    """Conversion in the layout in which the value is made; that of an input in the one that is read."""
    (source,) = node.inputs
    layout = _layout(emitter, node)
    stored = store(emitter, emitter.read(source, layout), operation.affine, node.name)
    emitter.define(node.name, stored, layout)
    if source in emitter.flattened:
        emitter.flattened[node.name] = emitter.flattened[source]


def _load(emitter: Emitter, node: Node, operation: Load) -> None:
    """DequantizeLinear with a scale and zero point per channel; one for a leaky relu, which runtimes join with both."""
    (source,) = node.inputs
    layout, affine = min(emitter.layouts(source)), operation.affine
    if any(isinstance(reader.operation, LeakyRelu) for reader in emitter.graph.consumers[node.name]):
        inputs = [emitter.place(source, layout), emitter.scale(affine.scale), zero_point(emitter, affine)]
        emitter.define(node.name, emitter.unnamed("DequantizeLinear", inputs, node.name), layout)
        return
    axis = 1 if layout is Layout.NCHW else len(node.shape) - 1
    channels = emitter.channels(source)
    scales = emitter.numbers(f"{node.name}:scales", np.full(channels, affine.scale, np.float32))
    zero_points = emitter.numbers(f"{node.name}:zero_points", np.full(channels, unsigned(affine.zero_point)))
    inputs = [emitter.place(source, layout), scales, zero_points]
    emitter.define(node.name, emitter.unnamed("DequantizeLinear", inputs, node.name, axis=axis), layout)


def _layout(emitter: Emitter, node: Node) -> Layout:
    (source,) = node.inputs
    made = emitter.layouts(source)
    wanted = any(isinstance(reader.operation, WANT_NCHW) for reader in emitter.graph.consumers[node.name])
    channels_first = Layout.NCHW in made or (wanted and emitter.rank(source) == 4)
    return Layout.NCHW if channels_first else Layout.NHWC


def _add_constant(emitter: Emitter, node: Node, operation: AddConstant) -> None:
    """Add; the constant is stored as 127 or -127 at a scale that makes it exact."""
    (source,) = node.inputs
    layout = min(emitter.layouts(source))
    constant = _constant(emitter, f"{node.name}:constant", operation.number, rank=len(node.shape))
    emitter.define(node.name, emitter.node("Add", [emitter.read(source, layout), constant], node.name), layout)


def _constant(emitter: Emitter, name: str, number: float, *, rank: int) -> str:
    """One element of this rank: of rank 0, ONNX Runtime would add it to a 1 x 1 image number by number."""
    scale = np.float32(abs(number) / KERNEL_LARGEST or 1.0)
    inputs = [
        emitter.numbers(f"{name}:stored", unsigned(KERNEL_LARGEST * int(np.sign(number))).reshape((1,) * rank)),
        emitter.scale(float(scale)),
        emitter.numbers(f"zero_point:{unsigned(0)}", unsigned(0)),
    ]
    return emitter.unnamed("DequantizeLinear", inputs, name)


def _clip(emitter: Emitter, node: Node, operation: StoredClip) -> None:
    """Clip of integers."""
    (source,) = node.inputs
    layout = min(emitter.layouts(source))
    bounds = operation.affine.quantize(np.asarray([operation.minimum, operation.maximum], np.float32))
    constants = [
        emitter.numbers(f"{node.name}:{name}", unsigned(int(bound)))
        for name, bound in zip(("minimum", "maximum"), bounds, strict=True)
    ]
    name = emitter.node("Clip", [emitter.place(source, layout), *constants], node.name)
    emitter.define(node.name, name, layout)


def _pad(emitter: Emitter, node: Node, operation: StoredPad) -> None:
    """Pad of integers, with the zero point."""
    (top, bottom), (left, right) = operation.padding
    value = emitter.place(node.inputs[0], Layout.NCHW)
    amounts = emitter.integers(f"{node.name}:amounts", [0, 0, top, left, 0, 0, bottom, right])
    zero = zero_point(emitter, operation.affine)
    emitter.define(node.name, emitter.node("Pad", [value, amounts, zero], node.name, mode="constant"), Layout.NCHW)


def _row(emitter: Emitter, node: Node, operation: StoredRow) -> None:
    """Tile of integers."""
    (source,) = node.inputs
    layout = min(emitter.layouts(source))
    repeats = [1, 1, 1, operation.columns] if layout is Layout.NCHW else [1, 1, operation.columns, 1]
    inputs = [emitter.place(source, layout), emitter.integers(f"{node.name}:repeats", repeats)]
    emitter.define(node.name, emitter.node("Tile", inputs, node.name), layout)


_OPERATORS: dict[type[Operation], Callable[[Emitter, Node, Any], None]] = {
    Store: _store,
    Load: _load,
    ScaleShift: _scale_shift,
    AddConstant: _add_constant,
    StoredClip: _clip,
    StoredPad: _pad,
    StoredRow: _row,
}
