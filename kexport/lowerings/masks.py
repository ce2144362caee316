"""Which places of a sequence a layer is told to leave out: said in its call, or carried by its inputs.

`keras.layers.Masking` and an Embedding with ``mask_zero`` put a mask on what they give, and every layer that takes a
``mask``, or a ``value_mask`` beside its ``value``, gets it without a word in the graph of calls.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

_NOT_AT_INFERENCE = {"BatchNormalization"}
"""Layers that look at a mask only while they train."""


def masks_of(node: Any) -> dict[str, Any]:
    """The masks of a call by keyword, as Keras's `Layer.__call__` finds them: tensors, or lists of them and of None."""
    from keras import tree

    layer = node.operation
    if not hasattr(layer, "_call_signature") or type(layer).__name__ in _NOT_AT_INFERENCE:
        return {}
    known = signature(layer.call).parameters
    found = {name: mask for name, mask in _found(layer, node).items() if name in known}
    return {name: mask for name, mask in found.items() if any(each is not None for each in tree.flatten(mask))}


def symbolic(arguments: Any) -> list[Any]:
    """The tensors of the model in a structure of arguments."""
    import keras
    from keras import tree

    return [each for each in tree.flatten(arguments) if isinstance(each, keras.KerasTensor)]


def _found(layer: Any, node: Any) -> dict[str, Any]:
    from keras import tree
    from keras.src.backend import get_keras_mask

    expected = layer._call_signature  # noqa: SLF001 - as Keras's own __call__ reads it
    given = {name: each for name, each in node.arguments.kwargs.items() if name in expected.parameters}
    bound = expected.bind(*node.arguments.args, **given)
    stated = {name: each for name, each in bound.arguments.items() if name == "mask" or name.endswith("_mask")}
    tensors = {name: each for name, each in bound.arguments.items() if name not in stated and symbolic(each)}
    carried = {
        "mask" if len(tensors) == 1 else f"{name}_mask": tree.map_structure(get_keras_mask, each)
        for name, each in tensors.items()
    }
    return {**carried, **{name: mask for name, mask in stated.items() if mask is not None and name != "attention_mask"}}
