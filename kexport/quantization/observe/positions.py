"""Where images are looked at when a kernel is decided: the same positions in the float and in the quantized network.

Positions of a kernel's output lie on a regular grid, coarser the more images there are: what matters is how many
windows a kernel is decided from, all images together. A dense layer has a window of one position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Conv, Crop, Dense, Pool, PoolKind
from kexport.quantization import Array, Stored
from kexport.quantization.waiting import Waiting

LEAST_ROWS, ROWS_PER_TAP, MOST_ROWS = 2048, 8, 4900  # windows of all images together
BATCH_NUMBERS = 1 << 23  # of windows that are made at a time, about
SAMPLED = ":sampled"


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a kernel reads on all images: numbers as they are stored, and how to make some of them real, float32.

    For a convolution they are NHWC, for a dense layer ``(images, ..., C)``.
    """

    stored: Waiting
    real: Callable[[Stored], Array]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The output positions ``first, first + step, ...`` along each axis of an image."""

    first: tuple[int, int]
    step: int

    def along(self, axis: int, size: int) -> npt.NDArray[np.int64]:
        """The rows (axis 0) or columns of an image that has ``size`` of them."""
        return np.arange(self.first[axis], size, self.step)

    def cut(self, value: Array, size: tuple[int, int]) -> Array:
        """``(images, rows, columns, C)`` of a value ``(images, ..., C)`` that has ``size`` positions."""
        whole = value.reshape(len(value), *size, value.shape[-1])
        return whole[:, self.along(0, size[0])][:, :, self.along(1, size[1])]


def taps_of(operation: Conv | Dense) -> int:
    """Weights of one output channel."""
    return int(np.prod(operation.kernel.shape[:-1]))


def groups_of(operation: Conv | Dense) -> int:
    """Groups of channels that do not see each other; 1 for a dense layer."""
    return operation.groups if isinstance(operation, Conv) else 1


def grid(operation: Conv | Dense, size: tuple[int, int], images: int) -> Grid:
    """The grid for the operation's output of ``size``, if there are so many images; the same for the same arguments."""
    rows = min(max(LEAST_ROWS, ROWS_PER_TAP * taps_of(operation)), MOST_ROWS)
    excess = size[0] * size[1] * images / rows
    step = max(1, ceil(excess if 1 in size else sqrt(excess)))
    return Grid(first=(min((step - 1) // 2, size[0] - 1), min((step - 1) // 2, size[1] - 1)), step=step)


def image_size(node: Node) -> tuple[int, int]:
    """Height and width of what a node makes; ``(n, 1)`` for rows of numbers, ``(1, 1)`` for single ones."""
    inner = [axis or 1 for axis in node.shape[1:-1]]
    return (inner[0], int(np.prod(inner[1:]))) if inner else (1, 1)


def sampler(graph: Graph, value: str, operation: Conv | Dense, images: int) -> tuple[Node, ...]:
    """Nodes after which ``value``, an image that the operation makes, is there at the grid's positions only."""
    node = graph.producers[value]
    chosen = grid(operation, image_size(node), images)
    crop = Crop(cropping=((chosen.first[0], 0), (chosen.first[1], 0)))
    cut = Node(name=f"{value}:cut", operation=crop, inputs=(value,), shape=crop.infer(node.shape))
    few = Pool(kind=PoolKind.MAX, size=(1, 1), strides=(chosen.step, chosen.step))
    return cut, Node(name=f"{value}{SAMPLED}", operation=few, inputs=(cut.name,), shape=few.infer(cut.shape))


def windows(operation: Conv | Dense, inputs: Inputs, size: tuple[int, int]) -> Iterator[tuple[slice, Array]]:
    """Some images at a time, and what the outputs on the grid see there: ``(groups, images, positions, taps)``.

    ``size`` is that of the operation's output. Positions are row by row, taps in the order of the kernel's.
    """
    places = _places(operation, size, images=len(inputs.stored))
    positions = len(places[0]) * len(places[1])
    taps, groups, inside = taps_of(operation), groups_of(operation), operation.kernel.shape[-2]
    step = max(1, BATCH_NUMBERS // (positions * taps * groups))
    for start in range(0, len(inputs.stored), step):
        part = slice(start, min(start + step, len(inputs.stored)))
        stored = inputs.stored[part]
        image = stored if isinstance(operation, Conv) else stored.reshape(len(stored), *size, inside)
        rows = _windows(image, inputs.real, *places)
        by_group = rows.reshape(-1, taps // inside, groups, inside).transpose(2, 0, 1, 3)
        yield part, by_group.reshape(groups, len(stored), positions, taps)


Places = npt.NDArray[np.int64]


def _places(operation: Conv | Dense, size: tuple[int, int], *, images: int) -> tuple[Places, Places]:
    """The image's rows and columns under every window: ``(positions along the axis, window)``."""
    chosen = grid(operation, size, images)
    rows, columns = (chosen.along(axis, size[axis])[:, np.newaxis] for axis in (0, 1))
    if isinstance(operation, Dense):
        return rows, columns
    return _under(operation, 0, rows), _under(operation, 1, columns)


def _under(operation: Conv, axis: int, places: Places) -> Places:
    offsets = np.arange(operation.kernel.shape[axis]) * operation.dilation[axis]
    return places * operation.strides[axis] - operation.padding[axis][0] + offsets


def _windows(part: Stored, real: Callable[[Stored], Array], rows: Places, columns: Places) -> Array:
    """``(images, rows, columns, window, window, C)``, zero in the padding."""
    down, across = rows[:, np.newaxis, :, np.newaxis], columns[np.newaxis, :, np.newaxis, :]
    height, width = part.shape[1:3]
    made = real(part[:, np.clip(down, 0, height - 1), np.clip(across, 0, width - 1)])
    made[:, (down < 0) | (down >= height) | (across < 0) | (across >= width)] = 0.0
    return made
