"""A float graph run in memory by ONNX Runtime, any of its values as output: what calibration looks at.

Not a `Session`: there is no file, and values keep the graph's own names and layout (NHWC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import machine
from kexport.errors import GraphError
from kexport.formats.onnx.writer import float_bytes
from kexport.graph import Graph
from kexport.runtimes.ort import CPU_PROVIDER

Array = npt.NDArray[np.float32]


class GraphSession:
    """A graph, loaded once, run as often as wanted.

    ``wanted`` names graph values (graph inputs too); None wants the graph's outputs, by their public names. Nodes
    that no wanted value needs are left out, and so are the inputs that only they read. The batch is free.
    """

    def __init__(self, graph: Graph, wanted: Sequence[str] | None = None, *, threads: int | None = None) -> None:
        values = graph.outputs if wanted is None else {value: value for value in wanted}
        part = _part(graph, tuple(values.values()))
        self._values = dict(values)
        self._inputs = tuple(spec.name for spec in part.inputs)
        self._dtypes = {spec.name: spec.dtype for spec in part.inputs}
        self._made = tuple(value for value in dict.fromkeys(values.values()) if value in part.producers)
        self._session = _open(part, self._made, threads=threads) if self._made else None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The graph inputs that `run` needs."""
        return self._inputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The wanted values, float32, NHWC, for float32 inputs by name; feeds that nothing needs are ignored.

        Raises GraphError for a missing input.
        """
        missing = [name for name in self._inputs if name not in feeds]
        if missing:
            raise GraphError(f"input {missing[0]!r} is not fed; this graph reads {', '.join(self._inputs)}")
        found: dict[str, Array] = {name: feeds[name] for name in self._inputs}
        if self._session:
            typed = {name: np.asarray(feeds[name]).astype(self._dtypes[name], copy=False) for name in self._inputs}
            arrays = self._session.run(None, typed)
            found.update(zip(self._made, (np.asarray(array, np.float32) for array in arrays), strict=True))
        return {name: found[value] for name, value in self._values.items()}


def run_graph(
    graph: Graph, feeds: Mapping[str, Array], wanted: Sequence[str] | None = None, *, threads: int | None = None
) -> dict[str, Array]:
    """The wanted values of a graph, once: `GraphSession` for a single run."""
    return GraphSession(graph, wanted, threads=threads).run(feeds)


def _part(graph: Graph, values: Sequence[str]) -> Graph:
    """The nodes and inputs that make ``values``. Raises GraphError for a value that the graph does not have."""
    unknown = [value for value in values if value not in graph.shapes]
    if unknown:
        raise GraphError(f"graph {graph.name} has no value {unknown[0]!r}")
    needed = set(values)
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return replace(
        graph.with_batch(None),
        inputs=tuple(replace(spec, shape=(None, *spec.shape[1:])) for spec in graph.inputs if spec.name in needed),
        nodes=tuple(node for node in graph.with_batch(None) if node.name in needed),
        outputs={},
    )


def _open(graph: Graph, values: Sequence[str], *, threads: int | None) -> Any:
    """A session whose outputs are ``values``, in this order; output names cannot meet those of layers."""
    machine.no_telemetry()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    # A value goes as soon as nobody reads it: its readers run first, and its memory is given back instead of kept.
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = False
    if threads is not None:
        options.intra_op_num_threads = threads
    shown = replace(graph, outputs={f"tap:{number}": value for number, value in enumerate(values)})
    return ort.InferenceSession(float_bytes(shown), options, providers=[CPU_PROVIDER])
