"""ONNX: one file, standard domain only, NCHW inside behind an NHWC input, Keras layer names throughout.

``float16`` stores weights and computes in float16, with float32 inputs and outputs; the final softmax
runs in float32, so that small probabilities are not lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kexport.formats import WrittenFile
from kexport.formats.onnx.emitter import Emitter, Layout
from kexport.formats.onnx.operators.network import emit_node
from kexport.formats.onnx.prepare import prepare
from kexport.formats.onnx.stream import model_bytes, write_model
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activate, Activation
from kexport.records import Signature
from kexport.version import __version__

BATCH_NAME = "batch"
_IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10}
"""The IR version that the ONNX release introducing each opset wrote (onnx/docs/Versioning.md)."""


def write(
    graph: Graph,
    path: Path,
    *,
    opset: int = 18,
    batch: int | None = None,
    scheme: str = "float32",
    metadata: Mapping[str, str] | None = None,
) -> WrittenFile:
    """Write ``graph`` to exactly ``path``; ``batch`` of None keeps the batch axis symbolic.

    Same graph, same options: same bytes. Raises UnsupportedError above 2 GB, and for weights that float16
    cannot hold; nothing is written then.
    """
    emitter = emit(prepare(graph.with_batch(batch)), opset=opset, dtype="float16" if scheme == "float16" else "float32")
    return write_emitted(emitter, path, metadata=metadata)


def float_bytes(graph: Graph, *, opset: int = 18) -> bytes:
    """The float32 file of a graph, in memory, for a session that runs parts of a network."""
    emitter = emit(graph, opset=opset)
    return model_bytes(assemble(emitter), tuple(emitter.initializers.values()))


def emit(graph: Graph, *, opset: int, dtype: str = "float32") -> Emitter:
    """Every node and output of a float graph."""
    emitter = Emitter(graph=graph, opset=opset, dtype=dtype)
    emit_inputs(emitter)
    for node in graph:
        _emit(emitter, node)
    for public, value in graph.outputs.items():
        emit_output(emitter, public, value)
    return emitter


def write_emitted(emitter: Emitter, path: Path, *, metadata: Mapping[str, str] | None = None) -> WrittenFile:
    """Write what the emitter collected; outputs and inputs are float32 and those of its graph."""
    model = assemble(emitter, metadata=metadata)
    operations = dict(sorted(Counter(node.op_type for node in emitter.nodes).items()))
    write_model(model, tuple(emitter.initializers.values()), path)
    return WrittenFile(
        operations=operations,
        inputs=tuple(_signature(spec) for spec in emitter.graph.inputs),
        outputs=tuple(_signature(spec) for spec in emitter.graph.output_specs),
    )


def assemble(emitter: Emitter, *, metadata: Mapping[str, str] | None = None) -> Any:
    """The `onnx.ModelProto` of what the emitter collected, without the initializers."""
    from onnx import helper

    graph = emitter.graph
    proto = helper.make_graph(
        emitter.nodes,
        graph.name,
        [_value_info(spec) for spec in graph.inputs],
        [_value_info(spec) for spec in graph.output_specs],
    )
    model = helper.make_model(
        proto,
        producer_name="kexport",
        producer_version=__version__,
        ir_version=_IR_VERSIONS[emitter.opset],
        opset_imports=[helper.make_opsetid("", emitter.opset)],
    )
    helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    return model


def emit_inputs(emitter: Emitter) -> None:
    """Define the graph's inputs, converted to what the network computes in."""
    for spec in emitter.graph.inputs:
        name = spec.name
        if emitter.dtype != spec.dtype:
            name = emitter.cast(name, f"{name}:{emitter.dtype}", emitter.dtype)
        emitter.define(spec.name, name, Layout.NHWC)


def _emit(emitter: Emitter, node: Node) -> None:
    if emitter.dtype == "float32" or not _is_softmax(emitter, node.name):
        emit_node(emitter, node)
        return
    value = emitter.cast(emitter.read(node.inputs[0], Layout.NHWC), f"{node.name}:float32", "float32")
    exact = emitter.node("Softmax", [value], node.name, axis=-1)
    if emitter.graph.consumers[node.name]:
        exact = emitter.cast(exact, f"{node.name}:float16", "float16")
    emitter.define(node.name, exact, Layout.NHWC)


def emit_output(emitter: Emitter, public: str, value: str) -> None:
    """Show a value as the output ``public``, in the output's own type."""
    dtype = emitter.graph.output_dtypes.get(public, "float32")
    if dtype != "float32":
        emitter.free(public)
        emitter.cast(emitter.read(value, Layout.NHWC), public, dtype)
        return
    is_float32 = emitter.dtype == "float32" or (_is_softmax(emitter, value) and not emitter.graph.consumers[value])
    if not is_float32:
        emitter.free(public)
        emitter.cast(emitter.read(value, Layout.NHWC), public, "float32")
    else:
        emitter.show(value, public)


def _is_softmax(emitter: Emitter, value: str) -> bool:
    node = emitter.graph.producers.get(value)
    operation = node.operation if node else None
    return isinstance(operation, Activate) and operation.function is Activation.SOFTMAX


def _value_info(spec: TensorSpec) -> Any:
    from onnx import helper

    shape = [BATCH_NAME if axis is None else axis for axis in spec.shape]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, shape)


def _signature(spec: TensorSpec) -> Signature:
    return Signature(name=spec.name, shape=spec.shape, dtype=spec.dtype)
