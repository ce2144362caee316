"""What a TFLite file computes and moves, from its operators and the shapes that its tensors have at the time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from kexport.formats.places import knows_layers, layer_of
from kexport.formats.tflite import parts
from kexport.formats.work import Step, works
from kexport.records import Work

Shape = tuple[int, ...]
Shapes = Mapping[int, Shape]


def work(model: Any, shapes: Shapes) -> tuple[Work, ...]:
    """Of a model that `parts.read` gave; ``shapes`` of all its tensors by their numbers."""
    graph = model.subgraphs[0]
    sizes = {str(index): int(prod(shape) * _bytes(graph.tensors[index].type)) for index, shape in shapes.items()
             if index < len(graph.tensors)}  # fmt: skip
    return works(_steps(model, shapes), sizes, {str(index) for index in graph.outputs})


def known_values(model: Any) -> frozenset[str] | None:
    """The tensors of kexport's own file, which are called as layers; None for a file of another maker."""
    if not knows_layers(bytes(model.description or b"").decode(errors="replace")):
        return None
    return frozenset(parts.called(tensor) for tensor in model.subgraphs[0].tensors)


def place_of(made: str, known: Collection[str] | None) -> str:
    """The Keras layer of what an operator makes; in a file of another maker that itself."""
    return made if known is None else layer_of(made, known)


def _steps(model: Any, shapes: Shapes) -> Iterator[Step]:
    known, graph = known_values(model), model.subgraphs[0]
    for each in parts.operators(model):
        operator = graph.operators[each.place]
        given = parts.inputs(model, each.place)
        inputs = [int(value) for value in operator.inputs if value >= 0]
        outputs = [int(value) for value in operator.outputs if value >= 0]
        constants = parts.constants(model, each.place)
        count = _COUNTS.get(each.kind)
        yield Step(
            place=place_of(each.makes, known),
            reads=tuple(map(str, given)),
            makes=tuple(map(str, outputs)),
            constants={str(value): size for value, size in constants.items()},
            macs=0 if count is None else count(operator, inputs, outputs, shapes),
            integers=count is not None and all(_is_integer(graph.tensors[value]) for value in (given[0], outputs[0])),
        )


def _is_integer(tensor: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    return tensor.type in (schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT16)


def _bytes(kind: int) -> float:
    from kexport.formats.tflite.contents import type_name

    widths = {"int4": 0.5, "int8": 1, "uint8": 1, "bool": 1, "int16": 2, "float16": 2, "int64": 8, "float64": 8}
    return float(widths.get(type_name(kind), 4))


def _convolution(_: Any, inputs: Sequence[int], outputs: Sequence[int], shapes: Shapes) -> int:
    return prod(shapes[outputs[0]]) * prod(shapes[inputs[1]][1:])


def _depthwise(_: Any, inputs: Sequence[int], outputs: Sequence[int], shapes: Shapes) -> int:
    return prod(shapes[outputs[0]]) * prod(shapes[inputs[1]][1:3])


def _dense(_: Any, inputs: Sequence[int], outputs: Sequence[int], shapes: Shapes) -> int:
    return prod(shapes[outputs[0]]) * shapes[inputs[1]][-1]


def _transposed(_: Any, inputs: Sequence[int], __: Sequence[int], shapes: Shapes) -> int:
    return prod(shapes[inputs[2]]) * prod(shapes[inputs[1]][:3])


def _product(operator: Any, inputs: Sequence[int], outputs: Sequence[int], shapes: Shapes) -> int:
    turned = operator.builtinOptions is not None and operator.builtinOptions.adjX
    return prod(shapes[outputs[0]]) * shapes[inputs[0]][-2 if turned else -1]


_COUNTS: Mapping[str, Callable[[Any, Sequence[int], Sequence[int], Shapes], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transposed,
    "BATCH_MATMUL": _product,
}
