"""What is decided about a network before its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kexport.graph import Graph
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.plan import Affine, Precision


@dataclass(frozen=True, kw_only=True)
class Network:
    """What is decided before the walk: the graph, each node's precision, each value's scale, what float sees.

    Kernels of the ``heads`` have one scale: runtimes of integers alone may read no more of a dense layer.
    """

    graph: Graph
    precisions: Mapping[str, Precision]
    values: Mapping[str, Affine]
    observed: Mapping[str, Observed]
    heads: frozenset[str] = frozenset()

    def int8(self, name: str) -> bool:
        """Whether the node computes in int8."""
        return self.precisions.get(name) is Precision.INT8

    def waits_as_int8(self, value: str) -> bool:
        """Whether the value is made, or read by all its readers, as int8."""
        readers = self.graph.consumers[value]
        return self.int8(value) or (bool(readers) and all(self.int8(node.name) for node in readers))
