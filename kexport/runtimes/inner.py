"""The inner values of a file, one after the other: what a comparison layer by layer looks at.

A runtime that can show them has a function here, by its name. Tensors are told by the name that they have in the file;
which layer of Keras that is, `layer_of` says, for files of any engine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kexport.errors import UnsupportedError
from kexport.runtimes import Session, Tensor, static_batch

_SUFFIXES = re.compile(r"(_QuantizeLinear_Output|_DequantizeLinear_Output|:nhwc|:nchw|:real|:layer)$")
_STORED = "_QuantizeLinear_Output"
_PARTS = re.compile(r"[/;:]")


@dataclass(frozen=True, kw_only=True)
class Inner:
    """One value of the file as real numbers; ``affine`` has scale and zero point where it is stored as integers."""

    name: str
    layer: str
    value: npt.NDArray[np.float32]
    affine: tuple[float, int] | None = None

    @property
    def quantized(self) -> bool:
        """Whether the file has integers."""
        return self.affine is not None


def chosen(names: Sequence[str], layers: Collection[str]) -> dict[str, str]:
    """Tensor -> layer, one for each layer that is to be found in the file, in the file's order.

    kexport's own files call a tensor as the layer whose value it is. Other engines have the layer among the parts of a
    scope (``model/block1_conv1/Relu``): the last tensor of a scope is what its layer gives.
    """
    found: dict[str, str] = {}
    for name in sorted(names, key=_preference):
        layer = _SUFFIXES.sub("", name) if name not in layers else name
        if layer in layers:
            found.setdefault(layer, name)
    if found:
        layer_of = {name: layer for layer, name in found.items()}
        return {tensor: layer_of[tensor] for tensor in names if tensor in layer_of}
    scoped: dict[str, str] = {}
    for name in names:
        parts = [part for part in _PARTS.split(name) if part in layers]
        if parts:
            scoped[parts[-1]] = name
    return {name: layer for layer, name in scoped.items()}


def _preference(name: str) -> int:
    """Integers of ONNX Runtime's own quantizer say what is computed with; what they are made of does not."""
    return 0 if name.endswith(_STORED) else 2 if _SUFFIXES.search(name) else 1


def filled(session: Session, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One row, repeated until the batch of the file is full."""
    rows = static_batch(session.signature[0]) or 1
    return {name: np.repeat(array[:1], rows, axis=0) for name, array in inputs.items()}


def inner_values(
    runtime: str, path: Path, inputs: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], *, threads: int
) -> Iterator[Inner]:
    """The values of the layers in ``shapes`` (without the batch) that the file has, for one row.

    Raises UnsupportedError for a runtime that shows none, ArtifactError where the file does not run.
    """
    if runtime == "onnxruntime":
        from kexport.runtimes.ort_inner import values
    elif runtime == "litert":
        from kexport.runtimes.litert_inner import values
    else:
        raise UnsupportedError(
            f"{runtime} shows no inner values: --by-layer is for ONNX and TFLite files",
            hint="kexport export MODEL --formats onnx,tflite",
        )
    yield from values(path, inputs, shapes, threads=threads)
