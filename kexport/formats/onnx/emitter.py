"""The ONNX graph under construction: which layout each value has, and where a Transpose is needed.

Feature maps live as NCHW inside the file, because ORT's and every other runtime's convolutions want
them so. Operations that work on the last axis (MatMul, LayerNormalization) want NHWC. A value starts in
the layout in which its operation makes it; the other one is made by a Transpose when first asked for
and remembered, so that each value is transposed at most once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kexport.errors import UnsupportedError
from kexport.formats.onnx.stream import Initializer
from kexport.graph import Graph, Node
from kexport.operations import Shape


class Layout(StrEnum):
    """The order of axes of a rank-4 value in the file."""

    NCHW = "nchw"
    NHWC = "nhwc"


FLOAT16_MAX = 65504.0
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class Storage(Protocol):
    """What a file holds as integers: `kexport.formats.onnx.qdq.constants` writes a quantized one's."""

    def holds(self, value: str) -> bool:
        """Whether the graph value is stored."""

    def load(self, emitter: Emitter, name: str, value: str) -> str:
        """The real numbers of a stored value, which ``name`` holds in one of its layouts; new ones at each call."""

    def store(self, emitter: Emitter, real: str, value: str, name: str) -> str:
        """``real`` as the value is stored, under the name ``name``."""

    def weight(
        self,
        emitter: Emitter,
        name: str,
        float_shape: tuple[int, ...],
        order: Sequence[int] | None,
        shape: tuple[int, ...],
    ) -> str | None:
        """A float constant's real numbers, ordered by ``order`` into ``shape``; None for one that stays float."""


@dataclass(kw_only=True)
class Emitter:
    """Collects ONNX nodes and initializers. ``dtype`` is what the network computes in."""

    graph: Graph
    opset: int
    dtype: str = "float32"
    nodes: list[Any] = field(default_factory=list)
    initializers: dict[str, Initializer] = field(default_factory=dict)
    flattened: dict[str, Shape] = field(default_factory=dict)
    storage: Storage | None = None
    _places: dict[str, dict[Layout, str]] = field(default_factory=dict)
    _shown: set[str] = field(default_factory=set)
    _named: set[str] = field(default_factory=set)  # of nodes: a runtime refuses a name that two have
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

        A stored value is loaded for each reader anew, which runtimes join with the reader.
        """
        name, storage = self.place(value, layout), self._storage(value)
        return name if storage is None else storage.load(self, name, value)

    def place(self, value: str, layout: Layout) -> str:
        """As `read`, but a stored value as it is stored."""
        places = self._places[value]
        if layout not in places and self.rank(value) == 4:
            (other,) = places.values()
            self.define(value, self._transposed(value, other, layout), layout)
        return places.get(layout) or next(iter(places.values()))

    def _transposed(self, value: str, name: str, layout: Layout) -> str:
        order = TO_NCHW if layout is Layout.NCHW else TO_NHWC
        storage, turned = self._storage(value), f"{value}:{layout}"
        if storage is None:
            return self.node("Transpose", [name], turned, perm=order)
        real = storage.load(self, name, value)
        return storage.store(self, self.node("Transpose", [real], f"{turned}:real", perm=order), value, turned)

    def _storage(self, value: str) -> Storage | None:
        return self.storage if self.storage is not None and self.storage.holds(value) else None

    def scale(self, number: float) -> str:
        """A float32 constant of rank 0; equal ones are one."""
        name = self._scalars.setdefault(float(np.float32(number)), f"scale:{len(self._scalars) + 1}")
        return self.exact_scalar(name, number)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add an ONNX node whose only output (and own name) is ``output``; returns that name.

        The layer that an output is named after keeps its node's name; what makes the output of it has none then.
        """
        self.unnamed(kind, inputs, output, **attributes)
        if output not in self._named:
            self._named.add(output)
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

        made = helper.make_node(kind, list(inputs), list(outputs), name=next(filter(None, outputs)), **attributes)
        self._named.add(made.name)
        self.nodes.append(made)
        for name in filter(None, dict.fromkeys((*inputs, *outputs))):
            self._uses.setdefault(name, []).append(made)

    def cast(self, value: str, output: str, dtype: str) -> str:
        """The value in another type."""
        return self.node("Cast", [value], output, to=onnx_type(dtype))

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
        made = shape or (array.shape if order is None else tuple(array.shape[axis] for axis in order))
        stored = self.storage.weight(self, name, array.shape, order, made) if self.storage is not None else None
        if stored is not None:
            return stored
        if self.dtype == "float16":
            _check_half_range(name, array)
        return self.constant(Initializer(name=name, shape=made, dtype=self.dtype, make=permuted(array, order)))

    def has(self, name: str) -> bool:
        """Whether a node reads or makes this name."""
        return name in self._uses

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
        return self.constant(Initializer(name=name, shape=array.shape, dtype=array.dtype.name, make=lambda: array))

    def constant(self, initializer: Initializer) -> str:
        """Add a constant; the first of a name stands."""
        self.initializers.setdefault(initializer.name, initializer)
        return initializer.name

    def feeds_only_dense(self, node: Node) -> bool:
        """Whether every reader of the node, int8 storage apart, is a dense layer, and the node is no output."""
        from kexport.operations import Dense

        def dense(reader: Node) -> bool:
            if self._storage(reader.name) is not None:
                return self.feeds_only_dense(reader)
            return isinstance(reader.operation, Dense)

        readers = self.graph.consumers[node.name]
        shown = node.name in self.graph.outputs.values()
        return bool(readers) and not shown and all(dense(reader) for reader in readers)


def onnx_type(dtype: str) -> int:
    """ONNX's number of a numpy dtype."""
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


def permuted(array: npt.NDArray[Any], order: Sequence[int] | None) -> Callable[[], npt.NDArray[Any]]:
    """Makes the array with its axes in this order, when it is written."""
    return lambda: array if order is None else array.transpose(order)
