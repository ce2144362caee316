"""tf2onnx: the independent converter for ONNX, for layers that the graph does not know and as a referee.

What it is known to get wrong is repaired where the repair is exact, and refused otherwise (tf2onnx 1.17):

* tensors that the traced function captures (mean and deviation of a Normalization layer) become graph
  inputs: they are constants, bound as initializers where a node reads them and dropped where none does;
* functions that TensorFlow compiles with XLA (grouped convolutions) stay as nodes of no known domain, and
  ``Erfc`` (exact GELU) has no lowering: such a file loads nowhere. Both are refused before the conversion.

Its optimizer copies the whole graph, weights included, before each of its steps, so that it can go back
when a step raises. That is most of its time and memory; here the steps first run without going back, and
the copying optimizer runs only where a step raises (MobileNetV3: transposes of a scalar).
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kexport.errors import ArtifactError, UnsupportedError
from kexport.formats.onnx.stream import PROTOBUF_LIMIT
from kexport.formats.savedmodel.writer import complete_or_absent, serving_function, signatures, tensor_specs
from kexport.records import Signature, WrittenFile
from kexport.registry import Engine, Scheme
from kexport.sources import backend

if TYPE_CHECKING:
    from kexport.specs import Cell

_CATCH_ERRORS = "TF2ONNX_CATCH_ERRORS"
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_STEP_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError)
_HINT = "--engine native"


def convert(
    model: Any,
    path: Path,
    *,
    opset: int = 18,
    batch: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> WrittenFile:
    """Convert ``model`` to float32 ONNX at exactly ``path``; input ``input`` NHWC, output ``output``.

    Raises UnsupportedError for operations without ONNX counterpart and for files above 2 GB, ArtifactError
    where the result is invalid or its signature is not the model's. A bad file is never left at ``path``.
    """
    inputs, outputs = signatures(model, batch=batch)
    with _quiet():
        proto, captured = _convert(model, inputs, opset=opset)
    _bind_captured(proto, captured, public={spec.name for spec in inputs})
    _check_operations(proto, model.name)
    _check_signature(proto, model.name, inputs=inputs, outputs=outputs)
    _name_batch_axis(proto, batch)
    for key, value in sorted((metadata or {}).items()):
        proto.metadata_props.add(key=key, value=value)
    if proto.ByteSize() > PROTOBUF_LIMIT:
        raise UnsupportedError(f"tf2onnx: the ONNX file of {model.name} would have {proto.ByteSize() / 1e9:.2f} GB")
    with complete_or_absent(path):
        path.write_bytes(proto.SerializeToString(deterministic=True))
        _check_file(path)
    counts = Counter(node.op_type for node in proto.graph.node)
    return WrittenFile(operations=dict(sorted(counts.items())), inputs=inputs, outputs=outputs)


def _convert(model: Any, inputs: tuple[Signature, ...], *, opset: int) -> tuple[Any, dict[str, Any]]:
    """The ONNX model, and the values of captured tensors by the name of their graph input."""
    import tensorflow as tf

    function = tf.function(serving_function(model), autograph=False, input_signature=tensor_specs(inputs))
    concrete = function.get_concrete_function()
    _check_convertible(concrete.graph, model.name)
    captured = {
        inner.name: outer.numpy() for outer, inner in concrete.graph.captures if outer.dtype != tf.dtypes.resource
    }
    try:
        proto = _run(function, tensor_specs(inputs), opset=opset, go_back="FALSE")
    except _STEP_ERRORS:
        proto = _run(function, tensor_specs(inputs), opset=opset, go_back="TRUE")
    return proto, captured


def _check_convertible(graph: Any, name: str) -> None:
    """Raise UnsupportedError for what tf2onnx is known to leave behind, before minutes are spent on it."""
    described = graph.as_graph_def()
    functions = {function.signature.name: function for function in described.library.function}
    waiting, entered = [described.node], set()
    while waiting:
        for node in waiting.pop():
            called = node.attr["f"].func.name if node.op.endswith("PartitionedCall") else ""
            xla = bool(called) and "_XlaMustCompile" in functions[called].attr
            if xla or node.op == "Erfc":
                what = "a function compiled with XLA (a grouped convolution)" if xla else "Erfc (an exact GELU)"
                raise UnsupportedError(f"tf2onnx cannot convert {name}: {node.name!r} is {what}", hint=_HINT)
            if called and called not in entered:
                entered.add(called)
                waiting.append(functions[called].node_def)


def _run(function: Any, specs: list[Any], *, opset: int, go_back: str) -> Any:
    from tf2onnx import convert as tf2onnx_convert

    os.environ[_CATCH_ERRORS] = go_back
    try:
        proto, _ = tf2onnx_convert.from_function(function, input_signature=specs, opset=opset)
    except _STEP_ERRORS as error:
        if go_back == "FALSE":
            raise
        raise UnsupportedError(f"tf2onnx cannot convert the model: {error}", hint=_HINT) from error
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """tf2onnx sets environment variables and logs through its own and TensorFlow's loggers; all is put back."""
    before = {name: os.environ.get(name) for name in (_CATCH_ERRORS, _LOG_LEVEL)}
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _bind_captured(proto: Any, captured: dict[str, Any], *, public: set[str]) -> None:
    from onnx import numpy_helper

    read = {name for node in proto.graph.node for name in node.input}
    for extra in [value for value in proto.graph.input if value.name not in public]:
        if extra.name not in captured:
            raise ArtifactError(
                f"tf2onnx made {extra.name!r} an input of the file, and it is no constant of the model", hint=_HINT
            )
        if extra.name in read:
            proto.graph.initializer.append(numpy_helper.from_array(captured[extra.name], extra.name))
        proto.graph.input.remove(extra)


