"""Layers without a lowering of their own: their ``call`` is run on symbolic tensors, and what it does is lowered.

So `keras.layers.Attention`, a Lambda, or a layer of one's own is native where it is made of `keras.ops` and of
layers. The batch is a number meanwhile, because code asks for it (``ops.reshape(x, (ops.shape(x)[0], -1))``): what
is as long as that number stands for the batch, and what was computed from nothing but weights is a constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import UnsupportedError
from kexport.lowerings import Value, quantized
from kexport.sources.loading import factory

BATCH = 61
"""Small, since constants are repeated for it, and no usual length of an axis."""
FAILURES = (*factory.ERRORS, NameError)


Traced = tuple[Any, list[Value], list[Any]]


def traced(node: Any, known: dict[int, Value], masks: dict[str, Any]) -> Traced:
    """The `keras.Function` of a layer's call, the values of its inputs, and its results, in order.

    ``masks`` are those that the call gets by keyword (`kexport.lowerings.masks`).

    A result is None where the function computes it, else a constant.

    Raises UnsupportedError with the layer's own error if its code does not run on symbolic tensors.
    """
    import keras
    from keras import tree
    from keras.src.backend import get_keras_mask, set_keras_mask

    layer, symbols, values = node.operation, {}, []

    def symbol(each: Any) -> Any:
        if id(each) not in known:
            return each
        if id(each) not in symbols:
            value = known[id(each)]
            shape = (BATCH * value.copies, *value.shape[1:])
            symbols[id(each)] = keras.Input(batch_shape=shape, dtype=_dtype(layer, each))
            values.append(value)
            mask = get_keras_mask(each)
            if mask is not None:
                set_keras_mask(symbols[id(each)], symbol(mask))
        return symbols[id(each)]

    args, kwargs = tree.map_structure(symbol, (node.arguments.args, {**node.arguments.kwargs, **masks}))
    try:
        with at_inference(layer), _variables_meet_symbols(), _gradients_left_out():
            called = layer.quantized_call if quantized(layer) else layer.call
            outputs = called(*args, **_keywords(layer, kwargs))
            results = tree.flatten(outputs)
            computed = [each for each in results if isinstance(each, keras.KerasTensor)]
            function = keras.Function(list(symbols.values()), computed) if computed else None
    except FAILURES as error:
        raise UnsupportedError(_reason(layer, error)) from error
    return function, values, [None if isinstance(each, keras.KerasTensor) else each for each in results]


def _reason(layer: Any, error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (
        f"layer {layer.name!r} is a {type(layer).__module__}.{type(layer).__name__}, which the native graph does not "
        f"know, and whose call is not made of keras.ops alone: {lines[0]}"
    )


def _dtype(layer: Any, tensor: Any) -> str:
    """As the layer sees it: floats in its own precision, the rest as it is."""
    import keras

    name = keras.backend.standardize_dtype(tensor.dtype)
    return str(getattr(layer, "compute_dtype", name)) if "float" in name else str(name)


def _keywords(layer: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in kwargs.items() if value is not None}
    given.pop("training", None)
    if "training" in signature(layer.call).parameters:
        given["training"] = False
    return given


OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "matmul": "matmul",
    "pow": "power",
}


@contextmanager
def _variables_meet_symbols() -> Iterator[None]:
    """``variable * x`` with a symbolic x is ``x.__rmul__``: Keras's variables would compute at once."""
    import keras

    cls = keras.Variable.__mro__[1] if "__mul__" not in vars(keras.Variable) else keras.Variable
    before = {f"__{name}__": getattr(cls, f"__{name}__") for name in OPERATORS}

    def symbolic(computes: Any, function: Any) -> Any:
        def method(self: Any, other: Any) -> Any:
            return function(self, other) if isinstance(other, keras.KerasTensor) else computes(self, other)

        return method

    for name, function in OPERATORS.items():
        setattr(cls, f"__{name}__", symbolic(before[f"__{name}__"], getattr(keras.ops, function)))
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(cls, name, method)


@contextmanager
def _gradients_left_out() -> Iterator[None]:
    """A function with a gradient of its own, as Keras's quantized layers have them, is only the function."""
    import keras
    from keras.src import ops

    before = ops.custom_gradient
    for module in (ops, keras.ops):
        module.custom_gradient = lambda function: lambda *args, **kwargs: function(*args, **kwargs)[0]
    try:
        yield
    finally:
        for module in (ops, keras.ops):
            module.custom_gradient = before


@contextmanager
def at_inference(layer: Any) -> Iterator[None]:
    """No layer inside trains, and none remembers that it was called."""
    from keras.src.backend.common import global_state
    from keras.src.layers.layer import CallContext

    inner = [layer, *(each for each in getattr(layer, "_flatten_layers", list)() if each is not layer)]
    marks = [(each, len(each._inbound_nodes), len(each._outbound_nodes)) for each in inner]  # noqa: SLF001
    before = global_state.get_global_attribute("current_call_ctx")
    context = CallContext(entry_layer=layer)
    context.training = False
    global_state.set_global_attribute("current_call_ctx", context)
    try:
        yield
    finally:
        global_state.set_global_attribute("current_call_ctx", before)
        for each, made, read in marks:
            del each._inbound_nodes[made:], each._outbound_nodes[read:]  # noqa: SLF001


def is_batch(length: int | None) -> bool:
    """Whether an axis that comes first is the batch."""
    return length is None or (length > 0 and length % BATCH == 0)


def without_batch(array: npt.NDArray[np.float32], rank: int) -> npt.NDArray[np.float32]:
    """A constant that was repeated for the batch, once, if it has the ``rank`` of a value; else as it is."""
    whole = array.ndim == rank and rank > 0 and array.shape[0] > 1 and is_batch(array.shape[0])
    return array[:1] if whole and bool(np.all(array == array[:1])) else array
