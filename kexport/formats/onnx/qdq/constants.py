"""What a quantized ONNX file stores, and the nodes around it: values in uint8, weights in int8 and int32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.formats.onnx.emitter import Emitter, onnx_type, permuted
from kexport.formats.onnx.qdq.stored import Stored, StoredWeight, fits_short, halves, kernel_axis, pays, unsigned
from kexport.formats.onnx.stream import Initializer
from kexport.graph import Graph
from kexport.quantization.plan import Affine


@dataclass(kw_only=True)
class Integers:
    """The emitter's `Storage`: scales of stored values by name, stored weights by their names in the file."""

    affines: Mapping[str, Affine]
    weights: Mapping[str, StoredWeight]
    _readers: dict[str, int] = field(default_factory=dict)  # of each value, so far

    def holds(self, value: str) -> bool:
        """Whether the value is the result of a `Stored`."""
        return value in self.affines

    def load(self, emitter: Emitter, name: str, value: str) -> str:
        """A DequantizeLinear for one reader."""
        affine = self.affines[value]
        number = self._readers[value] = self._readers.get(value, 0) + 1
        inputs = [name, emitter.scale(affine.scale), zero_point(emitter, affine)]
        return emitter.unnamed("DequantizeLinear", inputs, f"{value}:{number}")

    def store(self, emitter: Emitter, real: str, value: str, name: str) -> str:
        """A QuantizeLinear with the value's own scale."""
        return store(emitter, real, self.affines[value], name)

    def weight(
        self,
        emitter: Emitter,
        name: str,
        float_shape: tuple[int, ...],
        order: Sequence[int] | None,
        shape: tuple[int, ...],
    ) -> str | None:
        """Integers behind a DequantizeLinear, or behind Cast and Mul where they are folded."""
        weight = self.weights.get(name)
        if weight is None:
            return None
        numbers = permuted(weight.numbers.reshape(float_shape), order)
        stored = _integers(emitter, name, weight.numbers, numbers, shape)
        axis = kernel_axis(order, shape)
        if weight.folded:
            return _folded(emitter, name, weight, stored, axis, rank=len(shape))
        return _dequantized(emitter, name, weight, stored, axis, rank=len(shape))


def integers(graph: Graph, weights: Mapping[str, StoredWeight]) -> Integers:
    """The storage of a graph that has `Stored` operations."""
    affines = {node.name: node.operation.affine for node in graph if isinstance(node.operation, Stored)}
    return Integers(affines=affines, weights=weights)


def store(emitter: Emitter, real: str, affine: Affine, name: str) -> str:
    """``real`` quantized, under the name ``name``."""
    return emitter.unnamed("QuantizeLinear", [real, emitter.scale(affine.scale), zero_point(emitter, affine)], name)


def zero_point(emitter: Emitter, affine: Affine) -> str:
    """That of a stored value, as the file counts."""
    number = unsigned(affine.zero_point)
    return emitter.numbers(f"zero_point:{number}", number)


def _folded(emitter: Emitter, name: str, weight: StoredWeight, stored: str, axis: int, *, rank: int) -> str:
    """The scales have the rank of the kernel: OpenCV 4 multiplies constants of no other."""
    real = emitter.unnamed("Cast", [stored], f"{name}:unscaled", to=onnx_type("float32"))
    scales = _scales(emitter, name, weight, tuple(-1 if place == axis else 1 for place in range(rank)))
    return emitter.unnamed("Mul", [real, scales], name)


def _dequantized(emitter: Emitter, name: str, weight: StoredWeight, stored: str, axis: int, *, rank: int) -> str:
    inputs = [stored, _scales(emitter, name, weight, (-1,))]
    if rank == 2:  # ONNX Runtime makes a QGemm only of a kernel that has zero points
        dtype, channels = weight.numbers.dtype.name, weight.scales.size
        inputs.append(emitter.numbers(f"zeros:{dtype}:{channels}", np.zeros(channels, dtype)))
    return emitter.unnamed("DequantizeLinear", inputs, name, axis=axis)


def _integers(
    emitter: Emitter,
    name: str,
    numbers: npt.NDArray[Any],
    make: Callable[[], npt.NDArray[Any]],
    shape: tuple[int, ...],
) -> str:
    """Stored numbers in their dtype; many of int32 that int16 can hold as such, converted while loading."""
    dtype = numbers.dtype.name
    if fits_short(numbers):
        short = emitter.constant(Initializer(name=f"{name}:int16", shape=shape, dtype="int16", make=make))
        return emitter.unnamed("Cast", [short], f"{name}:{dtype}", to=onnx_type(dtype))
    return emitter.constant(Initializer(name=f"{name}:{dtype}", shape=shape, dtype=dtype, make=make))


def _scales(emitter: Emitter, name: str, weight: StoredWeight, shape: tuple[int, ...]) -> str:
    """Scales in this shape; computed while loading from another weight's, or float16, where that takes less."""
    made, (other, factor) = f"{name}:scales", weight.multiple or ("", 1.0)
    if pays(weight.scales.nbytes) and emitter.has(f"{other}:scales"):
        return emitter.unnamed("Mul", [f"{other}:scales", emitter.scale(factor)], made)
    half = halves(weight.scales)
    if half is None:
        return emitter.numbers(made, weight.scales.reshape(shape))
    numbers = emitter.numbers(f"{made}:float16", half.numbers.reshape(shape))
    if half.unit == 1.0:
        return emitter.unnamed("Cast", [numbers], made, to=onnx_type("float32"))
    real = emitter.unnamed("Cast", [numbers], f"{made}:float32", to=onnx_type("float32"))
    return emitter.unnamed("Mul", [real, emitter.scale(half.unit)], made)