def _check_operations(proto: Any, name: str) -> None:
    from onnx import defs

    opset = next(item.version for item in proto.opset_import if item.domain in ("", "ai.onnx"))
    foreign = [node for node in proto.graph.node if not _known(defs, node, opset)]
    if foreign:
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(node.op_type for node in foreign).items())
        raise UnsupportedError(
            f"tf2onnx leaves operations of {name} that ONNX does not have: {kinds}; first {foreign[0].name!r}",
            hint=_HINT,
        )


def _known(defs: Any, node: Any, opset: int) -> bool:
    return node.domain in ("", "ai.onnx") and bool(defs.has(node.op_type, opset))


def _check_signature(proto: Any, name: str, *, inputs: tuple[Signature, ...], outputs: tuple[Signature, ...]) -> None:
    """Names, types and sizes are the model's. A size that tf2onnx leaves open is stated as the model has it."""
    for kind, wanted, values in (("inputs", inputs, proto.graph.input), ("outputs", outputs, proto.graph.output)):
        found = tuple(_signature(value) for value in values)
        if len(found) != len(wanted) or not all(map(_fits, found, wanted)):
            raise ArtifactError(f"tf2onnx: the {kind} of {name} became {found}, expected {wanted}", hint=_HINT)
        for value, spec in zip(values, wanted, strict=True):
            _state_sizes(value, spec)


def _fits(found: Signature, wanted: Signature) -> bool:
    """Whether a signature is the wanted one where it says something; the batch is never left open by accident."""
    return (found.name, found.dtype, len(found.shape)) == (wanted.name, wanted.dtype, len(wanted.shape)) and all(
        size in (None, expected) for size, expected in zip(found.shape, wanted.shape, strict=True)
    )


def _state_sizes(value: Any, spec: Signature) -> None:
    for axis, size in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
        if size is not None and not axis.HasField("dim_value"):
            axis.dim_value = size


def _signature(value: Any) -> Signature:
    from onnx import helper

    tensor = value.type.tensor_type
    sizes = tuple(int(axis.dim_value) if axis.HasField("dim_value") else None for axis in tensor.shape.dim)
    return Signature(name=value.name, shape=sizes, dtype=str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def _name_batch_axis(proto: Any, batch: int | None) -> None:
    """A symbolic batch axis is called ``batch``, as in the native files."""
    if batch is None:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _check_file(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArtifactError(f"tf2onnx wrote an invalid ONNX file: {error}", hint=_HINT) from error


def _write(model: Any, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    return convert(model, path, opset=cell.opset, batch=cell.batch, metadata=metadata)


def lacks() -> str:
    """Why it cannot work here: it reads what TensorFlow has traced."""
    return backend.without_tensorflow("the engine tf2onnx")


ENGINE = Engine(name="tf2onnx", schemes=(Scheme.FLOAT32,), write=_write, from_model=True, weight_copies=50, lacks=lacks)
