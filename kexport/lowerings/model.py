"""Step: a Keras model becomes a graph. Walks functional and sequential models, nested ones too."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np

from kexport.errors import UnsupportedError
from kexport.graph import Graph, TensorSpec
from kexport.lowerings import Builder, Lowering, Value, lowering_of, quantized, registered, require, weights
from kexport.lowerings.masks import carried_by, masks_of, symbolic
from kexport.lowerings.trace import BATCH, at_inference, traced, without_batch
from kexport.operations import Filled, Shape
from kexport.sources.keras_walk import functional, input_names, ordered_calls, output_names


def lower_model(model: Any) -> Graph:
    """The graph of a built Keras model: float32, channels last, static image size, symbolic batch.

    One input is called ``input`` and one output ``output``; several keep the names of `keras_walk`.
    Raises UnsupportedError with the layer's name and class where the graph cannot express it.
    """
    function = _function(model)
    build = Builder()
    inputs = [
        TensorSpec(name=name, shape=_static(tensor), dtype=_input_dtype(tensor))
        for name, tensor in zip(input_names(model), function.inputs, strict=True)
    ]
    build.taken.update(spec.name for spec in inputs)
    results = _walk(build, function, [Value(name=spec.name, shape=spec.shape) for spec in inputs], prefix="")
    outputs = {name: value.name for name, value in zip(output_names(model), results, strict=True)}
    alone = [name for name, value in zip(outputs, results, strict=True) if value.copies != 1]
    if alone:
        raise UnsupportedError(f"output {alone[0]!r} has another batch than the input")
    shown = {name: _dtype(tensor) for name, tensor in zip(outputs, function.outputs, strict=True)}
    return Graph(
        name=model.name,
        inputs=tuple(inputs),
        nodes=tuple(build.nodes),
        outputs=outputs,
        output_dtypes={name: dtype for name, dtype in shown.items() if dtype != "float32"},
    )


def _function(model: Any) -> Any:
    function = functional(model)
    if function is None:
        raise UnsupportedError(
            f"model {model.name!r} is a {type(model).__name__} without a static graph of layers",
            hint="build the model with the functional API or keras.Sequential, or use --engine tf2onnx",
        )
    return function


def _static(tensor: Any) -> Shape:
    shape = tuple(tensor.shape)
    if None in shape[1:]:
        raise UnsupportedError(
            f"input {tensor.name!r} has the open size {shape}; an artifact needs a fixed one",
            hint="--input-shape 224,224,3",
        )
    return shape


INPUT_DTYPES = ("float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
SMALL_INTEGERS = frozenset({"uint8", "int8", "uint16", "int16", "uint32"})
WRAPPING = frozenset(
    {"Add", "Subtract", "Multiply", "Negative", "Sum", "Prod", "Power", "Square", "Absolute", "Abs", "FloorDivide"}
)
"""Operations whose result in small integers may pass the ends of their type, and begins again at the other end."""


def _dtype(tensor: Any) -> str:
    import keras

    return str(keras.backend.standardize_dtype(tensor.dtype))


def _input_dtype(tensor: Any) -> str:
    dtype = _dtype(tensor)
    if dtype not in INPUT_DTYPES:
        raise UnsupportedError(f"input {tensor.name!r} is {dtype}; the native graph takes {', '.join(INPUT_DTYPES)}")
    return dtype


def _check_dtypes(operation: Any, tensors: Sequence[Any]) -> None:
    """Values are float32, which holds truth values and whole numbers as they are, but nothing coarser or wrapping."""
    kind = type(operation).__name__
    for tensor in tensors:
        dtype = _dtype(tensor)
        if dtype in ("float16", "bfloat16") or dtype.startswith(("complex", "string")):
            raise UnsupportedError(f"{operation.name!r} ({kind}) computes in {dtype}; the native graph is float32")
        if dtype in SMALL_INTEGERS and kind in WRAPPING:
            raise UnsupportedError(f"{operation.name!r} ({kind}) computes in {dtype}, which the native graph does not")


def _walk(build: Builder, function: Any, inputs: Sequence[Value], prefix: str) -> list[Value]:
    known = {id(tensor): value for tensor, value in zip(function.inputs, inputs, strict=True)}
    for node in ordered_calls(function):
        if all(id(tensor) in known for tensor in node.input_tensors):
            results = _lower_call(build, node, known, prefix)
            known.update((id(tensor), value) for tensor, value in zip(node.outputs, results, strict=True))
    return [known[id(tensor)] for tensor in function.outputs]


def _lower_call(build: Builder, node: Any, known: dict[int, Value], prefix: str) -> list[Value]:
    operation = node.operation
    nested = functional(operation)
    _refuse_precision(operation)
    masks = masks_of(node)
    for mask in symbolic(masks):
        _lower_tensor(build, mask, known, prefix)
    if nested is not None:
        require(not masks, operation, "a mask for a nested model")
        values = [known[id(tensor)] for tensor in node.input_tensors]
        return _walk(build, nested, values, prefix=f"{prefix}{operation.name}/")
    build.layer = f"{prefix}{operation.name}"
    mark = len(build.nodes)
    try:
        return _lowered(build, node, known, masks)
    except UnsupportedError as refusal:
        if not isinstance(operation, _layer_class()):
            raise
        build.forget(mark)
        for mask in carried_by(node):
            _lower_tensor(build, mask, known, prefix)
        try:
            return _traced(build, node, known, prefix, masks)
        except UnsupportedError as error:
            raise _worse(operation, refusal, error) from error


def _worse(operation: Any, refusal: UnsupportedError, error: UnsupportedError) -> UnsupportedError:
    """Why neither the lowering of a layer nor its own code goes: the first where there is a lowering."""
    if registered(operation):
        return refusal
    mode = quantized(operation)
    if not mode:
        return error
    return UnsupportedError(
        f"layer {operation.name!r} ({type(operation).__name__}) is quantized by Keras to {mode}, which the native "
        f"graph does not know: {error.message}",
        hint="export the model as it was before model.quantize, with --schemes int8",
    )


def _constant(build: Builder, result: Any, like: Value) -> Value:
    """What a layer returns whatever it gets: one row, for each of the batch."""
    array = weights(result)
    once = without_batch(array, array.ndim)
    if array.ndim < 2 or len(once) != 1:
        raise UnsupportedError(f"layer {build.layer!r} returns a constant of shape {array.shape}")
    return build.emit(Filled(constant=np.ascontiguousarray(once[0])), like)


def lower_layer(build: Builder, layer: Any, value: Value) -> Value:
    """A layer inside of another one, applied to one value."""
    import keras

    with at_inference(layer):
        inner = keras.Input(batch_shape=(BATCH * value.copies, *value.shape[1:]))
        function = keras.Function([inner], [layer(inner)])
    outer = build.layer
    (result,) = _walk(build, function, [value], prefix=f"{outer}/")
    build.layer = outer
    return result


def _layer_class() -> Any:
    import keras

    return keras.layers.Layer


def _lowered(build: Builder, node: Any, known: dict[int, Value], masks: dict[str, Any]) -> list[Value]:
    """The results of the lowering that is registered for the class of the operation."""
    operation = node.operation
    args, kwargs = node.arguments.fill_in(known)
    lowering = lowering_of(operation)
    takes = masks and set(masks) <= set(signature(lowering).parameters)
    require(takes or not masks, operation, "a mask")
    _check_dtypes(operation, node.outputs)
    build.stated = tuple(tuple(tensor.shape) for tensor in node.outputs)
    filled = {name: known.get(id(mask), mask) for name, mask in masks.items()}
    result = lowering(build, operation, *args, **{**_options(operation, lowering, kwargs), **filled})
    results = list(result) if isinstance(result, (list, tuple)) else [result]
    _check_shapes(operation, node.outputs, results)
    return results


def _traced(build: Builder, node: Any, known: dict[int, Value], prefix: str, masks: dict[str, Any]) -> list[Value]:
    """The results of what the layer's own code does."""
    function, values, stated = traced(node, known, masks)
    computed = _walk(build, function, values, prefix=f"{prefix}{node.operation.name}/") if function else []
    rest = iter(computed)
    build.layer = f"{prefix}{node.operation.name}"
    results = [next(rest) if each is None else _constant(build, each, values[0]) for each in stated]
    _check_shapes(node.operation, node.outputs, results)
    return results


