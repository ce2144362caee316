"""What a quantized ONNX graph has beyond a float one: values that pass through eight bits, and integer weights.

The plan counts activations from -128 to 127; the file counts the same numbers from 0 to 255. ONNX Runtime's x86
kernels take unsigned activations only. It does convert signed ones while it loads a file, but not those with
several readers, and then every operator around such a value stays float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.operations import Operation, Pad, Padding, Shape
from kexport.quantization.plan import Affine, Kernel

UNSIGNED_OFFSET = 128
NODE_BYTES = 128  # of a file, that a node takes with the names of what it reads and makes, about
FINE = 2.0**-16  # what small scales are stored as multiples of


def unsigned(number: int) -> npt.NDArray[np.uint8]:
    """A number of the plan's int8 as the file holds it, rank 0."""
    return np.asarray(number + UNSIGNED_OFFSET, np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored(Operation):
    """Operations whose result is stored."""

    affine: Affine


@dataclass(frozen=True, kw_only=True, eq=False)
class Store(Stored):
    """The value as eight bits hold it: rounded, saturated."""

    def infer(self, *inputs: Shape) -> Shape:  # noqa: D102
        (value,) = inputs
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredClip(Stored):
    """Real bounds for a stored value, kept on the stored numbers."""

    minimum: float
    maximum: float

    def infer(self, *inputs: Shape) -> Shape:  # noqa: D102
        (value,) = inputs
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredPad(Stored):
    """Zero points around the height and width of a stored value."""

    padding: Padding

    def infer(self, *inputs: Shape) -> Shape:  # noqa: D102
        return Pad(padding=self.padding).infer(*inputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRow(Stored):
    """A stored 1 x 1 image repeated along a row: ``(N, 1, columns, C)``."""

    columns: int

    def infer(self, *inputs: Shape) -> Shape:  # noqa: D102
        ((batch, height, _, channels),) = inputs
        return (batch, height, self.columns, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Load(Operation):
    """A stored value for its float readers.

    Its DequantizeLinear has equal scales for all channels: behind one of a single scale, ONNX Runtime would quantize
    the float weights of a convolution or dense layer, with one scale for all channels (WeightBiasQuantization).
    """

    affine: Affine

    def infer(self, *inputs: Shape) -> Shape:  # noqa: D102
        (value,) = inputs
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class AddConstant(Operation):
    """One number added to every element, stored exactly: 127 or -127 at a scale of its own."""

    number: float

    def infer(self, *inputs: Shape) -> Shape:  # noqa: D102
        (value,) = inputs
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredWeight:
    """Integers, int8 or int32, and the float32 scale of each output channel (the last axis).

    ``folded`` weights take part in float arithmetic: written as Cast and Mul, which runtimes compute once while they
    load the file. A DequantizeLinear there is computed in every run, or makes ONNX Runtime quantize the other factor
    too (MatMulNBits), which the plan does not say.

    ``multiple`` names another weight and a factor: the scales are the factor times that weight's. Where there are
    many they are written so, and computed once while the file is loaded: four bytes less for each channel.

    There are no zero points, as all are zero: the file leaves them out where ONNX Runtime allows it.
    """

    numbers: npt.NDArray[Any]
    scales: npt.NDArray[np.float32]
    folded: bool = False
    multiple: tuple[str, float] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Halves:
    """float16 numbers that, times ``unit``, are a weight's scales to the last bit."""

    numbers: npt.NDArray[np.float16]
    unit: float


def halves(scales: npt.NDArray[np.float32]) -> Halves | None:
    """Scales in half the bytes, where normal float16 numbers hold them exactly and that outweighs the nodes.

    A plan's do but for extremes (`kexport.quantization.kernels.int8`).
    """
    smallest, largest = (np.float32(limit) for limit in (np.finfo(np.float16).tiny, np.finfo(np.float16).max))
    for unit, nodes in ((1.0, 1), (FINE, 2)):
        numbers = scales / np.float32(unit)
        normal = bool(numbers.min() >= smallest and numbers.max() <= largest)
        if normal and pays(scales.nbytes // 2, nodes=nodes):
            found = numbers.astype(np.float16)
            return Halves(numbers=found, unit=unit) if np.array_equal(found, numbers) else None
    return None


def fits_short(numbers: npt.NDArray[Any]) -> bool:
    """Whether int16 holds these int32 numbers, and saves more than the node that makes them int32 again."""
    if numbers.dtype != np.int32 or not pays(numbers.nbytes // 2):
        return False
    limits = np.iinfo(np.int16)
    return int(numbers.min()) >= limits.min and int(numbers.max()) <= limits.max


def pays(saved_bytes: int, *, nodes: int = 1) -> bool:
    """Whether bytes less of constants outweigh the nodes that compute them while the file is loaded."""
    return saved_bytes >= nodes * NODE_BYTES


def kernel_axis(order: Sequence[int] | None, shape: Sequence[int]) -> int:
    """Where the last axis of a float kernel lies in the file; ``shape`` is the one there."""
    return list(order).index(len(shape) - 1) if order is not None and len(order) == len(shape) else len(shape) - 1


def stored_weights(
    name: str, kernel: Kernel, *, bias: npt.NDArray[np.float32] | None, input_scale: float | None
) -> dict[str, StoredWeight]:
    """The constants of a Conv or Dense by their names in the file.

    The bias is the kernel's int32; that of a kernel without one is ``bias`` rounded at ``input_scale`` times the
    kernel's scales. It stays float where the input has no scale, and where int32 cannot hold it.
    """
    if input_scale is None:
        return {f"{name}:kernel": StoredWeight(numbers=kernel.numbers, scales=kernel.scales, folded=True)}
    found = {f"{name}:kernel": StoredWeight(numbers=kernel.numbers, scales=kernel.scales)}
    scales = np.float32(input_scale) * kernel.scales
    numbers = kernel.bias if kernel.bias is not None else _int32(bias, scales)
    if numbers is None:
        return found
    stored_bias = StoredWeight(numbers=numbers, scales=scales, multiple=(f"{name}:kernel", input_scale))
    return {**found, f"{name}:bias": stored_bias}


def _int32(bias: npt.NDArray[np.float32] | None, scales: npt.NDArray[np.float32]) -> npt.NDArray[np.int32] | None:
    if bias is None:
        return None
    numbers = np.rint(bias / scales.astype(np.float64))
    fits = bool(np.all(np.abs(numbers) <= np.iinfo(np.int32).max))
    return numbers.astype(np.int32) if fits else None
