"""``--embed-preprocessing``: pixels go into the graph, which does itself what the contract says.

A pixel p becomes ``((p - whole) - rest) / width``: of ``(p * scale - mean) / std``, ``whole`` and ``rest`` are the
parts of mean / scale before and after the point, ``width`` is std / scale. The first difference is exact in float32,
each further step is rounded once: the value is that of `kexport.images.photographs.prepare` to the last bit or two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kexport.errors import UnsupportedError
from kexport.graph import Graph, Node
from kexport.operations import Binary, BinaryKind, Operation, Take
from kexport.records import Preprocessing

PIXELS = "uint8"


def embedded(graph: Graph, contract: Preprocessing) -> tuple[Graph, str, str]:
    """The graph with pixels as its image input; the name of that input, and of the value that was it before.

    Both names are the same where pixels are what the network takes. Raises UnsupportedError without such an input.
    """
    found = [spec for spec in graph.inputs if len(spec.shape) == 4 and spec.shape[1:3] == contract.size]
    if len(found) != 1 or found[0].dtype != "float32":
        raise UnsupportedError(
            f"--embed-preprocessing: {graph.name} has {len(found)} float32 inputs of {contract.size}, expected one",
            hint="leave --embed-preprocessing out",
        )
    name, nodes = found[0].name, []
    value = name
    for word, operation in _steps(contract):
        nodes.append(Node(name=f"{name}/{word}", operation=operation, inputs=(value,), shape=found[0].shape))
        value = nodes[-1].name
    return _with(graph, name, value, tuple(nodes)), name, value


def _steps(contract: Preprocessing) -> Iterator[tuple[str, Operation]]:
    middle = np.array(contract.mean) / contract.scale
    width = np.array(contract.std) / contract.scale
    whole = np.floor(middle + 2.0**-20)  # 116.99999999999999 is 117
    if contract.channel_order == "BGR":
        yield "reversed", Take(axis=3, places=tuple(reversed(range(len(middle)))))
    for word, kind, constant, nothing in (
        ("whole", BinaryKind.SUBTRACT, whole, 0.0),
        ("centred", BinaryKind.SUBTRACT, middle - whole, 0.0),
        ("scaled", BinaryKind.DIVIDE, width, 1.0),
    ):
        numbers = constant.astype(np.float32)
        if (numbers != nothing).any():
            yield word, Binary(kind=kind, constant=numbers)


def _with(graph: Graph, name: str, value: str, steps: tuple[Node, ...]) -> Graph:
    """Who read the input reads the value now."""

    def now(read: str) -> str:
        return value if read == name else read

    nodes = tuple(replace(node, inputs=tuple(map(now, node.inputs))) for node in graph)
    return replace(
        graph,
        inputs=tuple(replace(spec, dtype=PIXELS) if spec.name == name else spec for spec in graph.inputs),
        nodes=(*steps, *nodes),
        outputs={public: now(shown) for public, shown in graph.outputs.items()},
    )
