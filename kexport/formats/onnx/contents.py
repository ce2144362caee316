"""What an ONNX file says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from kexport import files
from kexport.formats.onnx.sound import MAX_BYTES
from kexport.records import Signature
from kexport.records.contents import Contents, Weight

_LAST = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_MOVING = {
    "Reshape", "Transpose", "Cast", "Identity", "Flatten", "Squeeze", "Unsqueeze", "QuantizeLinear", "DequantizeLinear",
}  # fmt: skip


def read(path: Path) -> Contents:
    """The contents of a sound file: `kexport.formats.onnx.sound` has looked at it before."""
    import onnx

    model = onnx.load_model_from_string(files.read(path, limit_bytes=MAX_BYTES))
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    makers = {value: node for node in graph.node for value in node.output}
    return Contents(
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=tuple(_signature(value) for value in graph.input if value.name not in constants),
        outputs=tuple(_signature(value) for value in graph.output),
        operations=dict(sorted(Counter(_told(node) for node in graph.node).items())),
        weights=_weights(graph),
        places={_told(node): str(node.output[0]) for node in reversed(graph.node) if node.output},
        ends={value.name: _end(value.name, makers) for value in graph.output},
        metadata={entry.key: entry.value for entry in model.metadata_props},
        opset=next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None),
    )


def _told(node: Any) -> str:
    return str(node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}")


def _signature(value: Any) -> Signature:
    kind = value.type.tensor_type
    shape = tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim)
    return Signature(name=value.name, shape=shape, dtype=dtype_of(kind.elem_type))


def dtype_of(number: int) -> str:
    """The name of an element type, ``unknown`` for none."""
    import onnx

    known: dict[int, str] = {value: name.lower() for name, value in onnx.TensorProto.DataType.items()}
    name = known.get(number, "unknown")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _weights(graph: Any) -> tuple[Weight, ...]:
    readers: dict[str, Any] = {}
    for node in graph.node:
        for value in node.input:
            readers.setdefault(value, node)
    ends: dict[str, str] = {}
    own = [(tensor.name, tensor) for tensor in graph.initializer]
    own += [
        (node.output[0], attribute.t)
        for node in graph.node
        if node.op_type == "Constant" and node.output
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    return tuple(
        Weight(
            name=name,
            layer=_layer(name, readers, ends),
            dtype=dtype_of(tensor.data_type),
            shape=tuple(tensor.dims),
            size_bytes=_size(tensor),
        )
        for name, tensor in own
    )


def _size(tensor: Any) -> int:
    import onnx

    if tensor.raw_data or tensor.data_type not in set(onnx.helper.get_all_tensor_dtypes()):
        return len(tensor.raw_data)
    return int(prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _layer(name: str, readers: Mapping[str, Any], ends: dict[str, str]) -> str:
    """What the first node makes that does more with the constant than converting or moving it.

    ``ends`` keeps what was found of each value on the way: constants that share a way do not each go all of it.
    """
    way: list[str] = []
    while name not in ends:
        ends[name] = name  # ends a circle
        way.append(name)
        node = readers.get(name)
        if node is None or not node.output:
            break
        name = node.output[0]
        if node.op_type not in _MOVING:
            break
    else:
        name = ends[name]
    ends.update(dict.fromkeys(way, name))
    return name


def _end(name: str, makers: Mapping[str, Any]) -> str:
    seen: set[str] = set()
    while (node := makers.get(name)) is not None and node.op_type in _MOVING and node.input and name not in seen:
        seen.add(name)
        name = node.input[0]
    return _LAST.get(node.op_type, "") if node is not None else ""
