"""Maxima and averages over windows and over whole images, in the operators that XNNPACK takes."""

from __future__ import annotations

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.tflite.operators.padding import VALID, Window, padded, scheme_of, zeros_around
from kexport.formats.tflite.operators.seam import assemble, bias_of
from kexport.formats.tflite.program import Assembler, Sizes
from kexport.operations import NO_PADDING, GlobalPool, Pair, Pool, PoolKind


@assemble.register
def _pool(operation: Pool, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    if operation.size == (1, 1) and operation.padding == NO_PADDING:
        return _subsample(code, name, inputs[0], shape, operation.strides)
    window = Window(size=operation.size, strides=operation.strides, padding=operation.padding)
    if operation.kind == PoolKind.MAX:
        source, scheme = padded(code, inputs[0], window, name=name, shape=shape, lowest=True)
        return _window(code, "MAX_POOL_2D", source, operation, name=name, shape=shape, scheme=scheme)
    found = scheme_of(code.shape(inputs[0]), shape, window)
    if found is None:
        _refuse_empty_windows(operation, name)
        return _average_of_padded(operation, code, name, inputs[0], shape)
    return _window(code, "AVERAGE_POOL_2D", inputs[0], operation, name=name, shape=shape, scheme=found)


@assemble.register
def _global_pool(operation: GlobalPool, code: Assembler, *, name: str, inputs: Sizes, shape: Sizes) -> int:
    builtin = "MEAN" if operation.kind == PoolKind.AVERAGE else "REDUCE_MAX"
    axes = code.indices("axes/height_width", (1, 2))
    return code.emit(
        builtin, (inputs[0], axes), name=name, shape=shape, kind="ReducerOptions", keepDims=operation.keepdims
    )


def _subsample(code: Assembler, name: str, source: int, shape: Sizes, strides: Pair) -> int:
    """Every n-th row and column: a pool of one cell, written as a depthwise convolution with ones.

    XNNPACK takes neither a pool of one cell nor a STRIDED_SLICE with steps (ResNetV2 has four).
    """
    if strides == (1, 1):
        return source
    channels = shape[3]
    one = code.constant(f"constants/ones{channels}", np.ones(channels, np.float32), shape=(1, 1, 1, channels))
    return code.emit(
        "DEPTHWISE_CONV_2D",
        (source, one, bias_of(code, name, None, channels, whole=True)),
        name=name,
        shape=shape,
        kind="DepthwiseConv2DOptions",
        padding=VALID,
        strideH=strides[0],
        strideW=strides[1],
        depthMultiplier=1,
    )


def _window(
    code: Assembler, builtin: str, source: int, operation: Pool, *, name: str, shape: Sizes, scheme: int
) -> int:
    return code.emit(
        builtin,
        (source,),
        name=name,
        shape=shape,
        kind="Pool2DOptions",
        padding=scheme,
        strideH=operation.strides[0],
        strideW=operation.strides[1],
        filterHeight=operation.size[0],
        filterWidth=operation.size[1],
    )


def _average_of_padded(operation: Pool, code: Assembler, name: str, source: int, shape: Sizes) -> int:
    """The average over the cells of each window that are not padding.

    Zeros are averaged in, then each window is multiplied by its size over the number of real cells.
    """
    around = zeros_around(code, f"{name}/padded", source, operation.padding)
    raw = _window(code, "AVERAGE_POOL_2D", around, operation, name=f"{name}/raw", shape=shape, scheme=VALID)
    counts = [_real_cells(code.shape(source)[axis + 1], shape[axis + 1], operation, axis=axis) for axis in (0, 1)]
    factor = (operation.size[0] * operation.size[1]) / (counts[0][:, None] * counts[1][None, :])
    weights = code.constant(f"{name}/correction", factor[None, :, :, None].astype(np.float32))
    return code.emit("MUL", (raw, weights), name=name, shape=shape, kind="MulOptions")


def _refuse_empty_windows(operation: Pool, name: str) -> None:
    if any(max(operation.padding[axis]) >= operation.size[axis] for axis in (0, 1)):
        raise UnsupportedError(
            f"node {name!r}: padding {operation.padding} leaves windows of {operation.size} without a cell to average",
            hint="pad less than the pool's size",
        )


def _real_cells(size: int, out: int, operation: Pool, *, axis: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    start = np.arange(out) * operation.strides[axis] - operation.padding[axis][0]
    stop = np.minimum(start + operation.size[axis], size)
    return np.asarray(stop - np.maximum(start, 0), dtype=np.float64)
