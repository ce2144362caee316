"""The time of every kernel of an ONNX file, as ONNX Runtime's own profile of the optimized graph tells it.

The optimized graph is written beside the profile, its weights apart: kernels that the optimizer added have no name of
the file, but they read or make a value that has one.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kexport.formats.onnx.work import known_values, place_of, work
from kexport.formats.places import layer_of
from kexport.formats.work import repeated
from kexport.records import OperatorTime, Profile
from kexport.runtimes import SessionOptions, Tensor, static_batch
from kexport.runtimes.ort import CPU_PROVIDER, OrtSession, create, session_options
from kexport.runtimes.profiling import SECONDS, middle

METHOD = "ONNX Runtime's profiler, on the graph as it optimized it"
MOST_RUNS, FEWEST_RUNS, WARM_RUNS = 40, 5, 2
_KERNEL = "_kernel_time"
_OPTIMIZED = "optimized.onnx"
_ADDED = re.compile(r"(_nchwc|_token_\d+)+$")


@dataclass(kw_only=True)
class _Kernel:
    name: str
    kind: str
    micros: list[int] = field(default_factory=list)


def operators(path: Path, inputs: Mapping[str, Tensor], *, options: SessionOptions, run_seconds: float) -> Profile:
    """Every kernel that ran. Raises as a session of the file does."""
    import onnx

    runs = max(FEWEST_RUNS, min(MOST_RUNS, int(SECONDS / max(run_seconds, 1e-6))))
    source = onnx.load(str(path), load_external_data=False)
    known = known_values(source)
    with tempfile.TemporaryDirectory() as folder:
        kernels, times = _kernels(path, inputs, folder=Path(folder), options=options, runs=runs)
        optimized = onnx.load(str(Path(folder) / _OPTIMIZED), load_external_data=False).graph.node
    places = _places(optimized, _names(source.graph, known))
    return Profile(
        method=METHOD,
        layers=known is not None,
        runs=runs,
        work=repeated(work(source, {name: value.shape for name, value in inputs.items()}), times),
        operators=tuple(
            OperatorTime(name=each.name, place=place, kind=each.kind, seconds=_seconds(each, runs))
            for each, place in zip(kernels, _of_kernels(kernels, optimized, places), strict=True)
        ),
    )


def _seconds(kernel: _Kernel, runs: int) -> float:
    """Of all its times in one inference: a file of a fixed batch runs several times for more rows."""
    times = len(kernel.micros) // (WARM_RUNS + runs)
    return times * middle(kernel.micros[WARM_RUNS * times :]) / 1e6


def _kernels(
    path: Path, inputs: Mapping[str, Tensor], *, folder: Path, options: SessionOptions, runs: int
) -> tuple[list[_Kernel], int]:
    """Every kernel, in the order of execution, and how often the file ran for the rows of the inputs."""
    settings = session_options(options)
    settings.enable_profiling, settings.profile_file_prefix = True, str(folder / "profile")
    settings.optimized_model_filepath = str(folder / _OPTIMIZED)
    for name, value in (("file_name", "weights.bin"), ("min_size_in_bytes", "1024")):
        settings.add_session_config_entry(f"session.optimized_model_external_initializers_{name}", value)
    made = create(path, provider=CPU_PROVIDER, device=options.device, settings=settings)
    session = OrtSession(made, assigned={})
    for _ in range(WARM_RUNS + runs):
        session.run(inputs)
    events = json.loads(Path(made.end_profiling()).read_text(encoding="utf-8"))
    rows = len(next(iter(inputs.values())))
    return list(_gathered(events)), rows // (static_batch(session.signature[0]) or rows)


def _gathered(events: Sequence[Mapping[str, Any]]) -> Iterator[_Kernel]:
    found: dict[tuple[str, str], _Kernel] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_KERNEL):
            continue
        name, arguments = event["name"].removesuffix(_KERNEL), event["args"]
        key = (name, str(arguments.get("node_index", "")))
        kernel = found.setdefault(key, _Kernel(name=name, kind=arguments["op_name"]))
        kernel.micros.append(int(event["dur"]))
    yield from found.values()


def _names(graph: Any, known: Collection[str] | None) -> dict[str, str]:
    """Name of a node or value of the file -> its place."""
    found = {} if known is None else {value.name: layer_of(value.name) for value in graph.input}
    for node in graph.node:
        found.update(dict.fromkeys(filter(None, (node.name, *node.output)), place_of(node, known)))
    return found


def _places(nodes: Sequence[Any], names: Mapping[str, str]) -> list[str]:
    """The place of each node of the optimized graph: its own name's, else that of a value that it makes, or reads."""
    made = dict(names)
    found = []
    for node in nodes:
        known = (_ADDED.sub("", node.name), *node.output, *node.input)
        place = next((made[name] for name in known if name in made), "")
        made.update({value: place for value in node.output if place and value not in made})
        found.append(place)
    return found


def _of_kernels(kernels: Sequence[_Kernel], nodes: Sequence[Any], places: Sequence[str]) -> list[str]:
    """The place of each kernel: nodes without a name stand in the order of execution, where both lists agree."""
    if [kernel.kind for kernel in kernels] == [node.op_type for node in nodes]:
        return list(places)
    by_name = {node.name: place for node, place in zip(nodes, places, strict=True) if node.name}
    return [by_name.get(kernel.name, "") for kernel in kernels]
