"""Kernels and biases, node by node along the quantized network.

Each node sees what the quantized nodes before it made of the calibration images. Its kernel is fitted to that and
rounded; the error that it makes on average, per channel, against the float network goes into its bias (Nagel et al.
2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", 4.2, here with data and sequentially).
Values wait for their readers as int8: all images at once are held, but only between a maker and its last reader. What
the float network makes is held for all kernels from the beginning, at some positions of every image, until its turn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Conv, Dense
from kexport.quantization import Array, Batches, Compile, Stored
from kexport.quantization.kernels.int8 import bias_of, nearest, scales_in_pairs, scales_of, with_bias
from kexport.quantization.kernels.pairs import pairs_of
from kexport.quantization.kernels.refit import refit
from kexport.quantization.kernels.rounding import round_kernel
from kexport.quantization.known import MADE, REAL_BIAS, Arrays, Known, Memory, Nothing, entry, kernel_of, recall
from kexport.quantization.network import Network
from kexport.quantization.observe.moments import Moments, gather
from kexport.quantization.observe.positions import Inputs, image_size, taps_of
from kexport.quantization.observe.statistics import apart
from kexport.quantization.observe.targets import Target, targets
from kexport.quantization.plan import Kernel
from kexport.quantization.scales import silu
from kexport.quantization.scales.bounds import split_gate
from kexport.quantization.waiting import Waiting, room

MOST_TAPS = 1200  # weights per output of a kernel that is fitted
BATCH_NUMBERS = 1 << 22  # of a node's input or output that one run handles, about


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The walk's result: kernels, and the real biases of all quantized linear nodes."""

    kernels: dict[str, Kernel] = field(default_factory=dict)
    biases: dict[str, Array] = field(default_factory=dict)


def decide(
    network: Network,
    batches: Batches,
    compile_: Compile,
    *,
    fit: bool = True,
    portable: bool = True,
    otherwise: Collection[str] = (),
    folder: Path | None = None,
    memory: Memory | None = None,
) -> Decided:
    """Every kernel and bias, in the order of the graph.

    ``fit`` False rounds kernels as they are; ``portable`` False does not keep neighbours within 16 bits (`pairs`), but
    those of the nodes ``otherwise``, which have the contrary of it. Large values wait in ``folder`` (`waiting`). What
    the ``memory`` has is not decided again (`known`).
    """
    memory = memory or Nothing()

    def asked(node: Node) -> object:
        pairs = pairs_of(network.graph, node) if _has_kernel(network, node) else ()
        narrow = portable != (node.name in otherwise)
        return fit, narrow, pairs, node.name in fitted, node.name in network.heads, _cut(network, node)

    fitted = frozenset(_fitted(network))
    known = recall(network, memory, asked=asked, kernels=lambda node: _has_kernel(network, node))
    read = any(spec.name in known.needed for spec in network.graph.inputs)
    stored = inputs_of(network, batches) if read else {}
    images = sum(len(next(iter(feeds.values()))) for feeds in batches())
    found = {name for name in _fitted(network) if known.kernel(name)}
    wanted = targets(
        network.graph, batches, compile_, names=_fitted(network), images=images, known=found, memory=memory
    )
    walk = Walk(
        network=network,
        compile_=compile_,
        stored=stored,
        decided=Decided(),
        targets=wanted,
        fit=fit,
        portable=portable,
        otherwise=otherwise,
        folder=folder,
    )
    left = {name: len(readers) for name, readers in network.graph.consumers.items()}
    for node in network.graph:
        _step(walk, node, known, memory)
        for value in dict.fromkeys(node.inputs):
            left[value] -= 1
            if not left[value]:
                walk.stored.pop(value, None)
    return walk.decided


def _step(walk: Walk, node: Node, known: Known, memory: Memory) -> None:
    """Decide a node, or take what is known of it; what the next nodes do not need is not made."""
    found, last = known.found.get(node.name, {}), node.name not in known.needed
    if found and (known.kernel(node.name) or not _has_kernel(walk.network, node)):
        walk.take(node, found, last=last)
        return
    walk.visit(node, last=last)
    if node.name in known.keys:
        kernel, bias = walk.decided.kernels.get(node.name), walk.decided.biases.get(node.name)
        if kept := entry(kernel, bias, walk.stored.get(node.name)):
            memory.put(known.keys[node.name], kept)


