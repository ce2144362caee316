"""Whether an ONNX file may be given to a runtime: a model, alone, with nothing that reads elsewhere.

kexport's files hold all their data. External data is bound to a model by no hash, and has led out of folders through
paths, symbolic and hard links (CVE-2024-27318, CVE-2026-34446, CVE-2026-34447): a record of one file cannot vouch for
it, so it is refused before anything is opened. Then the checker of `onnx` reads the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kexport import files
from kexport.errors import ArtifactError

MAX_BYTES = 2**31 - 1  # of protobuf
_HINT = "kexport verify DIR"


def require_sound(path: Path) -> None:
    """Raise ArtifactError unless the file is an ONNX model that the checker accepts and that holds all its data."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        content = files.read(path, limit_bytes=MAX_BYTES)
        _require_all_inside(content, path)
        onnx.checker.check_model(content)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}", hint=_HINT) from error
    except (DecodeError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ArtifactError(f"{path}: not a sound ONNX model: {words:.300}", hint=_HINT) from error


def _require_all_inside(content: bytes, path: Path) -> None:
    """Before the checker parses the content as well: both at once would be a third copy of all weights."""
    import onnx

    for tensor in _tensors(onnx.load_model_from_string(content)):
        _require_inside(tensor, path)


def _require_inside(tensor: Any, path: Path) -> None:
    if tensor.external_data or tensor.data_location:
        where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "another file")
        raise ArtifactError(
            f"{path}: the data of {tensor.name!r:.80} is in {where!r:.120}, expected all of it in the file", hint=_HINT
        )


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor at any depth: initializers, sparse ones, attributes, those of inner graphs and of functions."""
    pending = [model.graph, *(info.initialization for info in model.training_info), *model.functions]
    pending += [info.algorithm for info in model.training_info]
    while pending:
        graph = pending.pop()
        if hasattr(graph, "initializer"):
            yield from graph.initializer
            yield from _parts(graph.sparse_initializer)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors, *_parts((attribute.sparse_tensor,)))
                yield from _parts(attribute.sparse_tensors)
                pending += [attribute.g, *attribute.graphs] if attribute.HasField("g") else list(attribute.graphs)


def _parts(sparse: Any) -> Iterator[Any]:
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)
