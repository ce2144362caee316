"""Functions of Keras 2 that have the name of another one in Keras 3.

``hard_sigmoid`` was ``0.2 x + 0.5`` between 0 and 1, and is ``x / 6 + 0.5`` now: the gates of most recurrent layers of
their time. So what a layer of Keras 2 calls by that name is the former one.
"""

from __future__ import annotations

from typing import Any

PACKAGE, NAME = "kexport", "keras2_hard_sigmoid"
STEEPER = 1.2
"""``hard_sigmoid`` of Keras 2 is that of Keras 3 of ``STEEPER`` times as much."""


def keras2_hard_sigmoid(x: Any) -> Any:
    """``0.2 x + 0.5``, at least 0 and at most 1."""
    import keras

    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def restore(model: Any) -> None:
    """Give every layer of a model from a file of Keras 2 the function that it meant."""
    import keras

    keras.saving.register_keras_serializable(PACKAGE, NAME)(keras2_hard_sigmoid)
    layers: list[Any] = list(getattr(model, "_flatten_layers", list)())
    for layer in layers:
        for attribute in ("activation", "recurrent_activation"):
            if vars(layer).get(attribute) is keras.activations.hard_sigmoid:
                setattr(layer, attribute, keras2_hard_sigmoid)
