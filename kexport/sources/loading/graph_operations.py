"""Operations of TensorFlow's graph that tf.keras 2.0 to 2.3 stored as layers of class ``TensorFlowOpLayer``.

Such a layer holds a node of a graph as protobuf's JSON (``{"op": "Mul", "attr": {...}}``) and its constant inputs by
place. Each operation of `TABLE` takes all inputs in order and the node's attributes, and is what the function of the
same meaning in `tensor_functions` is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kexport.sources.loading import tensor_functions
from kexport.sources.loading.tensor_functions import refused

CLASS = "TensorFlowOpLayer"
Attributes = Mapping[str, Any]
Operation = Callable[[Sequence[Any], Attributes], Any]
_TYPES = {"DT_FLOAT": "float32", "DT_INT32": "int32", "DT_INT64": "int64", "DT_BOOL": "bool", "DT_UINT8": "uint8"}


def parsed(config: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Operation, attributes and constants by place of a layer's configuration; no operation where none can be read."""
    node = config.get("node_def")
    try:
        found = json.loads(node) if isinstance(node, str) else node
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(config.get("constants", {}), dict):
        return "", {}, {}
    attributes = {name: _plain(value) for name, value in found.get("attr", {}).items() if isinstance(value, dict)}
    return str(found.get("op", "")), attributes, {str(place): each for place, each in config["constants"].items()}


def _plain(value: dict[str, Any]) -> Any:
    """An attribute's value: a number, a text, a type or a list of those."""
    inner: Any
    kind, inner = next(iter(value.items()), ("", ""))
    if kind == "list":
        return [_plain({name: each}) for name, many in (inner or {}).items() for each in many]
    return int(inner) if kind == "i" else _TYPES.get(str(inner), "") if kind == "type" else inner


def call(name: str, attributes: Attributes, constants: Mapping[str, Any], given: Any) -> Any:
    """The operation of ``TABLE`` on the tensors that a layer is called with and its constants."""
    tensors = list(given) if isinstance(given, (list, tuple)) else [given]
    inputs = [
        constants[str(place)] if str(place) in constants else tensors.pop(0)
        for place in range(len(tensors) + len(constants))
    ]
    return TABLE[name](inputs, attributes)


def _same(name: str) -> Operation:
    return lambda inputs, _: tensor_functions.TABLE[name](*inputs)


def _reduced(name: str) -> Operation:
    return lambda inputs, attributes: tensor_functions.TABLE[f"math.reduce_{name}"](
        *inputs, keepdims=bool(attributes.get("keep_dims"))
    )


def _joined(inputs: Sequence[Any], attributes: Attributes) -> Any:
    del attributes
    return tensor_functions.TABLE["concat"](inputs[:-1], inputs[-1])


def _stacked(inputs: Sequence[Any], attributes: Attributes) -> Any:
    return tensor_functions.TABLE["stack"](inputs, attributes.get("axis", 0))


def _squeezed(inputs: Sequence[Any], attributes: Attributes) -> Any:
    return tensor_functions.TABLE["squeeze"](inputs[0], attributes.get("squeeze_dims"))


def _multiplied(first: str, second: str) -> Operation:
    return lambda inputs, attributes: tensor_functions.TABLE["linalg.matmul"](
        *inputs, transpose_a=bool(attributes.get(first)), transpose_b=bool(attributes.get(second))
    )


def _resized(method: str) -> Operation:
    def resize(inputs: Sequence[Any], attributes: Attributes) -> Any:
        if attributes.get("align_corners") or not attributes.get("half_pixel_centers"):
            raise refused("corners that are aligned, or pixels that are not counted from their centres")
        return tensor_functions.TABLE["image.resize"](*inputs, method=method)

    return resize


def _cut(inputs: Sequence[Any], attributes: Attributes) -> Any:
    """``x[begin:end:strides]`` with TensorFlow's bit masks."""
    value, begins, ends, strides = inputs

    def bit(name: str, place: int) -> bool:
        return bool(int(attributes.get(f"{name}_mask", 0)) >> place & 1)

    key: list[Any] = []
    for place, (begin, end, step) in enumerate(zip(begins, ends, strides, strict=True)):
        if bit("ellipsis", place):
            key.append(Ellipsis)
        elif bit("new_axis", place):
            key.append(None)
        elif bit("shrink_axis", place):
            key.append(begin)
        else:
            first, last = (None if bit(mask, place) else each for mask, each in (("begin", begin), ("end", end)))
            key.append(slice(first, last, step))
    return value[tuple(key)]


def _blocks(name: str) -> Operation:
    return lambda inputs, attributes: tensor_functions.TABLE[f"nn.{name}"](inputs[0], attributes["block_size"])


TABLE: dict[str, Operation] = {
    **{
        name: _same(f"math.{own}")
        for name, own in {
            "Add": "add", "AddV2": "add", "Sub": "subtract", "Mul": "multiply", "RealDiv": "divide",
            "Maximum": "maximum", "Minimum": "minimum", "Pow": "pow", "SquaredDifference": "squared_difference",
            "FloorDiv": "floordiv", "FloorMod": "floormod", "Neg": "negative", "Greater": "greater", "Less": "less",
            "GreaterEqual": "greater_equal", "LessEqual": "less_equal", "Equal": "equal",
            **{name.capitalize(): name for name in (
                "abs", "exp", "log", "log1p", "sqrt", "rsqrt", "square", "sign", "floor", "ceil", "round", "sin", "cos",
                "tanh", "erf", "sigmoid", "softplus", "softsign", "reciprocal",
            )},
        }.items()
    },
    **{name.capitalize(): _same(f"nn.{name}") for name in ("relu", "relu6", "elu", "selu", "softmax")},
    **{name.capitalize(): _reduced(name) for name in ("mean", "sum", "max", "min", "prod", "all", "any")},
    "LogSoftmax": _same("nn.log_softmax"),
    "LeakyRelu": lambda inputs, attributes: tensor_functions.TABLE["nn.leaky_relu"](
        inputs[0], float(attributes.get("alpha", 0.2))
    ),
    "BiasAdd": _same("nn.bias_add"),
    "Identity": _same("identity"),
    "StopGradient": _same("stop_gradient"),
    "Reshape": _same("reshape"),
    "Transpose": _same("transpose"),
    "ExpandDims": _same("expand_dims"),
    "Squeeze": _squeezed,
    "ConcatV2": _joined,
    "Pack": _stacked,
    "Pad": _same("pad"),
    "Tile": _same("tile"),
    "GatherV2": lambda inputs, _: tensor_functions.TABLE["gather"](inputs[0], inputs[1], axis=inputs[2]),
    "ClipByValue": _same("clip_by_value"),
    "Cast": lambda inputs, attributes: tensor_functions.TABLE["cast"](inputs[0], attributes["DstT"]),
    "MatMul": _multiplied("transpose_a", "transpose_b"),
    "BatchMatMulV2": _multiplied("adj_x", "adj_y"),
    "ResizeBilinear": _resized("bilinear"),
    "ResizeNearestNeighbor": _resized("nearest"),
    "DepthToSpace": _blocks("depth_to_space"),
    "SpaceToDepth": _blocks("space_to_depth"),
    "StridedSlice": _cut,
}  # fmt: skip
