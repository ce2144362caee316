"""The typed graph between Keras and the file formats.

Values are NHWC (batch, height, width, channels), the batch is ``None`` (symbolic) or a number, all
other axes are numbers. A node has exactly one output, which carries the node's name; a node also
remembers the Keras layers that it stands for, in order (``conv1_conv, conv1_bn, conv1_relu`` after
fusion). Everything is frozen: a pass builds a new graph.

Constructing a `Graph` checks it: names are unique, inputs come before use, and the shape that each
operation infers is the shape that its node states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from kexport.errors import GraphError
from kexport.operations import Operation, Shape


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """A named tensor at the boundary of a model. ``shape`` includes the batch axis."""

    name: str
    shape: Shape
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation. ``name`` is also the name of its only output value.

    ``copies``: the batch axis of the value is so many times as long as that of the model (see `Regroup`).
    """

    name: str
    operation: Operation
    inputs: tuple[str, ...]
    shape: Shape
    layers: tuple[str, ...] = ()
    copies: int = 1


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A model. ``outputs`` maps each output's public name to the value that it shows.

    Every value is ``dtype``; ``output_dtypes`` says, by public name, in which other type an output is shown.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    nodes: tuple[Node, ...]
    outputs: Mapping[str, str]
    dtype: str = field(default="float32")
    output_dtypes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes: dict[str, Shape] = {spec.name: spec.shape for spec in self.inputs}
        for node in self.nodes:
            _check_node(node, shapes)
            shapes[node.name] = node.shape
        for public, value in self.outputs.items():
            if value not in shapes:
                raise GraphError(f"output {public!r} of {self.name} shows unknown value {value!r}")

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every value, inputs included."""
        return {spec.name: spec.shape for spec in self.inputs} | {n.name: n.shape for n in self.nodes}

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """Value name -> the node that makes it (graph inputs have none)."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Value name -> the nodes that read it, once per reading node."""
        found: dict[str, list[Node]] = {name: [] for name in self.shapes}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                found[value].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """Public name, shape and dtype of every output, in order."""
        return tuple(
            TensorSpec(name=public, shape=self.shapes[value], dtype=self.output_dtypes.get(public, self.dtype))
            for public, value in self.outputs.items()
        )

    def only_reader(self, value: str) -> Node | None:
        """The node that alone reads ``value``; None if several do, none does, or it is an output."""
        readers = self.consumers[value]
        return readers[0] if len(readers) == 1 and value not in self.outputs.values() else None

    def with_batch(self, batch: int | None) -> Graph:
        """The same graph with another batch size on every value."""
        return replace(
            self,
            inputs=tuple(replace(spec, shape=(batch, *spec.shape[1:])) for spec in self.inputs),
            nodes=tuple(
                replace(node, shape=(batch if batch is None else batch * node.copies, *node.shape[1:]))
                for node in self.nodes
            ),
        )

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


def _check_node(node: Node, shapes: Mapping[str, Shape]) -> None:
    if node.name in shapes:
        raise GraphError(f"two values are named {node.name!r}; names must be unique")
    missing = [value for value in node.inputs if value not in shapes]
    if missing:
        raise GraphError(f"node {node.name!r} reads {missing[0]!r} before anything makes it")
    try:
        inferred = node.operation.infer(*(shapes[value] for value in node.inputs))
    except (GraphError, TypeError, IndexError, ValueError) as error:
        raise GraphError(f"node {node.name!r} ({type(node.operation).__name__}): {error}") from error
    if inferred != node.shape:
        raise GraphError(
            f"node {node.name!r} ({type(node.operation).__name__}): states shape {node.shape}, "
            f"but its operation gives {inferred}"
        )