def _lower_tensor(build: Builder, tensor: Any, known: dict[int, Value], prefix: str) -> None:
    """What a tensor is computed by that no call of the model names: a mask comes with the tensor that it is for."""
    if id(tensor) in known:
        return
    history = tensor._keras_history  # noqa: SLF001 - what made a tensor
    node = history.operation._inbound_nodes[history.node_index]  # noqa: SLF001
    for each in node.input_tensors:
        _lower_tensor(build, each, known, prefix)
    results = _lower_call(build, node, known, prefix)
    known.update((id(made), value) for made, value in zip(node.outputs, results, strict=True))


def _refuse_precision(operation: Any) -> None:
    policy = getattr(operation, "compute_dtype", "float32")
    if policy != "float32":
        raise UnsupportedError(f"layer {operation.name!r} computes in {policy}; the native graph is float32")


def _options(operation: Any, lowering: Lowering, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The call's keywords that the lowering takes by name; raises UnsupportedError for any other with a value."""
    known = signature(lowering).parameters
    looked_at_in_training = ("training", "mask") if isinstance(operation, _layer_class()) else ("training",)
    given = {name: value for name, value in kwargs.items() if name not in looked_at_in_training}
    others = sorted(name for name, value in given.items() if name not in known and value is not None)
    if others:
        raise UnsupportedError(
            f"{operation.name!r} ({type(operation).__name__}) is called with the keyword {others[0]!r}, "
            "which the native graph does not know"
        )
    return {name: value for name, value in given.items() if name in known}


def _check_shapes(operation: Any, tensors: Sequence[Any], values: Sequence[Value]) -> None:
    """Hold every lowering against the shape that Keras states, where it states one."""
    for tensor, value in zip(tensors, values, strict=True):
        stated = tuple(tensor.shape)
        agree = len(stated) == len(value.shape) and all(
            have == want for have, want in zip(value.shape[1:], stated[1:], strict=True) if want is not None
        )
        if not agree:
            raise UnsupportedError(
                f"{operation.name!r} ({type(operation).__name__}): Keras states the shape {stated}, "
                f"the native graph gives {value.shape}"
            )
