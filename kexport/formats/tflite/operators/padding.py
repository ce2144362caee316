"""Explicit padding in TFLite's terms: SAME or VALID where one of them is exactly it, else cells written around.

XNNPACK takes PAD (zeros) but not PADV2, which decides how a maximum is padded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kexport.formats.tflite.program import Assembler, Sizes
from kexport.operations import NO_PADDING, Padding, Pair

SAME, VALID = 0, 1  # schema enum Padding


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window that slides: its extent with dilation, its strides, and the padding around the image."""

    size: Pair
    strides: Pair
    padding: Padding


def padded(
    code: Assembler, source: int, window: Window, *, name: str, shape: Sizes, lowest: bool = False
) -> tuple[int, int]:
    """The tensor to slide the window over and the padding scheme: SAME or VALID where exact, else after padding.

    ``shape`` is the result's. ``lowest`` pads so that padding never wins a maximum.
    """
    found = scheme_of(code.shape(source), shape, window)
    if found is not None:
        return source, found
    used = _used(code.shape(source), shape, window)
    write = _lowest_around if lowest else zeros_around
    return write(code, f"{name}/padded", source, used), VALID


def scheme_of(source: Sizes, shape: Sizes, window: Window) -> int | None:
    """VALID or SAME if TensorFlow's rule for these sizes pads exactly so; None if neither does."""
    used = _used(source, shape, window)
    if used == NO_PADDING:
        return VALID
    same = tuple(_same(source[1 + axis], window.size[axis], window.strides[axis]) for axis in (0, 1))
    outputs = tuple(-(-source[1 + axis] // window.strides[axis]) for axis in (0, 1))
    return SAME if same == used and outputs == shape[1:3] else None


def _same(size: int, window: int, stride: int) -> Pair:
    """TensorFlow's SAME: as many cells as a full last window needs, the odd one after."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _used(source: Sizes, shape: Sizes, window: Window) -> Padding:
    """The padding that some window reads: what lies after the last window is dropped."""

    def along(axis: int) -> Pair:
        before, after = window.padding[axis]
        reach = (shape[1 + axis] - 1) * window.strides[axis] + window.size[axis] - before - source[1 + axis]
        return before, min(max(reach, 0), after)

    return along(0), along(1)


def zeros_around(code: Assembler, name: str, source: int, padding: Padding) -> int:
    """Zeros written around height and width."""
    amounts = code.indices(f"{name}/amounts", ((0, 0), *padding, (0, 0)))
    return code.emit(
        "PAD",
        (source, amounts),
        name=name,
        shape=_grown(code.shape(source), padding),
        kind="PadOptions",
    )


def _lowest_around(code: Assembler, name: str, source: int, padding: Padding) -> int:
    """Padding that never wins a maximum: zeros after a relu, else the lowest float.

    XNNPACK takes PAD, not PADV2, so the borders of the second case are constants that are joined on.
    """
    if code.non_negative(source):
        return zeros_around(code, name, source, padding)
    value = source
    for axis, amounts in zip((1, 2), padding, strict=True):
        parts = [value]
        for place, amount in zip((0, 1), amounts, strict=True):
            if amount:
                shape = (*code.shape(value)[:axis], amount, *code.shape(value)[axis + 1 :])
                border = np.full(shape, np.finfo(np.float32).min, np.float32)
                label = f"{name}/border{axis}{place}"
                parts.insert(len(parts) * place, code.constant(label, border))
        if len(parts) > 1:
            value = joined_on(code, f"{name}/axis{axis}", parts, axis)
    return value


def _grown(shape: Sizes, padding: Padding) -> Sizes:
    return (shape[0], shape[1] + sum(padding[0]), shape[2] + sum(padding[1]), shape[3])


def dilated(size: Pair, dilation: Pair) -> Pair:
    """Extent of a kernel whose cells lie ``dilation`` apart."""
    return (size[0] - 1) * dilation[0] + 1, (size[1] - 1) * dilation[1] + 1


def joined_on(code: Assembler, name: str, values: list[int], axis: int) -> int:
    """The values one after another on ``axis``."""
    shapes = [code.shape(value) for value in values]
    shape = (*shapes[0][:axis], sum(each[axis] for each in shapes), *shapes[0][axis + 1 :])
    return code.emit("CONCATENATION", tuple(values), name=name, shape=shape, kind="ConcatenationOptions", axis=axis)
