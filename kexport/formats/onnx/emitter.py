"""The ONNX graph under construction: which layout each value has, and where a Transpose is needed.

Feature maps live as NCHW inside the file, because ORT's and every other runtime's convolutions want
them so. Operations that work on the last axis (MatMul, LayerNormalization) want NHWC. A value starts in
the layout in which its operation makes it; the other one is made by a Transpose when first asked for
and remembered, so that each value is transposed at most once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import UnsupportedError
from kexport.formats.onnx.qdq.stored import Stored, StoredWeight, fits_short, halves, kernel_axis, pays, unsigned
from kexport.formats.onnx.stream import Initializer
from kexport.graph import Graph, Node
from kexport.operations import Shape
from kexport.quantization.plan import Affine


class Layout(StrEnum):
    """The order of axes of a rank-4 value in the file."""

    NCHW = "nchw"
    NHWC = "nhwc"


FLOAT16_MAX = 65504.0
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(kw_only=True)
class Emitter:
    """Collects ONNX nodes and initializers. ``dtype`` is what the network computes in.

    ``stored`` replaces float constants, by their names in the file, by integers behind a DequantizeLinear.
    """

    graph: Graph
    opset: int
    dtype: str = "float32"
    nodes: list[Any] = field(default_factory=list)
    initializers: dict[str, Initializer] = field(default_factory=dict)
    flattened: dict[str, Shape] = field(default_factory=dict)
    stored: Mapping[str, StoredWeight] = field(default_factory=dict)
    _places: dict[str, dict[Layout, str]] = field(default_factory=dict)
    _readers: dict[str, int] = field(default_factory=dict)
    _shown: set[str] = field(default_factory=set)
    _uses: dict[str, list[Any]] = field(default_factory=dict)  # the nodes that read or make a name
    _scalars: dict[float, str] = field(default_factory=dict)  # names of scales by value

    def rank(self, value: str) -> int:
        """Number of axes of a graph value."""
        return len(self.graph.shapes[value])

    def channels(self, value: str) -> int:
        """Size of the last axis of a graph value."""
        return self.graph.shapes[value][-1] or 0

    def layouts(self, value: str) -> frozenset[Layout]:
        """The layouts in which a value exists already."""
        return frozenset(self._places.get(value, {}))

    def define(self, value: str, name: str, layout: Layout) -> None:
        """Say that ``name`` in the file holds the graph value in this layout (any layout below rank 4)."""
        self._places.setdefault(value, {})[layout] = name

    def read(self, value: str, layout: Layout) -> str:
        """The name of the value in the layout; adds a Transpose the first time it is missing.

        A stored value gets a DequantizeLinear of its own for each reader, which runtimes join with the reader.
        """
        name, affine = self.place(value, layout), self._affine(value)
        return name if affine is None else self._dequantize(name, value, affine)

    def place(self, value: str, layout: Layout) -> str:
        """As `read`, but a stored value as it is stored."""
        places = self._places[value]
        if layout not in places and self.rank(value) == 4:
            (other,) = places.values()
            self.define(value, self._transposed(value, other, layout), layout)
        return places.get(layout) or next(iter(places.values()))

    def _transposed(self, value: str, name: str, layout: Layout) -> str:
        order = TO_NCHW if layout is Layout.NCHW else TO_NHWC
        affine, turned = self._affine(value), f"{value}:{layout}"
        if affine is None:
            return self.node("Transpose", [name], turned, perm=order)
        real = self._dequantize(name, value, affine)
        return self.store(self.node("Transpose", [real], f"{turned}:real", perm=order), turned, affine)

    def _affine(self, value: str) -> Affine | None:
        producer = self.graph.producers.get(value)
        return producer.operation.affine if producer and isinstance(producer.operation, Stored) else None

    def store(self, value: str, name: str, affine: Affine) -> str:
        """``value`` quantized, under the name ``name``; `read` dequantizes it."""
        return self.unnamed("QuantizeLinear", [value, self.scale(affine.scale), self.zero_point(affine)], name)

    def _dequantize(self, stored: str, value: str, affine: Affine) -> str:
        number = self._readers[value] = self._readers.get(value, 0) + 1
        inputs = [stored, self.scale(affine.scale), self.zero_point(affine)]
        return self.unnamed("DequantizeLinear", inputs, f"{value}:{number}")

    def scale(self, number: float) -> str:
        """A float32 constant of rank 0; equal ones are one."""
        name = self._scalars.setdefault(float(np.float32(number)), f"scale:{len(self._scalars) + 1}")
        return self.exact_scalar(name, number)

    def zero_point(self, affine: Affine) -> str:
        """That of a stored value, as the file counts."""
        number = unsigned(affine.zero_point)
        return self.numbers(f"zero_point:{number}", number)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add an ONNX node whose only output (and own name) is ``output``; returns that name."""
        self.unnamed(kind, inputs, output, **attributes)
        self.nodes[-1].name = output
        return output

    def unnamed(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """As `node`, without a name of its own: conversions and what is computed while the file is loaded.

        Half of a quantized file's nodes are such; their names would be a two-hundredth of it.
        """
        from onnx import helper

        made = helper.make_node(kind, list(inputs), [output], **attributes)
        self.nodes.append(made)
        for name in dict.fromkeys((*inputs, output)):
            self._uses.setdefault(name, []).append(made)
        return output

    def several(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add an ONNX node with more than one output."""
        from onnx import helper

        made = helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], **attributes)
        self.nodes.append(made)
        for name in dict.fromkeys((*inputs, *outputs)):
            self._uses.setdefault(name, []).append(made)

    def cast(self, value: str, output: str, dtype: str) -> str:
        """The value in another type."""
        return self.node("Cast", [value], output, to=_onnx_type(dtype))

    def weight(
        self,
        name: str,
        array: npt.NDArray[Any],
        order: Sequence[int] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> str:
        """A float constant in the network's dtype; its axes are permuted by ``order`` while it is written.

        ``shape`` states another shape for the permuted numbers. Raises UnsupportedError where a finite number
        has no finite float16: written as infinity, it would be found only by the outputs.
        """
        if name in self.stored:
            return self._stored_weight(name, self.stored[name], array.shape, order, shape)
        if self.dtype == "float16":
            _check_half_range(name, array)
        permuted = array.shape if order is None else tuple(array.shape[axis] for axis in order)
        make = _permuted(array, order)
        return self._add(Initializer(name=name, shape=shape or permuted, dtype=self.dtype, make=make))

    def _stored_weight(
        self,
        name: str,
        weight: StoredWeight,
        float_shape: tuple[int, ...],
        order: Sequence[int] | None,
        shape: tuple[int, ...] | None,
    ) -> str:
        made = shape or (float_shape if order is None else tuple(float_shape[axis] for axis in order))
        stored = self._integers(name, weight.numbers, _permuted(weight.numbers.reshape(float_shape), order), made)
        axis = kernel_axis(order, made)
        if weight.folded:
            real = self.unnamed("Cast", [stored], f"{name}:unscaled", to=_onnx_type("float32"))
            shaped = (-1, *(1 for _ in made[axis + 1 :]))
            return self.unnamed("Mul", [real, self._scales(name, weight, shaped)], name)
        inputs = [stored, self._scales(name, weight, (-1,))]
        if len(made) == 2:  # ONNX Runtime makes a QGemm only of a kernel that has zero points
            dtype = weight.numbers.dtype.name
            inputs.append(self.numbers(f"zeros:{dtype}:{weight.scales.size}", np.zeros(weight.scales.size, dtype)))
        return self.unnamed("DequantizeLinear", inputs, name, axis=axis)

    def _integers(
        self, name: str, numbers: npt.NDArray[Any], make: Callable[[], npt.NDArray[Any]], shape: tuple[int, ...]
    ) -> str:
        """Stored numbers in their dtype; many of int32 that int16 can hold as such, converted while loading."""
        dtype = numbers.dtype.name
        if fits_short(numbers):
            short = self._add(Initializer(name=f"{name}:int16", shape=shape, dtype="int16", make=make))
            return self.unnamed("Cast", [short], f"{name}:{dtype}", to=_onnx_type(dtype))
        return self._add(Initializer(name=f"{name}:{dtype}", shape=shape, dtype=dtype, make=make))

    def _scales(self, name: str, weight: StoredWeight, shape: tuple[int, ...]) -> str:
        """Scales in this shape; computed while loading from another weight's, or float16, where that takes less."""
        made, (other, factor) = f"{name}:scales", weight.multiple or ("", 1.0)
        if pays(weight.scales.nbytes) and f"{other}:scales" in self._uses:
            return self.unnamed("Mul", [f"{other}:scales", self.scale(factor)], made)
        half = halves(weight.scales)
        if half is None:
            return self.numbers(made, weight.scales.reshape(shape))
        numbers = self.numbers(f"{made}:float16", half.numbers.reshape(shape))
        if half.unit == 1.0:
            return self.unnamed("Cast", [numbers], made, to=_onnx_type("float32"))
        real = self.unnamed("Cast", [numbers], f"{made}:float32", to=_onnx_type("float32"))
        return self.unnamed("Mul", [real, self.scale(half.unit)], made)

    def show(self, value: str, public: str) -> None:
        """Give the graph value its public name; a value that is shown twice or is an input gets a copy."""
        name = self.read(value, Layout.NHWC)
        if name != public:
            self.free(public)
        if name in self._shown or not any(node.output[0] == name for node in self._uses.get(name, ())):
            self.node("Identity", [name], public)
        else:
            self._rename(name, public)
        self._shown.add(public)

    def free(self, public: str) -> None:
        """Rename the inner value that has this name, so that an output can have it; nodes keep their names."""
        self._rename(public, f"{public}:layer")

    def _rename(self, old: str, new: str) -> None:
        users = self._uses.pop(old, [])
        if not users:
            return
        self._uses.setdefault(new, []).extend(users)
        for node in users:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for places in self._places.values():
            if old in places.values():
                places.update({layout: new for layout, name in places.items() if name == old})

    def vector(self, name: str, array: npt.NDArray[Any], layout: Layout, rank: int) -> str:
        """A per-channel constant that broadcasts against a value of this rank and layout."""
        channels_first = layout is Layout.NCHW and rank == 4
        return self.weight(name, array.reshape(1, -1, 1, 1) if channels_first else array)

    def integers(self, name: str, numbers: Sequence[int]) -> str:
        """A one-dimensional int64 constant."""
        return self.numbers(name, np.asarray(numbers, dtype=np.int64))

    def scalar(self, name: str, number: float) -> str:
        """A float constant of rank 0 in the network's dtype."""
        return self.weight(name, np.asarray(number, dtype=np.float32))

    def exact_scalar(self, name: str, number: float) -> str:
        """A float32 constant of rank 0, whatever the network computes in."""
        return self.numbers(name, np.asarray(number, dtype=np.float32))

    def exact_vector(self, name: str, array: npt.NDArray[np.float32]) -> str:
        """A small float32 constant, whatever the network computes in."""
        return self.numbers(name, np.asarray(array, dtype=np.float32))

    def numbers(self, name: str, array: npt.NDArray[Any]) -> str:
        """A constant as it is, in its own dtype."""
        return self._add(Initializer(name=name, shape=array.shape, dtype=array.dtype.name, make=lambda: array))

    def _add(self, initializer: Initializer) -> str:
        self.initializers.setdefault(initializer.name, initializer)
        return initializer.name

    def feeds_only_dense(self, node: Node) -> bool:
        """Whether every reader of the node, int8 storage apart, is a dense layer, and the node is no output."""
        from kexport.operations import Dense

        def dense(reader: Node) -> bool:
            if isinstance(reader.operation, Stored):
                return self.feeds_only_dense(reader)
            return isinstance(reader.operation, Dense)

        readers = self.graph.consumers[node.name]
        shown = node.name in self.graph.outputs.values()
        return bool(readers) and not shown and all(dense(reader) for reader in readers)


def _onnx_type(dtype: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _check_half_range(name: str, array: npt.NDArray[Any]) -> None:
    largest = max(float(array.max(initial=0.0)), -float(array.min(initial=0.0)))
    if np.isfinite(largest) and largest > FLOAT16_MAX:
        layer, _, part = name.rpartition(":")
        raise UnsupportedError(
            f"the {part} of layer {layer!r} reaches {largest:g}, float16 ends at {FLOAT16_MAX:g}",
            hint="--schemes float32",
        )


def _permuted(array: npt.NDArray[Any], order: Sequence[int] | None) -> Callable[[], npt.NDArray[Any]]:
    return lambda: array if order is None else array.transpose(order)
