"""A check copy of a SavedModel that shows the values before its last softmax or sigmoid.

Every operation and every weight is the folder's own; only that last step of the serving function becomes an Identity.
See `kexport.formats.onnx.check_copy`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kexport.sources.loading.served import SERVING

GRAPH = "saved_model.pb"
_LAST = {"softmax": ("Softmax", "softmax"), "sigmoid": ("Sigmoid", "y")}
"""The operation, and what it calls its result."""
_MOVING = {"Reshape", "Transpose", "Cast", "Identity", "Squeeze", "ExpandDims"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


def write(path: Path, copy: Path, wanted: Mapping[str, str]) -> frozenset[str]:
    """As `kexport.formats.onnx.check_copy.write`, for a folder; the copy links to the weights of the original."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel.FromString((path / GRAPH).read_bytes())
    graph = content.meta_graphs[0]
    shown = frozenset(name for name, kind in wanted.items() if _bare(graph, name, *_LAST[kind]))
    if shown:
        copy.mkdir()
        for each in path.iterdir():
            if each.name not in (GRAPH, "fingerprint.pb"):
                (copy / each.name).symlink_to(each.resolve())
        (copy / GRAPH).write_bytes(content.SerializeToString(deterministic=True))
    return shown


def _bare(graph: Any, name: str, last: str, result: str) -> bool:
    """Leave the last step of one output out; False, and nothing changed, where there is none."""
    functions = {each.signature.name: each for each in graph.graph_def.library.function}
    found = _last_step(graph, functions, graph.signature_def[SERVING].outputs[name].name)
    if found is None:
        return False
    function, node = found
    if node.op != last:
        return False
    node.op = "Identity"
    for key in [key for key in node.attr if key != "T"]:
        del node.attr[key]
    _rename(function, f"{node.name}:{result}:0", f"{node.name}:output:0")
    return True


def _last_step(graph: Any, functions: Mapping[str, Any], tensor: str) -> tuple[Any, Any] | None:
    """The operation that computes a result of the serving function, and the function in which it stands.

    None where something else reads a value on the way, or where a function on the way is called more than once.
    """
    caller, place = tensor.split(":")
    function = functions[_called(graph.graph_def.node, caller)]
    calls = Counter(_calls(function, functions))
    value = _returned(function, int(place))
    while _readers(function)[value] == 1 and value.count(":") == 2:
        producer, _, place = value.split(":")
        node = next(each for each in function.node_def if each.name == producer)
        if node.op in _CALLS:
            function = functions[node.attr["f"].func.name]
            if calls[function.signature.name] != 1:
                return None
            value = _returned(function, int(place))
        elif node.op in _MOVING:
            value = node.input[0]
        else:
            return function, node
    return None


def _calls(function: Any, functions: Mapping[str, Any]) -> Iterator[str]:
    """Every call from a function on; other signatures call the same ones, and are not run."""
    for node in function.node_def:
        if node.op in _CALLS:
            yield node.attr["f"].func.name
            yield from _calls(functions[node.attr["f"].func.name], functions)


def _called(nodes: Any, name: str) -> str:
    return str(next(node for node in nodes if node.name == name).attr["f"].func.name)


def _returned(function: Any, place: int) -> str:
    return str(function.ret[function.signature.output_arg[place].name])


def _readers(function: Any) -> Counter[str]:
    return Counter(_read(function))


def _read(function: Any) -> Iterator[str]:
    """Every value that is read for its numbers; its shape is another thing."""
    for node in function.node_def:
        if node.op != "Shape":
            yield from node.input
    yield from function.ret.values()


def _rename(function: Any, before: str, after: str) -> None:
    for node in function.node_def:
        for place, value in enumerate(node.input):
            if value == before:
                node.input[place] = after
    for name, value in list(function.ret.items()):
        if value == before:
            function.ret[name] = after
