"""Kernels and biases, node by node along the quantized network.

Each node sees what the quantized nodes before it made of the calibration images. The error that it makes on
average, per channel, against the float network goes into its bias (Nagel et al. 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction", 4.2, here with data and sequentially). Values wait for their
readers as int8: all images at once are held, but only between a maker and its last reader.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Conv, Dense
from kexport.quantization import Affine, Kernel, Precision
from kexport.quantizers import Array, Batches, Compile
from kexport.quantizers.kernels import bias_of, nearest, scales_of, with_bias
from kexport.quantizers.observe import Observed, apart
from kexport.quantizers.ranges import split_gate
from kexport.quantizers.rounding import round_kernel

Stored = npt.NDArray[Any]  # int8 where the value has an Affine, float32 otherwise
BATCH = 10


@dataclass(kw_only=True)
class Sequence_:
    """The state of the walk: what is stored, and what was decided."""

    graph: Graph
    precisions: Mapping[str, Precision]
    values: Mapping[str, Affine]
    observed: Mapping[str, Observed]
    compile_: Compile
    correct: bool = True
    reconstruct: bool = True

    def __post_init__(self) -> None:
        self.kernels: dict[str, Kernel] = {}
        self.biases: dict[str, Array] = {}
        self.stored: dict[str, Stored] = {}

    def walk(self, batches: Batches) -> None:
        """Decide every kernel; afterwards only the outputs are still stored."""
        self._store_inputs(batches)
        left = {name: len(readers) for name, readers in self.graph.consumers.items()}
        shown = set(self.graph.outputs.values())
        for node in self.graph:
            self._decide(node)
            for value in dict.fromkeys(node.inputs):
                left[value] -= 1
                if not left[value] and value not in shown:
                    del self.stored[value]

    def _store_inputs(self, batches: Batches) -> None:
        rows: dict[str, list[Stored]] = {spec.name: [] for spec in self.graph.inputs}
        for feeds in batches():
            for name, parts in rows.items():
                parts.append(self._packed(name, np.asarray(feeds[name], np.float32)))
        self.stored = {name: np.concatenate(parts) for name, parts in rows.items()}

    def _packed(self, value: str, real: Array) -> Stored:
        """int8 if every reader takes it so, or if it is made so."""
        readers = self.graph.consumers[value]
        made = self.precisions.get(value) is Precision.INT8
        taken = bool(readers) and all(self.precisions.get(node.name) is Precision.INT8 for node in readers)
        return self.values[value].quantize(real) if made or taken else real

    def _read(self, value: str, reader: Node, rows: slice) -> Array:
        stored = self.stored[value][rows]
        if stored.dtype == np.int8:
            return self.values[value].dequantize(stored)
        if self.precisions.get(reader.name) is Precision.INT8:
            return self.values[value].dequantize(self.values[value].quantize(stored))
        return stored

    def _decide(self, node: Node) -> None:
        operation = node.operation
        if isinstance(operation, (Conv, Dense)) and node.name in self.precisions:
            node = replace(node, operation=self._quantized(node, operation))
        self._store(node)

    def _quantized(self, node: Node, operation: Conv | Dense) -> Conv | Dense:
        whole = self.precisions[node.name] is Precision.INT8
        read = self.values[node.inputs[0]] if whole else None
        scales = scales_of(operation, read=read, made=self.values.get(node.name))
        numbers = self._rounded(node, operation, scales)
        rough = replace(operation, kernel=numbers.astype(np.float32) * scales)
        gate = split_gate(self.graph, node.inputs[0])
        exact = gate is not None and gate.name == node.name  # it reads a value that is cut where the gate is closed
        wanted = self.correct and not exact
        bias = self._corrected(replace(node, operation=rough)) if wanted else operation.bias
        if read is None:
            self.kernels[node.name] = Kernel(numbers=numbers, scales=scales)
        else:
            self.kernels[node.name] = with_bias(numbers, scales, bias, read)
            bias = bias_of(self.kernels[node.name], read)
        self.biases[node.name] = np.zeros(len(scales), np.float32) if bias is None else bias
        return replace(rough, bias=self.biases[node.name])

    def _rounded(self, node: Node, operation: Conv | Dense, scales: Array) -> npt.NDArray[np.int8]:
        if not self.reconstruct:
            return nearest(operation, scales)
        return round_kernel(operation, scales, self._batches(node), seed=zlib.crc32(node.name.encode()))

    def _batches(self, node: Node) -> Iterator[Array]:
        (value,) = node.inputs
        for start in range(0, len(self.stored[value]), BATCH):
            yield self._read(value, node, slice(start, start + BATCH))

    def _corrected(self, node: Node) -> Array:
        linear = apart(fragment(self.graph, node)).nodes[0]
        total, seen = np.zeros(node.shape[-1] or 0), 0
        for made in self._run(linear):
            rows = made.reshape(-1, made.shape[-1])
            total += rows.sum(axis=0, dtype=np.float64)
            seen += len(rows)
        wanted = self.observed[linear.name].mean
        operation = linear.operation
        assert isinstance(operation, (Conv, Dense))
        bias = 0.0 if operation.bias is None else operation.bias
        result: Array = (bias + wanted - total / seen).astype(np.float32)
        return result

    def _store(self, node: Node) -> None:
        self.stored[node.name] = np.concatenate([self._packed(node.name, made) for made in self._run(node)])

    def _run(self, node: Node) -> Iterator[Array]:
        run = self.compile_(fragment(self.graph, node))
        count = len(self.stored[node.inputs[0]])
        for start in range(0, count, BATCH):
            rows = slice(start, start + BATCH)
            yield run({value: self._read(value, node, rows) for value in node.inputs})[node.name]


def fragment(graph: Graph, node: Node) -> Graph:
    """One node as a graph of its own."""
    inputs = tuple(TensorSpec(name=value, shape=graph.shapes[value]) for value in dict.fromkeys(node.inputs))
    return Graph(name=node.name, inputs=inputs, nodes=(node,), outputs={node.name: node.name})
