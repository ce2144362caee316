"""Which places of a sequence a layer is told to leave out: said in its call, or carried by its inputs.

`keras.layers.Masking` and an Embedding with ``mask_zero`` put a mask on what they give, and every layer that takes a
``mask``, or a ``value_mask`` beside its ``value``, gets it without a word in the graph of calls.
"""

from __future__ import annotations

from collections.abc import Collection
from inspect import signature
from typing import Any

from kexport.errors import UnsupportedError
from kexport.sources.keras_walk import functional

_NOT_AT_INFERENCE = {"BatchNormalization"}
"""Layers that look at a mask only while they train."""


def masks_of(node: Any) -> dict[str, Any]:
    """The masks of a call by keyword, as Keras's `Layer.__call__` finds them: tensors, or lists of them and of None."""
    from keras import tree

    layer = node.operation
    if not hasattr(layer, "_call_signature") or type(layer).__name__ in _NOT_AT_INFERENCE:
        return {}
    found = _found(layer, node, set(signature(layer.call).parameters))
    return {name: mask for name, mask in found.items() if any(each is not None for each in tree.flatten(mask))}


def carried_by(node: Any) -> list[Any]:
    """The masks that come with the tensors of a call, which layers inside of a layer find there."""
    from keras.src.backend import get_keras_mask

    return symbolic([get_keras_mask(tensor) for tensor in node.input_tensors])


def symbolic(arguments: Any) -> list[Any]:
    """The tensors of the model in a structure of arguments."""
    import keras
    from keras import tree

    return [each for each in tree.flatten(arguments) if isinstance(each, keras.KerasTensor)]


def _carried(tensor: Any) -> Any:
    """The mask that comes with a tensor. Raises UnsupportedError for one that only comes when the model runs."""
    from keras.src.backend import get_keras_mask

    mask = get_keras_mask(tensor)
    history: Any = getattr(tensor, "_keras_history", None)
    nested = functional(history.operation) if mask is None and history is not None else None
    if nested is not None and get_keras_mask(nested.outputs[history.tensor_index]) is not None:
        raise UnsupportedError(f"the nested model {history.operation.name!r} gives a mask; the native graph has none")
    return mask


def _found(layer: Any, node: Any, known: Collection[str]) -> dict[str, Any]:
    from keras import tree

    expected = layer._call_signature  # noqa: SLF001 - as Keras's own __call__ reads it
    given = {name: each for name, each in node.arguments.kwargs.items() if name in expected.parameters}
    bound = expected.bind(*node.arguments.args, **given)
    stated = {name: each for name, each in bound.arguments.items() if name == "mask" or name.endswith("_mask")}
    tensors = {name: each for name, each in bound.arguments.items() if name not in stated and symbolic(each)}
    named = {"mask" if len(tensors) == 1 else f"{name}_mask": each for name, each in tensors.items()}
    carried = {name: tree.map_structure(_carried, each) for name, each in named.items() if name in known}
    given = {name: mask for name, mask in stated.items() if mask is not None and name != "attention_mask"}
    return {**carried, **given}
