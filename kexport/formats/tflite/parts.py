"""A TFLite file cut into one file per operator, each of which runs alone: LiteRT's Python package has no profiler.

A part has the tensors of its operator alone, with their quantization; its inputs are those that the file computes or
is given, in the operator's order, each once; its outputs are the operator's; constants keep their bytes. Operators that
read only constants (a kernel is stored in int8 and made float) run once, when a file is opened, not with every image:
they are no parts, and go along with the operators that read them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats.tflite.contents import operator_name

ALIGNMENT = 16  # of constants, as the runtime's kernels want them
IDENTIFIER = b"TFL3"
ABSENT = -1  # index of an optional input that is not there
FEW = 8  # numbers of an almost empty file
SMALL = 64  # integers without a scale up to this number are settings: axes, paddings, shapes


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator of a file. Those of equal ``identity`` do the same work, on other numbers.

    ``makes`` is the name of the tensor that it computes, ``kind`` that of its operator in the schema.
    """

    place: int
    name: str
    kind: str
    makes: str
    identity: str
    in_float: bool


def read(path: Path) -> Any:
    """The file at ``path`` as the schema's ModelT; constants are views of its bytes.

    Raises UnsupportedError for several graphs, and for constants that lie behind the flatbuffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    if len(model.subgraphs) != 1:
        raise UnsupportedError(
            f"{path.name} has {len(model.subgraphs)} subgraphs, expected 1: a part has no other to call"
        )
    if any(each.offset > 1 for each in model.buffers):
        raise UnsupportedError(f"{path.name} keeps constants outside its flatbuffer, as files over 2 GiB do")
    return model


def operators(model: Any) -> tuple[Operator, ...]:
    """Every operator that runs with every inference, in the order of the file."""
    prepared = _prepared(model)
    never, count = set(prepared.values()), len(model.subgraphs[0].operators)
    return tuple(_operator(model, place, prepared) for place in range(count) if place not in never)


def cut(model: Any, place: int) -> bytes:
    """The file that holds only the operator at ``place``, and what prepares constants for it."""
    places = [*_preparing(model, place), place]
    return _part(model, places, inputs(model, place), model.subgraphs[0].operators[place].outputs)


def cut_layer(model: Any, made: int, border: Collection[int]) -> tuple[bytes, tuple[int, ...]]:
    """The file between tensors of the ``border``, or inputs, and the tensor ``made``; and which of them it is given."""
    operators = model.subgraphs[0].operators
    makers = {int(value): place for place, each in enumerate(operators) for value in each.outputs}
    given: dict[int, None] = {}
    pending, places = [made], set()
    while pending:
        value = pending.pop()
        place = makers.get(value)
        if value != made and (value in border or place is None):
            given.update({value: None} if _constant(model, value) is None else {})
        elif place is not None and place not in places:
            places.add(place)
            pending += _present(operators[place].inputs)
    return _part(model, sorted(places), tuple(given), [made]), tuple(given)


def _part(model: Any, places: Sequence[int], given: Sequence[int], made: Sequence[int]) -> bytes:
    """The file of the operators at ``places``."""
    from ai_edge_litert import schema_py_generated as schema

    source = model.subgraphs[0]
    chosen = [source.operators[each] for each in places]
    used = list(dict.fromkeys(value for each in chosen for value in _present([*each.inputs, *each.outputs])))
    numbers = {old: new for new, old in enumerate(used)} | {ABSENT: ABSENT}
    graph = schema.SubGraphT()
    graph.name = "part"
    graph.tensors = [_copy(schema.TensorT, source.tensors[old], buffer=1 + new) for new, old in enumerate(used)]
    graph.inputs = [numbers[value] for value in given]
    graph.outputs = [numbers[value] for value in made]
    graph.operators = [_renumbered(each, code, numbers) for code, each in enumerate(chosen)]
    part = schema.ModelT()
    part.version, part.subgraphs = model.version, [graph]
    part.operatorCodes = [model.operatorCodes[each.opcodeIndex] for each in chosen]
    part.buffers = [schema.BufferT(), *(_Buffer(schema=schema, data=_constant(model, value)) for value in used)]
    return packed(part)


def inputs(model: Any, place: int) -> tuple[int, ...]:
    """The tensors of the file that the part of the operator at ``place`` is given, in its order."""
    return _given(model, place, _prepared(model))


def _given(model: Any, place: int, prepared: Mapping[int, int]) -> tuple[int, ...]:
    values = dict.fromkeys(_present(model.subgraphs[0].operators[place].inputs))
    return tuple(value for value in values if _constant(model, value) is None and value not in prepared)


def constants(model: Any, place: int) -> dict[int, int]:
    """The constants that the operator at ``place`` reads, directly or prepared, with their bytes in the file."""
    read = {
        value
        for each in (*_preparing(model, place), place)
        for value in _present(model.subgraphs[0].operators[each].inputs)
    }
    found = ((value, _constant(model, value)) for value in sorted(read))
    return {value: len(data) for value, data in found if data is not None}


def empty() -> bytes:
    """A file of one operator that does next to nothing: the absolute values of a few numbers."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph, code, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ABS
    code.version = 1
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.tensors = [_few(schema), _few(schema)]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return packed(model)


