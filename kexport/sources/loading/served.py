"""A SavedModel as a function of named inputs: what a process without the Keras model hands to an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kexport.records import Signature

SERVING = "serving_default"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A loaded folder. ``inputs`` and ``outputs`` have public names, ``given`` and ``found`` are the folder's own.

    ``loaded`` owns the variables that ``function`` reads.
    """

    path: Path
    name: str
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    given: tuple[str, ...]
    found: tuple[str, ...]
    loaded: Any
    function: Any

    def __call__(self, *values: Any) -> dict[str, Any]:
        """Outputs by public name, for the inputs in order."""
        results = self.function(**dict(zip(self.given, values, strict=True)))
        return {spec.name: results[own] for spec, own in zip(self.outputs, self.found, strict=True)}

    def signatures(self, batch: int | None) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
        """Inputs and outputs with ``batch`` as the first axis."""
        return _with_batch(self.inputs, batch), _with_batch(self.outputs, batch)

    @property
    def renamed(self) -> bool:
        """Whether the folder has other names than the public ones."""
        public = [[spec.name for spec in specs] for specs in (self.inputs, self.outputs)]
        return public != [list(self.given), list(self.found)]


def written(path: Path, *, name: str) -> Served:
    """A folder with public names, as `kexport.formats.savedmodel.writer` writes it."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures[SERVING]
    inputs, outputs = _specs(function.structured_input_signature[1]), _specs(function.structured_outputs)
    return Served(
        path=path,
        name=name,
        inputs=inputs,
        outputs=outputs,
        given=tuple(spec.name for spec in inputs),
        found=tuple(spec.name for spec in outputs),
        loaded=loaded,
        function=function,
    )


def _specs(named: Any) -> tuple[Signature, ...]:
    return tuple(
        Signature(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype.name)) for name, tensor in named.items()
    )


def _with_batch(specs: Sequence[Signature], batch: int | None) -> tuple[Signature, ...]:
    return tuple(replace(spec, shape=(batch, *spec.shape[1:])) for spec in specs)
