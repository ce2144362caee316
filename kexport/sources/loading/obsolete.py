"""Arguments of layers that Keras 2 stored and the constructor of Keras 3 does not take.

One rule for all classes: an argument that no constructor of the class knows is dropped where it says nothing (False,
None, 0, 1, an empty list or dictionary, or the default that Keras 2 had for it), and where it is only about training or
about how something is computed, not what. Any other value would be lost: it is refused.
"""

from __future__ import annotations

import inspect
from typing import Any

from kexport.errors import SourceError

_ONLY_TRAINING = ("_initializer", "_regularizer", "_constraint")
_FOLLOWS_FROM_CALLS = ("_shape",)  # what a layer was built for, as MultiHeadAttention stored it
_ONLY_HOW = {
    "implementation", "fused", "renorm", "renorm_clipping", "renorm_momentum", "virtual_batch_size", "rng_type",
    "noise_shape", "seed", "dynamic", "trainable", "batch_input_shape", "dtype",
}  # fmt: skip
_GONE = {"time_major", "renorm", "renorm_clipping", "renorm_momentum", "fused"}  # popped, or accepted and ignored
_SAY_NOTHING: tuple[Any, ...] = (None, False, 0, 1, "", [], {}, [1, 1], [1], [1, 1, 1])
_OF_EVERY_LAYER = {"name", "dtype", "trainable", "batch_input_shape", "batch_shape", "input_shape", "batch_size"}
_OWN_FORM = {"Lambda", "InputLayer", "Sequential", "Functional", "Model"}
_HINT = "kexport export package.module:factory, which builds the model with Keras 3 and loads its weights"


def drop(layer: dict[str, Any], told: str) -> None:
    """Take obsolete arguments out of a layer's configuration. Raises SourceError for one that says something."""
    kind, config = layer["class_name"], layer["config"]
    known = _known(kind)
    if known is None:
        return
    for key in [key for key in config if key not in known or key in _GONE]:
        value = config[key]
        nothing = value is not True and value in _SAY_NOTHING
        if not (nothing or key in _ONLY_HOW or key.endswith((*_ONLY_TRAINING, *_FOLLOWS_FROM_CALLS))):
            raise SourceError(
                f"{told}: layer {config.get('name')!r} ({kind}) has {key}={value!r:.60}, which Keras 3 does not know",
                hint=_HINT,
            )
        del config[key]


def _known(kind: str) -> set[str] | None:
    """Every argument that a constructor of the class takes or looks for; None for a class that reads its own form."""
    import keras

    found = getattr(keras.layers, kind, None)
    if kind in _OWN_FORM or not inspect.isclass(found):
        return None
    known: set[str] = set()
    for base in found.__mro__:
        constructor = vars(base).get("__init__")
        if not inspect.isfunction(constructor):
            continue
        plain = inspect.unwrap(constructor)
        parameters = inspect.signature(plain).parameters
        known |= set(parameters)
        known |= {value for value in plain.__code__.co_consts if isinstance(value, str) and value.isidentifier()}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return known
    return known | _OF_EVERY_LAYER
