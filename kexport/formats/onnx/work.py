"""What an ONNX file computes and moves, from its nodes and the shapes that ONNX infers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from kexport.formats.places import knows_layers, layer_of
from kexport.formats.work import Step, works
from kexport.records import Work

Shape = tuple[int, ...]
_LARGE = 1024
_KERNEL = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_MATRICES = {"MatMul": 1, "MatMulInteger": 1, "Gemm": 1, "QLinearMatMul": 3}
_INTEGERS = {"ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul"}


def work(model: Any, shapes: Mapping[str, Sequence[int]]) -> tuple[Work, ...]:
    """Of a model that was read, for inputs of these shapes. Its large constants are emptied: only shapes are read."""
    sizes = {each.name: _stored(each) for each in model.graph.initializer}
    return _File(_inferred(model, shapes), sizes).works()


def place_of(node: Any, known: Collection[str] | None) -> str:
    """The Keras layer of a node of kexport's own file, whose values are ``known``; in others (None) its own name."""
    called = str(node.name or next(iter(node.output), ""))
    return called if known is None else layer_of(called, known)


def known_values(model: Any) -> frozenset[str] | None:
    """The values of kexport's own file; None for a file of another maker."""
    made = (name for node in model.graph.node for name in node.output)
    return frozenset(made) if knows_layers(model.producer_name) else None


def _stored(tensor: Any) -> int:
    return len(tensor.raw_data) or int(prod(tensor.dims) * _bytes(tensor.data_type))


def _bytes(kind: int) -> float:
    import onnx

    name = onnx.TensorProto.DataType.Name(kind)
    if name in ("INT4", "UINT4", "FLOAT4E2M1"):
        return 0.5
    try:
        return float(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except KeyError:
        return 0.0


def _inferred(model: Any, shapes: Mapping[str, Sequence[int]]) -> Any:
    import onnx

    for tensor in model.graph.initializer:
        if prod(tensor.dims) > _LARGE:
            tensor.ClearField("raw_data")
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        for axis, size in zip(axes, shapes.get(value.name, ()), strict=False):
            axis.dim_value = axis.dim_value or size
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


class _File:
    """The nodes of one graph, with what is known of their values."""

    def __init__(self, model: Any, stored: Mapping[str, int]) -> None:
        graph = model.graph
        self._known = known_values(model)
        self._nodes = list(graph.node)
        self._outputs = {value.name for value in graph.output}
        self._constants: dict[str, dict[str, int]] = {name: {name: size} for name, size in stored.items()}
        known = [*graph.input, *graph.value_info, *graph.output]
        self._types = {value.name: value.type.tensor_type for value in known}
        self._shapes = {name: _shape(kind) for name, kind in self._types.items()}
        self._shapes.update({each.name: tuple(each.dims) for each in graph.initializer})
        self._makers = {value: node for node in self._nodes for value in node.output}

    def works(self) -> tuple[Work, ...]:
        """All places."""
        sizes = {
            name: int(prod(self._shapes[name]) * _bytes(kind.elem_type)) for name, kind in self._types.items()
        }  # fmt: skip
        return works(self._steps(), sizes, self._outputs)

    def _steps(self) -> Iterator[Step]:
        for node in self._nodes:
            inputs = [name for name in node.input if name]
            if all(name in self._constants for name in inputs):  # computed once, when the file is loaded
                merged = {key: size for name in inputs for key, size in self._constants[name].items()}
                self._constants.update({name: merged or {name: _attribute(node)} for name in node.output})
                continue
            if node.op_type == "DequantizeLinear" and node.input[0] not in self._constants:
                continue  # what reads it reads the integers
            yield Step(
                place=place_of(node, self._known),
                reads=tuple(self._read(name) for name in inputs if name not in self._constants),
                makes=tuple(filter(None, node.output)),
                constants={key: size for name in inputs for key, size in self._constants.get(name, {}).items()},
                macs=self._macs(node),
                integers=node.op_type in _INTEGERS or all(self._is_integer(name) for name in node.input[:2]),
            )

    def _read(self, name: str) -> str:
        """The value as it is stored."""
        maker = self._makers.get(name)
        return str(maker.input[0]) if maker is not None and maker.op_type == "DequantizeLinear" else name

    def _is_integer(self, name: str) -> bool:
        maker = self._makers.get(name)
        return maker is not None and maker.op_type == "DequantizeLinear"

    def _macs(self, node: Any) -> int:
        count = _COUNTS.get(node.op_type)
        needed = [self._shapes.get(name) for name in (*node.input, node.output[0])]
        return count(node, self._shapes) if count is not None and None not in needed else 0


def _shape(kind: Any) -> Shape:
    return tuple(axis.dim_value for axis in kind.shape.dim)


def _attribute(node: Any) -> int:
    """The bytes of a Constant's value."""
    return sum(_stored(each.t) for each in node.attribute if each.HasField("t"))


def _convolution(node: Any, shapes: Mapping[str, Shape]) -> int:
    kernel = shapes[node.input[_KERNEL[node.op_type]]]
    return prod(shapes[node.output[0]]) * prod(kernel[1:])


def _transposed(node: Any, shapes: Mapping[str, Shape]) -> int:
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _product(node: Any, shapes: Mapping[str, Shape]) -> int:
    second = shapes[node.input[_MATRICES[node.op_type]]]
    turned = any(each.name == "transB" and each.i for each in node.attribute)
    return prod(shapes[node.output[0]]) * (second[-1] if turned or len(second) == 1 else second[-2])


_COUNTS: Mapping[str, Callable[[Any, Mapping[str, Shape]], int]] = {
    **dict.fromkeys(_KERNEL, _convolution),
    **dict.fromkeys(_MATRICES, _product),
    "ConvTranspose": _transposed,
}
