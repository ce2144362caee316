"""How long each operator of a file takes, as its runtime can tell; which place it belongs to, the file says.

ONNX Runtime profiles itself. LiteRT's Python package has no profiler: every operator runs alone, cut out of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kexport.errors import UnsupportedError
from kexport.records import Profile
from kexport.runtimes import SessionOptions, Tensor

SECONDS = 5.0
"""About how long one file is profiled."""


def profile(
    runtime: str, path: Path, inputs: Mapping[str, Tensor], *, options: SessionOptions, run_seconds: float
) -> Profile:
    """The operators of the file at ``path``; ``run_seconds`` is what one inference takes.

    Raises UnsupportedError for a runtime that tells nothing of its operators, and for files that it cannot be told of.
    """
    if runtime == "onnxruntime":
        from kexport.runtimes.ort_profile import operators
    elif runtime == "litert":
        from kexport.runtimes.litert_profile import operators
    else:
        raise UnsupportedError(
            f"{runtime} tells no times of operators: --profile is for ONNX and TFLite files",
            hint="kexport export MODEL --formats onnx,tflite",
        )
    return operators(path, inputs, options=options, run_seconds=run_seconds)


def middle(samples: Iterable[float]) -> float:
    """The mean of the middle half: whole microseconds, as a profiler counts, are too coarse for a median."""
    ordered = sorted(samples)
    quarter = len(ordered) // 4
    half = ordered[quarter : len(ordered) - quarter]
    return sum(half) / len(half)
