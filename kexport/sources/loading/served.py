"""A SavedModel as a function of named inputs: a source of its own, or what a program wrote of its live model.

Its graph is code of TensorFlow, which no sandbox holds: a folder of the user's is opened only if the user trusts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from kexport.errors import SourceError, UsageError
from kexport.records import Signature
from kexport.sources import backend

SERVING = "serving_default"
_LONGEST = 400
_EXPORT = "write it with Keras: model.export('folder'), then kexport export folder --trust"


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
        import tensorflow as tf

        tensors = map(tf.convert_to_tensor, values)
        results = self.function(**dict(zip(self.given, tensors, strict=True)))
        return {spec.name: results[own] for spec, own in zip(self.outputs, self.found, strict=True)}

    def signatures(self, batch: int | None) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
        """Inputs and outputs with ``batch`` as the first axis."""
        return _with_batch(self.inputs, batch), _with_batch(self.outputs, batch)

    @property
    def weights(self) -> tuple[Any, ...]:
        """The variables that the function reads, in its order."""
        return tuple(self.function.variables)

    def count_params(self) -> int:
        """Numbers in all weights."""
        return sum(prod(weight.shape) for weight in self.weights)

    @property
    def renamed(self) -> bool:
        """Whether the folder has other names than the public ones."""
        public = [[spec.name for spec in specs] for specs in (self.inputs, self.outputs)]
        return public != [list(self.given), list(self.found)]


def opened(path: Path, *, trust: bool, shape: tuple[int, int, int] | None = None) -> Served:
    """The folder of a user. ``shape`` gives open sizes of a single image input.

    Raises SourceError if it is not trusted, does not load or does not serve, UsageError for a ``shape`` it cannot have.
    """
    if not trust:
        raise SourceError(
            f"model {path} is a SavedModel: a graph of TensorFlow, which runs as code; expected --trust as well",
            hint="--trust opens it and runs that code: only for folders whose origin you know",
        )
    backend.require_tensorflow(f"model {path} is a SavedModel: it")
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, tf.errors.OpError) as error:
        raise SourceError(f"model {path}: TensorFlow cannot load it: {error}"[:_LONGEST], hint=_EXPORT) from error
    if SERVING not in loaded.signatures:
        raise SourceError(
            f"model {path} has the signatures {sorted(loaded.signatures)}, expected {SERVING!r}", hint=_EXPORT
        )
    function = loaded.signatures[SERVING]
    given, found = _specs(function.structured_input_signature[1]), _specs(function.structured_outputs)
    inputs = _sized(_public(given, "input"), shape, path)
    return Served(
        path=path,
        name=path.name,
        inputs=inputs,
        outputs=_stated(_public(found, "output"), function, given, inputs, path),
        given=tuple(spec.name for spec in given),
        found=tuple(spec.name for spec in found),
        loaded=loaded,
        function=function,
    )


def _public(specs: tuple[Signature, ...], alone: str) -> tuple[Signature, ...]:
    """Names as every artifact has them."""
    return (replace(specs[0], name=alone),) if len(specs) == 1 else specs


def _sized(inputs: tuple[Signature, ...], shape: tuple[int, int, int] | None, path: Path) -> tuple[Signature, ...]:
    first = inputs[0].shape[1:]
    if shape is not None:
        fits = len(first) == 3 and all(axis in (None, wanted) for axis, wanted in zip(first, shape, strict=True))
        if len(inputs) != 1 or not fits:
            raise UsageError(
                f"--input-shape {','.join(map(str, shape))}: the inputs of {path} are {_told(inputs)}",
                hint="--input-shape fixes the open sizes of a model with one image input",
            )
        return (replace(inputs[0], shape=(None, *shape)),)
    if any(None in spec.shape[1:] for spec in inputs):
        raise UsageError(f"the inputs of {path} are {_told(inputs)}: open sizes", hint="--input-shape 224,224,3")
    return tuple(replace(spec, shape=(None, *spec.shape[1:])) for spec in inputs)


def _stated(
    outputs: tuple[Signature, ...], function: Any, given: Sequence[Signature], inputs: Sequence[Signature], path: Path
) -> tuple[Signature, ...]:
    """The outputs with the sizes that they have for inputs of those sizes: the folder may leave them open."""
    import tensorflow as tf

    zeros = {own.name: tf.zeros((1, *spec.shape[1:]), spec.dtype) for own, spec in zip(given, inputs, strict=True)}
    try:
        results = _specs(function(**zeros))
    except tf.errors.OpError as error:
        raise SourceError(f"model {path} does not run: {error}"[:_LONGEST], hint=_EXPORT) from error
    return tuple(replace(spec, shape=(None, *one.shape[1:])) for spec, one in zip(outputs, results, strict=True))


def _told(specs: Sequence[Signature]) -> str:
    return ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)


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
