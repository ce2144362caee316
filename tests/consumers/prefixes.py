"""A network's file cut off behind one of its nodes, and one node by itself, in either format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from kexport.formats.tflite import parts as tflite_parts


def of(file: Path) -> OnnxPrefixes | TflitePrefixes:
    """The file's nodes in their order."""
    return OnnxPrefixes(file) if file.suffix == ".onnx" else TflitePrefixes(file)


class OnnxPrefixes:
    """Nodes that images reach; what prepares constants goes along with them."""

    def __init__(self, file: Path) -> None:
        import onnx

        self._model = onnx.shape_inference.infer_shapes(onnx.load(file))
        constants = {each.name for each in self._model.graph.initializer}
        self._input = next(each.name for each in self._model.graph.input if each.name not in constants)
        reached, self._nodes = {self._input}, []
        for node in self._model.graph.node:
            if reached & set(node.input):
                reached |= set(node.output)
                self._nodes.append(node)
        self._reached = reached

    def __len__(self) -> int:
        return len(self._nodes)

    def until(self, place: int) -> bytes:
        """The network as far as this node."""
        return self._cut(self._input, self._nodes[place].output[0])

    def alone(self, place: int) -> bytes:
        """The node, fed with the one value that it reads."""
        (source,) = self._read(place)
        return self._cut(source, self._nodes[place].output[0])

    def source(self, place: int) -> int | None:
        """The node that makes its one value, -1 for the image; None where there are several."""
        read = self._read(place)
        makers = {name: number for number, node in enumerate(self._nodes) for name in node.output}
        return makers.get(read[0], -1) if len(read) == 1 else None

    def described(self, place: int) -> str:
        """Operator, shapes and attributes."""
        import onnx

        node = self._nodes[place]
        options = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        return f"node {place + 1} of {len(self)}, {node.op_type} {node.name} {options} of {list(node.input)}"

    def _read(self, place: int) -> list[str]:
        return [name for name in dict.fromkeys(self._nodes[place].input) if name in self._reached]

    def _cut(self, source: str, result: str) -> bytes:
        import onnx

        made: Any = onnx.utils.Extractor(self._model).extract_model([source], [result])
        for border in (made.graph.input[0], made.graph.output[0]):
            for size in border.type.tensor_type.shape.dim:
                size.dim_value = size.dim_value or 1  # the batch
        del made.graph.value_info[:]
        return bytes(made.SerializeToString())


class TflitePrefixes:
    """Operators that run with every picture."""

    def __init__(self, file: Path) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._model = tflite_parts.read(file)
        self._model.buffers = [tflite_parts._Buffer(schema=schema, data=each.data) for each in self._model.buffers]
        self._graph = self._model.subgraphs[0]
        self._all, self._shown = list(self._graph.operators), self._graph.outputs
        self._operators = tflite_parts.operators(self._model)

    def __len__(self) -> int:
        return len(self._operators)

    def until(self, place: int) -> bytes:
        """The network as far as this operator."""
        last = self._operators[place].place
        self._graph.operators, self._graph.outputs = self._all[: last + 1], self._all[last].outputs[:1]
        signatures, self._model.signatureDefs = self._model.signatureDefs, None
        content = tflite_parts.packed(self._model)
        self._graph.operators, self._graph.outputs, self._model.signatureDefs = self._all, self._shown, signatures
        return content

    def alone(self, place: int) -> bytes:
        """The operator, fed with the one value that it reads."""
        return tflite_parts.cut(self._model, self._operators[place].place)

    def source(self, place: int) -> int | None:
        """The operator that makes its one value, -1 for the image; None where there are several."""
        read = tflite_parts.inputs(self._model, self._operators[place].place)
        makers = {
            value: number for number, each in enumerate(self._operators) for value in self._all[each.place].outputs
        }
        return makers.get(read[0], -1) if len(read) == 1 else None

    def described(self, place: int) -> str:
        """Operator, shapes and types."""
        each = self._operators[place]
        operator = self._all[each.place]
        shapes = [[int(size) for size in self._graph.tensors[value].shape] for value in operator.inputs if value >= 0]
        made = [int(size) for size in self._graph.tensors[operator.outputs[0]].shape]
        return f"operator {place + 1} of {len(self)}, {each.name} of {shapes} to {made}"
