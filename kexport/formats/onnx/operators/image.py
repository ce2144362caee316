"""ONNX nodes for what makes images larger or smaller, and for group normalisation: all in NCHW."""

from __future__ import annotations

import numpy as np

from kexport.formats.onnx.emitter import Emitter, Layout
from kexport.formats.onnx.operators.registry import emits
from kexport.graph import Node
from kexport.operations import Crop, GroupNorm, Pad, Pair, Pool, PoolKind, Resize, ResizeKind, TransposedConv

NEARLY_ZERO = {"float32": 2.0**-126, "float16": 2.0**-24}
"""By dtype: a number that is not zero and changes nothing."""


@emits(TransposedConv)
def transposed_conv(emitter: Emitter, node: Node, operation: TransposedConv) -> None:
    """ConvTranspose: kernel ``(in, out, height, width)``."""
    inputs = [
        emitter.read(node.inputs[0], Layout.NCHW),
        emitter.weight(f"{node.name}:kernel", operation.kernel, (2, 3, 0, 1)),
    ]
    if operation.bias is not None:
        inputs.append(emitter.weight(f"{node.name}:bias", operation.bias))
    (top, bottom), (left, right) = operation.cropping
    name = emitter.node(
        "ConvTranspose",
        inputs,
        node.name,
        kernel_shape=operation.kernel.shape[:2],
        strides=operation.strides,
        dilations=operation.dilation,
        pads=[top, left, bottom, right],
        output_padding=operation.extra,
    )
    emitter.define(node.name, name, Layout.NCHW)


@emits(Pad)
def pad(emitter: Emitter, node: Node, operation: Pad) -> None:
    """Pad with zeros, and before MaxPool with the next number to zero.

    ONNX Runtime 1.17 to 1.31 take a Pad with zeros into the MaxPool behind it, whose own padding never wins: what is
    negative beside the border comes out instead of zero. They leave a Pad with any other number.
    """
    (top, bottom), (left, right) = operation.padding
    amounts = emitter.integers(f"{node.name}:amounts", [0, 0, top, left, 0, 0, bottom, right])
    value = emitter.read(node.inputs[0], Layout.NCHW)
    if any(_is_max_pool(reader) for reader in emitter.graph.consumers[node.name]):
        filling = emitter.scalar("constant:nearly_zero", NEARLY_ZERO[emitter.dtype])
    else:
        filling = emitter.scalar("constant:zero", 0.0)
    name = emitter.node("Pad", [value, amounts, filling], node.name, mode="constant")
    emitter.define(node.name, name, Layout.NCHW)


def _is_max_pool(node: Node) -> bool:
    return isinstance(node.operation, Pool) and node.operation.kind is PoolKind.MAX


@emits(Crop)
def crop(emitter: Emitter, node: Node, operation: Crop) -> None:
    """Slice of height and width."""
    (top, bottom), (left, right) = operation.cropping
    _, height, width, _ = emitter.graph.shapes[node.inputs[0]]
    starts = emitter.integers(f"{node.name}:starts", [top, left])
    ends = emitter.integers(f"{node.name}:ends", [(height or 0) - bottom, (width or 0) - right])
    axes = emitter.integers("constant:height_and_width", [2, 3])
    value = emitter.read(node.inputs[0], Layout.NCHW)
    emitter.define(node.name, emitter.node("Slice", [value, starts, ends, axes], node.name), Layout.NCHW)


@emits(Resize)
def resize(emitter: Emitter, node: Node, operation: Resize) -> None:
    """Resize; the nearest pixel of an uneven factor by its number, which no runtime rounds otherwise."""
    _, height, width, _ = emitter.graph.shapes[node.inputs[0]]
    source = height or 0, width or 0
    value = emitter.read(node.inputs[0], Layout.NCHW)
    if operation.kind is ResizeKind.BILINEAR:
        name = _resize(emitter, node, value, source, operation.size, mode="linear", centre="half_pixel")
    elif all(new % old == 0 for old, new in zip(source, operation.size, strict=True)):
        name = _resize(emitter, node, value, source, operation.size, mode="nearest", centre="asymmetric")
    else:
        name = _gather(emitter, node, value, source, operation.size)
    emitter.define(node.name, name, Layout.NCHW)


def _resize(emitter: Emitter, node: Node, value: str, source: Pair, size: Pair, *, mode: str, centre: str) -> str:
    factors = np.asarray([1, 1, *(_factor(old, new) for old, new in zip(source, size, strict=True))], np.float32)
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
    inputs = [value, "", emitter.exact_vector(f"{node.name}:scales", factors)]
    return emitter.node("Resize", inputs, node.name, mode=mode, coordinate_transformation_mode=centre, **extra)


def _factor(old: int, new: int) -> np.float32:
    """The float32 factor with which ``floor(old * factor)`` is ``new``, multiplied in float32 and in float64."""
    factor = np.float32(new / old)
    while int(old * float(factor)) < new:
        factor = np.nextafter(factor, np.float32(np.inf))
    return factor


def _gather(emitter: Emitter, node: Node, value: str, source: Pair, size: Pair) -> str:
    rows, columns = (nearest(old, new) for old, new in zip(source, size, strict=True))
    numbers = emitter.integers(f"{node.name}:rows", rows), emitter.integers(f"{node.name}:columns", columns)
    tall = emitter.node("Gather", [value, numbers[0]], f"{node.name}:tall", axis=2)
    return emitter.node("Gather", [tall, numbers[1]], node.name, axis=3)


def nearest(old: int, new: int) -> list[int]:
    """Which of ``old`` pixels each of ``new`` shows: ``floor((i + 0.5) * old / new)``, computed as TensorFlow does."""
    factor = np.float32(old) / np.float32(new)
    places = np.floor((np.arange(new, dtype=np.float32) + np.float32(0.5)) * factor)
    return [int(place) for place in np.minimum(places, old - 1)]


@emits(GroupNorm)
def group_norm(emitter: Emitter, node: Node, operation: GroupNorm) -> None:
    """InstanceNormalization of ``(N, groups, rest)``: every runtime has it, and computes its sums in float32."""
    _, height, width, channels = node.shape
    groups, name = operation.groups, node.name
    value = emitter.read(node.inputs[0], Layout.NCHW)
    folded = emitter.node("Reshape", [value, emitter.integers(f"{name}:folded", [0, groups, -1])], f"{name}:groups")
    plain = [
        emitter.weight(f"ones:{groups}", np.ones(groups, np.float32)),
        emitter.weight(f"zeros:{groups}", np.zeros(groups, np.float32)),
    ]
    normal = emitter.node("InstanceNormalization", [folded, *plain], f"{name}:normal", epsilon=operation.epsilon)
    image = emitter.integers(f"{name}:shape", [0, channels or 0, height or 0, width or 0])
    whole = emitter.node("Reshape", [normal, image], f"{name}:image")
    gamma = emitter.vector(f"{name}:gamma", operation.gamma, Layout.NCHW, 4)
    beta = emitter.vector(f"{name}:beta", operation.beta, Layout.NCHW, 4)
    scaled = emitter.node("Mul", [whole, gamma], f"{name}:scaled")
    emitter.define(name, emitter.node("Add", [scaled, beta], name), Layout.NCHW)
