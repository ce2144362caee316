"""Inner values of a TFLite file in LiteRT: its built-in kernels keep every tensor, XNNPACK would hide most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kexport.errors import ArtifactError
from kexport.runtimes import SessionOptions, Tensor
from kexport.runtimes.inner import Inner, chosen, filled
from kexport.runtimes.litert import LitertSession


def values(
    path: Path, inputs: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], *, threads: int
) -> Iterator[Inner]:
    """The values, in the order of the file. Raises ArtifactError where the file does not run."""
    interpreter = _run(path, inputs, threads=threads)
    tensors = {detail["name"]: detail for detail in _computed(interpreter)}
    for name, layer in chosen(list(tensors), shapes).items():
        yield _inner(interpreter, tensors[name], layer)


def every_tensor(
    path: Path, inputs: Mapping[str, Tensor], indices: Sequence[int], *, threads: int
) -> dict[int, Tensor]:
    """The tensors of these numbers as they are stored, for one row. Raises ArtifactError as `values` does."""
    interpreter = _run(path, inputs, threads=threads)
    return {index: interpreter.get_tensor(index) for index in indices}


def _run(path: Path, inputs: Mapping[str, Tensor], *, threads: int) -> Any:
    """An interpreter that keeps every tensor, after one run."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            str(path),
            num_threads=threads,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} does not load in LiteRT: {error}", hint="kexport verify DIR") from error
    session = LitertSession(interpreter, source=path, options=SessionOptions(threads=threads))
    session.run_real(filled(session, inputs))
    return interpreter


def _computed(interpreter: Any) -> list[dict[str, Any]]:
    """What operators make, in the order in which they run."""
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()  # noqa: SLF001 - no public reader exists
    public = {detail["index"] for detail in interpreter.get_output_details()}
    made = [int(index) for operator in operators for index in operator["outputs"]]
    return [details[index] for index in dict.fromkeys(made) if index in details and index not in public]


def _inner(interpreter: Any, detail: Mapping[str, Any], layer: str) -> Inner:
    value = interpreter.get_tensor(detail["index"])
    scale, zero = detail["quantization"]
    if not scale:
        return Inner(name=detail["name"], layer=layer, value=value[:1].astype(np.float32))
    real = (value[:1].astype(np.float32) - zero) * np.float32(scale)
    return Inner(name=detail["name"], layer=layer, value=real.astype(np.float32), affine=(float(scale), int(zero)))
