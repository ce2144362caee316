"""Where the time of a float file and of its int8 file goes, by kind of operator, on either runtime.

ONNX Runtime profiles itself: the time of every kernel of the whole file, as it is after optimization (`ort_times`).
LiteRT's Python package has no profiler: every operator runs alone, cut out of the file (`litert_times`). The sums of
either profile therefore differ from the latency of the whole file. Both files are measured by turns, in rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from litert_times import LitertFile
from operator_times import Json, by_name
from ort_times import OrtFile

ROUNDS = 3


def profile(name: str, files: Mapping[str, Path]) -> dict[str, list[Json]]:
    """Scheme -> what its file spends by operator, the largest first. The files are of one application and format."""
    kinds = {".onnx": OrtFile, ".tflite": LitertFile}
    measured = {scheme: kinds[path.suffix](path, name) for scheme, path in files.items()}
    for _ in range(ROUNDS):
        for file in measured.values():
            file.measure()
    return {scheme: by_name(file.spent()) for scheme, file in measured.items()}
