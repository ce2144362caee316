"""TensorFlow SavedModel folders, through their serving signature, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kexport.errors import ArtifactError
from kexport.formats.savedmodel.sound import require_sound
from kexport.records import Signature
from kexport.runtimes import Session, SessionOptions, Signatures, Tensor
from kexport.runtimes.tensorflow_ import CPU, check_device, limit_threads

SERVING = "serving_default"


class SavedModelSession(Session):
    """The serving signature of a SavedModel."""

    name = "savedmodel"
    formats = ("savedmodel",)
    distribution = "tensorflow"
    limits_threads = False

    def __init__(self, loaded: Any, *, function: Any) -> None:
        self._loaded = loaded  # owns the variables: the function alone does not keep them alive
        self._function = function
        named = function.structured_input_signature[1]
        self._signature = _signatures(named), _signatures(function.structured_outputs)

    @classmethod
    def require_sound(cls, path: Path) -> None:
        """Plain files only, and no operator that touches others. Raises ArtifactError."""
        require_sound(path)

    @classmethod
    def open(cls, source: Path, *, options: SessionOptions) -> SavedModelSession:
        """The folder at ``source``. Raises ArtifactError when it does not load or does not serve."""
        limit_threads(options.threads)
        import tensorflow as tf

        try:
            with tf.device(CPU):
                loaded = tf.saved_model.load(str(source))
        except (OSError, ValueError, RuntimeError, KeyError, tf.errors.OpError) as error:
            raise ArtifactError(f"{source} does not load in TensorFlow: {error}", hint="kexport verify DIR") from error
        if SERVING not in loaded.signatures:
            raise ArtifactError(
                f"{source} has the signatures {sorted(loaded.signatures)}, expected {SERVING!r}",
                hint="kexport export MODEL --formats savedmodel",
            )
        return cls(loaded, function=loaded.signatures[SERVING])

    @property
    def signature(self) -> Signatures:
        """Inputs and outputs of the serving signature."""
        return self._signature

    @property
    def effective(self) -> str:
        """TensorFlow's version and the device that every run is checked against."""
        import tensorflow as tf

        return f"TensorFlow {tf.__version__} {CPU} (SavedModel {SERVING})"

    def execute(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs as arrays. Raises DeviceError if TensorFlow computed elsewhere than on the CPU."""
        import tensorflow as tf

        with tf.device(CPU):
            outputs = self._function(**{name: tf.constant(value) for name, value in inputs.items()})
        for value in outputs.values():
            check_device(value)
        return {spec.name: np.asarray(outputs[spec.name]) for spec in self._signature[1]}


def _signatures(specs: Mapping[str, Any]) -> tuple[Signature, ...]:
    return tuple(
        Signature(
            name=name,
            shape=tuple(None if size is None else int(size) for size in spec.shape),
            dtype=str(spec.dtype.name),
        )
        for name, spec in specs.items()
    )
