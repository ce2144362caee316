"""Keras itself: a live model, called through one compiled `tf.function` on the CPU.

This is the reference that artifacts are compared with. The module is called ``keras_`` so that it does not
hide the package. Threads belong to the process: set them with `limit_threads` before the model is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kexport.errors import MissingDependencyError
from kexport.records import Signature
from kexport.runtimes import Session, SessionOptions, Signatures, Tensor
from kexport.runtimes.tensorflow_ import CPU, check_device, limit_threads
from kexport.sources import backend
from kexport.sources.keras_walk import own_output_names, packed


class KerasSession(Session):
    """A `keras.Model` in inference mode. Names are those of its inputs, and its ``output_names``."""

    name = "keras"
    distribution = "keras"

    def __init__(self, model: Any) -> None:
        inputs = _signatures([tensor.name for tensor in model.inputs], model.inputs)
        self._signature = inputs, _signatures(own_output_names(model), model.outputs)
        self._call = _compile(model)

    @classmethod
    def open(cls, source: Any, *, options: SessionOptions) -> KerasSession:
        """The model ``source``, traced.

        Raises DeviceError when the process has another number of threads, MissingDependencyError without TensorFlow.
        """
        if why := backend.without_tensorflow("the runtime keras"):
            raise MissingDependencyError(why, hint=backend.cure())
        limit_threads(options.threads)
        return cls(source)

    @property
    def signature(self) -> Signatures:
        """Inputs and outputs in the model's order."""
        return self._signature

    @property
    def effective(self) -> str:
        """Versions, and the device that every run is checked against."""
        import keras
        import tensorflow as tf

        return f"Keras {keras.__version__} on TensorFlow {tf.__version__} {CPU} (tf.function)"

    def execute(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs as arrays. Raises DeviceError if TensorFlow computed elsewhere than on the CPU."""
        import tensorflow as tf

        with tf.device(CPU):
            values = self._call(*(tf.constant(inputs[spec.name]) for spec in self._signature[0]))
        for value in values:
            check_device(value)
        return {spec.name: np.asarray(value) for spec, value in zip(self._signature[1], values, strict=True)}


def _compile(model: Any) -> Any:
    import keras
    import tensorflow as tf

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def call(*values: Any) -> list[Any]:
        return list(keras.tree.flatten(model(packed(model, values), training=False)))

    with tf.device(CPU):
        return call.get_concrete_function(
            *(tf.TensorSpec(tuple(value.shape), value.dtype, name=f"input_{n}") for n, value in enumerate(model.inputs))
        )


def _signatures(names: Any, tensors: Any) -> tuple[Signature, ...]:
    return tuple(
        Signature(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype))
        for name, tensor in zip(names, tensors, strict=True)
    )
