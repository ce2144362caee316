"""Kernels of every kind, and images for them whose channels resemble each other, as the tests of fitting use them."""

from __future__ import annotations

import numpy as np

from kexport.operations import Conv, Dense
from kexport.quantization.observe.positions import Grid, Inputs, grid
from tests.numpy_reference import compute
from tests.quantization.networks import conv, dense, images, same

OPERATIONS: dict[str, tuple[Conv | Dense, tuple[int, ...]]] = {
    "pointwise": (conv(12, 16), (6, 6, 12)),
    "3x3": (conv(6, 16, 3), (8, 8, 6)),
    "padded_strided": (conv(6, 16, 3, padding=same(), strides=(2, 2)), (8, 8, 6)),
    "uneven": (conv(6, 8, 3, padding=((1, 2), (0, 1)), strides=(2, 1), dilation=(1, 2)), (7, 8, 6)),
    "dilated": (conv(6, 16, 3, dilation=(2, 2)), (8, 8, 6)),
    "depthwise": (conv(1, 12, 5, groups=12, padding=same(5)), (8, 8, 12)),
    "multiplier": (conv(1, 24, 3, groups=12), (8, 8, 12)),
    "grouped": (conv(4, 12, 3, groups=3), (8, 8, 12)),
    "dense": (dense(12, 16), (12,)),
    "dense_of_rows": (dense(12, 16), (9, 12)),
    "dense_of_images": (dense(12, 16), (9, 7, 12)),
}


def correlated(*shape: int, count: int = 24, seed: int = 5) -> np.ndarray:
    """Images whose channels and neighbours resemble each other, as those of real networks do."""
    channels = shape[-1]
    mix = np.random.default_rng(9).normal(size=(max(2, channels // 3), channels))
    made = images(*shape[:-1], len(mix), count=count, seed=seed) @ mix
    made = made + 0.05 * images(*shape, count=count, seed=seed)
    for axis in range(1, len(shape)):
        made = made + np.roll(made, 1, axis=axis) + np.roll(made, 2, axis=axis)
    return made.astype(np.float32)


def inputs(stored: np.ndarray) -> Inputs:
    """Numbers that are stored as they are."""
    return Inputs(stored=stored, real=lambda part: part)


def linear(operation: Conv | Dense, data: np.ndarray) -> np.ndarray:
    """What the kernel alone makes, in float64."""
    return compute(type(operation)(**{**vars(operation), "bias": None, "activation": None}), data)


def size_of(operation: Conv | Dense, data: np.ndarray) -> tuple[int, int]:
    """The height and width of what it makes, written out by hand."""
    shape = linear(operation, data[:1]).shape[1:-1]
    return (*shape, 1, 1)[:2] if len(shape) != 1 else (shape[0], 1)


def on_grid(operation: Conv | Dense, made: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(images, positions, outputs)`` of what it makes, as targets are."""
    chosen: Grid = grid(operation, size, len(made))
    return chosen.cut(made, size).reshape(len(made), -1, made.shape[-1])


def fed(operation: Conv | Dense, read: np.ndarray, exact: np.ndarray) -> dict[str, object]:
    """Arguments of `moments.gather` for a kernel that reads ``read`` in the place of ``exact``."""
    size = size_of(operation, read)
    target = on_grid(operation, linear(operation, exact), size).astype(np.float32)
    return {"operation": operation, "inputs": inputs(read), "size": size, "target": target}