def _has_kernel(network: Network, node: Node) -> bool:
    return isinstance(node.operation, (Conv, Dense)) and node.name in network.precisions


def _cut(network: Network, node: Node) -> bool:
    return _has_kernel(network, node) and reads_cut(network.graph, node)


def _fitted(network: Network) -> tuple[str, ...]:
    """The linear nodes whose kernels are fitted and rounded together.

    Kernels with more than `MOST_TAPS` weights per output are rounded to the nearest: their errors average out, and
    their covariance would not fit in memory. The gate of a hard swish or silu keeps its form.
    """
    return tuple(
        node.name
        for node in network.graph
        if isinstance(node.operation, (Conv, Dense))
        and node.name in network.precisions
        and node.copies == 1
        and taps_of(node.operation) <= MOST_TAPS
        and not reads_cut(network.graph, node)
    )


def reads_cut(graph: Graph, node: Node) -> bool:
    """The gate of a hard swish reads u cut at -1/2: its mean differs from float's, and that is right; silu's alike."""
    gate = split_gate(graph, node.inputs[0])
    return (gate is not None and gate.name == node.name) or silu.undoes(graph, node)


def inputs_of(network: Network, batches: Batches) -> dict[str, Waiting]:
    """What the graph's inputs hold, all images together: where a walk begins."""
    rows: dict[str, list[Stored]] = {spec.name: [] for spec in network.graph.inputs}
    for feeds in batches():
        for name, parts in rows.items():
            parts.append(_packed(network, name, np.asarray(feeds[name], np.float32)))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def _packed(network: Network, value: str, real: Array) -> Stored:
    return network.values[value].quantize(real) if network.waits_as_int8(value) else real


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Where a walk along the graph stands: ``stored`` holds what was made so far and is still read.

    ``targets`` are those of nodes that come yet; kernels of nodes without one are rounded to the nearest, unfitted.
    """

    network: Network
    compile_: Compile
    stored: dict[str, Waiting]
    decided: Decided
    targets: dict[str, Target] = field(default_factory=dict)
    fit: bool = True
    portable: bool = True
    otherwise: Collection[str] = ()
    folder: Path | None = None

    def visit(self, node: Node, *, last: bool) -> None:
        """Decide the node's numbers, then store what it makes unless nobody reads it."""
        operation = node.operation
        if isinstance(operation, (Conv, Dense)) and node.name in self.network.precisions:
            node = replace(node, operation=self._quantized(node, operation))
        if not last:
            self._store(node)

    def take(self, node: Node, found: Arrays, *, last: bool) -> None:
        """As `visit`, with what was decided before for the same node."""
        if isinstance(node.operation, (Conv, Dense)) and node.name in self.network.precisions:
            kernel, bias = kernel_of(found), found[REAL_BIAS]
            self.decided.kernels[node.name], self.decided.biases[node.name] = kernel, bias
            node = replace(node, operation=replace(node.operation, kernel=kernel.dequantize(), bias=bias))
        if not last:
            self._store(node) if MADE not in found else self.stored.update({node.name: found[MADE]})

    def _quantized(self, node: Node, operation: Conv | Dense) -> Conv | Dense:
        moments = self._moments(node, operation)
        if moments is not None and self.fit:
            operation = replace(operation, kernel=refit(operation, moments))
        read = self.network.values[node.inputs[0]] if self.network.int8(node.name) else None
        scales = scales_of(operation, read=read, made=self.network.values.get(node.name))
        pairs = pairs_of(self.network.graph, node) if self.portable != (node.name in self.otherwise) else ()
        if pairs:
            scales = scales_in_pairs(operation, scales, pairs, moments)
        if node.name in self.network.heads:
            scales = np.full_like(scales, scales.max())
        numbers = (
            nearest(operation, scales, pairs) if moments is None else round_kernel(operation, scales, moments, pairs)
        )
        rough = replace(operation, kernel=numbers.astype(np.float32) * scales)
        cut = reads_cut(self.network.graph, node)
        bias = operation.bias if cut else self._corrected(replace(node, operation=rough))
        if read is None:
            self.decided.kernels[node.name] = Kernel(numbers=numbers, scales=scales)
        else:
            kernel = with_bias(numbers, scales, bias, read)
            self.decided.kernels[node.name], bias = kernel, bias_of(kernel, read)
        self.decided.biases[node.name] = np.zeros(len(scales), np.float32) if bias is None else bias
        return replace(rough, bias=self.decided.biases[node.name])

    def _moments(self, node: Node, operation: Conv | Dense) -> Moments | None:
        """What the node reads and lacks, if it has a target, which is not needed again."""
        target = self.targets.pop(node.name, None)
        if target is None:
            return None
        (value,) = node.inputs
        inputs = Inputs(stored=self.stored[value], real=lambda part: self._real(part, value, node))
        bias = 0.0 if operation.bias is None else operation.bias
        wanted = (target.whole - bias).reshape(len(inputs.stored), -1, operation.kernel.shape[-1])
        return gather(operation, inputs, image_size(node), wanted)

    def _corrected(self, node: Node) -> Array:
        """The bias with which the node's mean, before activation, is that of the float network, channel by channel."""
        linear = apart(fragment(self.network.graph, node)).nodes[0]
        total, seen = np.zeros(node.shape[-1] or 0), 0
        for made in self._run(linear):
            rows = made.reshape(-1, made.shape[-1])
            total += rows.sum(axis=0, dtype=np.float64)
            seen += len(rows)
        bias = getattr(linear.operation, "bias", None)
        wanted = self.network.observed[node.name].linear
        result: Array = ((0.0 if bias is None else bias) + wanted - total / seen).astype(np.float32)
        return result

    def _store(self, node: Node) -> None:
        made = None
        images = self._images(node.inputs[0])
        for rows, part in zip(self._slices(node), self._run(node), strict=True):
            packed = _packed(self.network, node.name, part)
            if made is None:
                made = room((images * node.copies, *packed.shape[1:]), packed.dtype, self.folder)
            made[_times(rows, node.copies)] = packed
        assert made is not None
        self.stored[node.name] = made

    def _run(self, node: Node) -> Iterator[Array]:
        run = self.compile_(fragment(self.network.graph, node))
        for rows in self._slices(node):
            yield run({value: self._read(value, node, rows) for value in node.inputs})[node.name]

    def _slices(self, node: Node) -> Iterator[slice]:
        """Spans of images."""
        count = self._images(node.inputs[0])
        shapes = [node.shape, *(self.network.graph.shapes[value] for value in node.inputs)]
        copies = max(node.copies, *(self._copies(value) for value in node.inputs))
        largest = copies * max(int(np.prod([axis or 1 for axis in shape])) for shape in shapes)
        step = max(1, BATCH_NUMBERS // largest)
        yield from (slice(start, min(start + step, count)) for start in range(0, count, step))

    def _read(self, value: str, reader: Node, rows: slice) -> Array:
        """The real numbers that the reader works on."""
        return self._real(self.stored[value][_times(rows, self._copies(value))], value, reader)

    def _copies(self, value: str) -> int:
        """How many rows of the value belong to one image."""
        producer = self.network.graph.producers.get(value)
        return producer.copies if producer else 1

    def _images(self, value: str) -> int:
        return len(self.stored[value]) // self._copies(value)

    def _real(self, stored: Stored, value: str, reader: Node) -> Array:
        if stored.dtype == np.int8:
            return self.network.values[value].dequantize(stored)
        if self.network.int8(reader.name):
            return self.network.values[value].dequantize(self.network.values[value].quantize(stored))
        return stored


def _times(rows: slice, copies: int) -> slice:
    return slice(rows.start * copies, rows.stop * copies)


def fragment(graph: Graph, node: Node) -> Graph:
    """One node as a graph of its own."""
    inputs = tuple(TensorSpec(name=value, shape=graph.shapes[value]) for value in dict.fromkeys(node.inputs))
    return Graph(name=node.name, inputs=inputs, nodes=(node,), outputs={node.name: node.name})
