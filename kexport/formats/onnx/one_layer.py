"""The part of an ONNX file between some of its values and one that is made of them, as a file of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def read_by(model: Any, made: str, border: Collection[str]) -> tuple[str, ...]:
    """Which values of the ``border``, or inputs of the file, ``made`` is computed of."""
    return _part(model, made, border)[1]


def cut(model: Any, made: str, given: Mapping[str, npt.NDArray[np.generic]], copy: Path) -> None:
    """Write the nodes between the ``given`` values and ``made``, with their constants, to ``copy``."""
    import onnx
    from onnx import helper

    nodes, _ = _part(model, made, given)
    read = {name for node in nodes for name in node.input}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    output = onnx.ValueInfoProto()
    output.name = made
    constants = [each for each in model.graph.initializer if each.name in read]
    graph = helper.make_graph(nodes, "layer", inputs, [output], constants)
    made_of = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    copy.write_bytes(made_of.SerializeToString())


def _part(model: Any, made: str, border: Collection[str]) -> tuple[list[Any], tuple[str, ...]]:
    """The nodes that lead from the border to ``made``, in order, and the values of the border that they read."""
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {each.name for each in model.graph.initializer}
    pending, wanted = [made], set()
    given: dict[str, None] = {}
    while pending:
        name = pending.pop()
        maker = makers.get(name)
        if name != made and (name in border or maker is None):
            given.update({name: None} if name and name not in constants else {})
        elif maker is not None and id(maker) not in wanted:
            wanted.add(id(maker))
            pending += maker.input
    return [node for node in model.graph.node if id(node) in wanted], tuple(given)
