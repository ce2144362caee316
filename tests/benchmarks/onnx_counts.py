"""What an ONNX file computes: multiplications of one image, and how many operators of each kind."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any


def multiplications(path: Path) -> int:
    """Those of convolutions and matrix products, with a batch of one."""
    import onnx

    model = onnx.load(str(path))
    for dim in (each.type.tensor_type.shape.dim[0] for each in model.graph.input):
        dim.Clear()
        dim.dim_value = 1
    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return sum(_products(node, shapes) for node in graph.node)


def _products(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":
        return _size(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return _size(shapes[node.output[0]]) * shapes[node.input[1]][-2]
    if node.op_type == "Gemm":
        return _size(shapes[node.output[0]]) * (math.prod(shapes[node.input[1]]) // shapes[node.output[0]][-1])
    return 0


def _size(shape: tuple[int, ...]) -> int:
    """Of one image, where the batch was left open."""
    return math.prod(shape[1:]) * (shape[0] or 1)


def operators(path: Path) -> dict[str, int]:
    """Of the file as ONNX Runtime runs it, after all its own optimizations."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it would warn that an optimized file is for this machine alone
        options.optimized_model_filepath = str(Path(folder, "optimized.onnx"))
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath, load_external_data=False).graph.node
        return dict(sorted(Counter(node.op_type for node in nodes).items()))
