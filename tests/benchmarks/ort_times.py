"""What every kernel of an ONNX file takes, as ONNX Runtime's own profile of the whole optimized file tells it.

Names are those of the float file, so that both files of a pair stand side by side: without QLinear, fused ones as what
they were; convolutions by the size of their kernel.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import int8_networks
from operator_times import Json, Spent

from kexport.images.seeded import seeded_images
from kexport.sources import catalog

RUNS, WARM_RUNS = 40, 10  # of one round; the first ones are left out
OPTIMIZED = "optimized.onnx"
EVENT = "_kernel_time"
KERNELS = {"Conv": 1, "FusedConv": 1, "QLinearConv": 3}
"""Operators with the kernel of a convolution -> its place among their inputs."""
FLOAT_NAMES = {"QGemm": "Gemm", "FusedGemm": "Gemm", "FusedMatMul": "MatMul"}


class OrtFile:
    """The kernels of the ONNX file at ``path``, run on an image of the application."""

    def __init__(self, path: Path, application: str) -> None:
        self._path, self._application = path, application
        self._samples: dict[str, list[int]] = defaultdict(list)
        self._kernels: dict[str, Json] = {}
        self._convolutions: dict[str, str] = {}

    def measure(self) -> None:
        """One round, in a session of its own."""
        with tempfile.TemporaryDirectory() as folder:
            for event in warm(self._events(Path(folder))):
                self._kernels[event["name"]] = event["args"]
                self._samples[event["name"]].append(event["dur"])
            self._convolutions = convolutions(Path(folder, OPTIMIZED))

    def spent(self) -> Iterator[Spent]:
        """One value per kernel that ran."""
        for event, arguments in self._kernels.items():
            ms = middle(self._samples[event]) / 1000
            in_float = all(_first_type(arguments[f"{side}_type_shape"]) == "float" for side in ("input", "output"))
            name = self._convolutions.get(event.removesuffix(EVENT)) or _float_name(arguments["op_name"])
            yield Spent(name=name, count=1, ms=ms, float_ms=ms if in_float else 0.0, delegated=None)

    def _events(self, folder: Path) -> list[Json]:
        import onnxruntime

        options = _options(folder)
        session = onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        spec = session.get_inputs()[0]
        low, high = catalog.input_range(catalog.application(self._application))
        feed = {spec.name: seeded_images(1, tuple(spec.shape[1:]), seed=0, low=low, high=high)}
        for _ in range(WARM_RUNS + RUNS):
            session.run(None, feed)
        events: list[Json] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return events


def warm(events: Iterable[Json]) -> Iterator[Json]:
    """The events of kernels, without those of the first runs."""
    seen: Counter[str] = Counter()
    for event in events:
        seen[event["name"]] += 1
        if event["name"].endswith(EVENT) and seen[event["name"]] > WARM_RUNS:
            yield event


def convolutions(path: Path) -> dict[str, str]:
    """Node of the optimized file at ``path`` -> the kind of convolution that it is."""
    import onnx

    graph = onnx.load(str(path)).graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    chosen = [node for node in graph.node if node.op_type in KERNELS]
    return {node.name: _kind(shapes[node.input[KERNELS[node.op_type]]], groups=_groups(node)) for node in chosen}


def middle(micros: Sequence[int]) -> float:
    """The mean of the middle half: the profile's whole microseconds are too coarse for a median of short kernels."""
    ordered, quarter = sorted(micros), len(micros) // 4
    half = ordered[quarter : len(ordered) - quarter]
    return sum(half) / len(half)


def _kind(kernel: tuple[int, ...], *, groups: int) -> str:
    """Of a kernel ``(outputs, inputs of a group, height, width)``."""
    if groups > 1 and kernel[1] == 1:
        return "Conv depthwise"
    return "Conv 1 x 1" if kernel[2:] == (1, 1) else "Conv other"


def _groups(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _float_name(name: str) -> str:
    return FLOAT_NAMES.get(name, name.removeprefix("QLinear"))


def _first_type(tensors: Sequence[Json]) -> str | None:
    return next((kind for tensor in tensors for kind in tensor), None)


def _options(folder: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int8_networks.THREADS, 1
    options.log_severity_level = 3  # it would warn that an optimized file is for this machine alone
    options.optimized_model_filepath = str(folder / OPTIMIZED)
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    return options