def _few(schema: Any) -> Any:
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = [1, FEW], schema.TensorType.FLOAT32, 0
    return tensor


def called(tensor: Any) -> str:
    """The name of a tensor."""
    return bytes(tensor.name or b"").decode(errors="replace")


def packed(model: Any) -> bytes:
    """A ModelT as the bytes of a file."""
    import flatbuffers

    constants = sum(len(each.data) for each in model.buffers if each.data is not None)
    builder = flatbuffers.Builder(constants + (1 << 12))
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


@dataclass(frozen=True, kw_only=True)
class _Buffer:
    """A table Buffer in place of the schema's own class, which does not align the constant's bytes."""

    schema: Any
    data: Any

    def Pack(self, builder: Any) -> int:  # noqa: N802 - as the schema's tables call it
        place = None if self.data is None else self._vector(builder)
        self.schema.BufferStart(builder)
        if place is not None:
            self.schema.BufferAddData(builder, place)
        return int(self.schema.BufferEnd(builder))

    def _vector(self, builder: Any) -> int:
        builder.StartVector(1, len(self.data), ALIGNMENT)
        builder.head = builder.Head() - len(self.data)
        builder.Bytes[builder.Head() : builder.Head() + len(self.data)] = self.data.tobytes()
        return int(builder.EndVector())


def _prepared(model: Any) -> dict[int, int]:
    """Tensors that are computed of constants alone -> the place of their operator."""
    found: dict[int, int] = {}
    for place, operator in enumerate(model.subgraphs[0].operators):
        if all(_constant(model, value) is not None or value in found for value in _present(operator.inputs)):
            found |= dict.fromkeys(_present(operator.outputs), place)
    return found


def _preparing(model: Any, place: int) -> list[int]:
    """The operators that compute constants for the one at ``place``, in the order of the file."""
    needed: set[int] = set()
    prepared, pending = _prepared(model), [place]
    while pending:
        read = _present(model.subgraphs[0].operators[pending.pop()].inputs)
        makers = {prepared[value] for value in read if value in prepared} - needed
        needed |= makers
        pending += makers
    return sorted(needed)


def _renumbered(operator: Any, code: int, numbers: Mapping[int, int]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    read, made = ([numbers[int(value)] for value in values] for values in (operator.inputs, operator.outputs))
    return _copy(schema.OperatorT, operator, opcodeIndex=code, inputs=read, outputs=made)


def _operator(model: Any, place: int, prepared: Mapping[int, int]) -> Operator:
    operator, tensors = model.subgraphs[0].operators[place], model.subgraphs[0].tensors
    code = model.operatorCodes[operator.opcodeIndex]
    kernel = tensors[operator.inputs[1]] if len(operator.inputs) > 1 else None
    options = sorted(vars(operator.builtinOptions).items()) if operator.builtinOptions else []
    sides = [[_described(model, value) for value in values] for values in (operator.inputs, operator.outputs)]
    kind, custom, given = _kind(code), operator.customOptions, _given(model, place, prepared)
    name = _name(kind, kernel)
    return Operator(
        place=place,
        name=name,
        kind=kind,
        makes=called(tensors[operator.outputs[0]]) if len(operator.outputs) else "",
        identity=repr((name, code.version, options, custom, sides, [list(operator.inputs).index(v) for v in given])),
        in_float=all(_is_float(tensors[values[0]]) for values in (operator.inputs, operator.outputs)),
    )


def _kind(code: Any) -> str:
    """The operator's name in the schema."""
    name = operator_name(max(code.builtinCode, code.deprecatedBuiltinCode))
    return f"custom:{bytes(code.customCode or b'').decode(errors='replace')}" if name == "CUSTOM" else name


def _name(kind: str, kernel: Any) -> str:
    """Convolutions by the size of the kernel."""
    if kind != "CONV_2D":
        return kind
    return f"{kind} 1 x 1" if tuple(kernel.shape[1:3]) == (1, 1) else f"{kind} other"


def _described(model: Any, value: int) -> tuple[Any, ...]:
    """What decides how much work a tensor makes: shape, type, kind of quantization, and settings by their numbers."""
    if value == ABSENT:
        return ()
    tensor, constant = model.subgraphs[0].tensors[value], _constant(model, value)
    scales = 0 if tensor.quantization is None or tensor.quantization.scale is None else len(tensor.quantization.scale)
    shape = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
    is_setting = constant is not None and not scales and not _is_float(tensor) and np.prod(shape, dtype=int) <= SMALL
    return shape, tensor.type, min(scales, 2), constant is not None, constant.tobytes() if is_setting else b""


def _constant(model: Any, value: int) -> Any:
    """The bytes of a constant; None for what the file computes or is given."""
    data = model.buffers[model.subgraphs[0].tensors[value].buffer].data
    return data if data is not None and len(data) else None


def _is_float(tensor: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    return tensor.type in (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)


def _present(values: Sequence[int]) -> list[int]:
    return [int(value) for value in values if value != ABSENT]


def _copy(kind: Any, source: Any, **changes: Any) -> Any:
    """A table with some fields changed; the others are shared with the source."""
    made = kind()
    vars(made).update(vars(source) | changes)
    return made
