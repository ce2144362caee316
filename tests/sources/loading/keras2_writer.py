"""Writes a model as Keras 2 and tf.keras wrote it: HDF5 with ``model_config``, weights by layer, old conventions.

Written from the format, by hand with h5py, not with Keras 3's own legacy saver, which differs: axes are lists,
inputs have ``batch_input_shape``, depthwise convolutions have ``groups``, calls are lists of
``[layer, node, tensor, keywords]``, names of weights end in ``:0``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_KEEP = {
    "Conv2D": ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias"),
    "DepthwiseConv2D": ("kernel_size", "strides", "padding", "dilation_rate", "use_bias", "depth_multiplier"),
    "SeparableConv2D": ("filters", "kernel_size", "strides", "padding", "dilation_rate", "use_bias"),
    "Dense": ("units", "use_bias"),
    "BatchNormalization": ("momentum", "epsilon", "center", "scale"),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "ZeroPadding2D": ("padding",),
    "GlobalAveragePooling2D": ("keepdims",),
    "Dropout": ("rate",),
    "Activation": (),
    "Add": (),
    "Concatenate": ("axis",),
    "AveragePooling2D": ("pool_size", "strides", "padding"),
    "MaxPooling2D": ("pool_size", "strides", "padding"),
    "Rescaling": ("scale", "offset"),
}
_GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None}}


def write(path: Path, model: Any, *, policy: str | None = None, rename: dict[str, str] | None = None) -> Path:
    """Write ``model``; ``rename`` gives layers names that Keras 3 does not allow."""
    names = rename or {}
    config = _model(model, policy, names)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.9.0", "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["training_config"] = json.dumps({"loss": "categorical_crossentropy", "metrics": ["acc"]})
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [names.get(layer.name, layer.name).encode() for layer in model.layers]
        weights.attrs["backend"], weights.attrs["keras_version"] = b"tensorflow", b"2.9.0"
        for layer in model.layers:
            _weights(weights.create_group(names.get(layer.name, layer.name)), layer)
        file.create_group("optimizer_weights").create_dataset("Adam/iter:0", data=np.int64(3))
    return path


def _weights(group: Any, layer: Any) -> None:
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    owners = {id(v): inner.name for inner in layer._flatten_layers() for v in inner._trainable_variables}
    owners |= {id(v): inner.name for inner in layer._flatten_layers() for v in inner._non_trainable_variables}
    names = [f"{owners.get(id(v), layer.name)}/{v.name}:0" for v in variables]
    group.attrs["weight_names"] = [name.encode() for name in names]
    for name, variable in zip(names, variables, strict=True):
        group.create_dataset(name, data=np.asarray(variable))


def _model(model: Any, policy: str | None, names: dict[str, str]) -> dict[str, Any]:
    if type(model).__name__ == "Sequential":
        first = model.inputs[0]
        inputs = _input_layer("the_input", first)
        layers = [inputs, *(_layer(layer, policy, names) for layer in model.layers)]
        return {"class_name": "Sequential", "config": {"name": model.name, "layers": layers}}
    layers = []
    for operation in model.operations:
        if type(operation).__name__ == "InputLayer":
            layers.append({**_input_layer(operation.name, operation.output), "inbound_nodes": []})
            continue
        calls = [_call(node, names) for node in operation._inbound_nodes if _of(model, node)]
        layers.append({**_layer(operation, policy, names), "inbound_nodes": calls})
    for layer in layers:
        layer["name"] = layer["config"]["name"]
    config = {
        "name": model.name,
        "layers": layers,
        "input_layers": [_tensor(tensor, names)[:3] for tensor in model.inputs],
        "output_layers": [_tensor(tensor, names)[:3] for tensor in model.outputs],
    }
    return {"class_name": "Functional", "config": config}


def _of(model: Any, node: Any) -> bool:
    return any(node is known for nodes in model._nodes_by_depth.values() for known in nodes)


def _input_layer(name: str, tensor: Any) -> dict[str, Any]:
    config = {"batch_input_shape": list(tensor.shape), "dtype": "float32", "sparse": False, "ragged": False}
    return {"class_name": "InputLayer", "config": {**config, "name": name}}


def _call(node: Any, names: dict[str, str]) -> list[Any]:
    return [_tensor(tensor, names) for tensor in node.input_tensors]


def _tensor(tensor: Any, names: dict[str, str]) -> list[Any]:
    history = tensor._keras_history
    name = names.get(history.operation.name, history.operation.name)
    inner = hasattr(history.operation, "_nodes_by_depth") or hasattr(history.operation, "_functional")
    node = history.node_index + 1 if inner else history.node_index  # Keras 2 counted a nested model's own graph
    return [name, node, history.tensor_index, {}]


def _layer(layer: Any, policy: str | None, names: dict[str, str]) -> dict[str, Any]:
    kind = type(layer).__name__
    if kind in ("Functional", "Sequential"):
        return _model(layer, policy, names)
    own = layer.get_config()
    name = names.get(layer.name, layer.name)
    dtype = "float32" if policy is None else {"class_name": "Policy", "config": {"name": policy}}
    config = {"name": name, "trainable": layer.trainable, "dtype": dtype}
    config |= {key: own[key] for key in _KEEP[kind] if key in own}
    if kind in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "Activation"):
        config["activation"] = own["activation"]
    if kind in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense"):
        config |= {"kernel_initializer": _GLOROT, "kernel_regularizer": None, "kernel_constraint": None}
    if kind in ("DepthwiseConv2D", "SeparableConv2D"):
        config |= {"groups": 1, "depthwise_initializer": _GLOROT, "data_format": "channels_last"}
    if kind == "DepthwiseConv2D":
        config = {key: value for key, value in config.items() if not key.startswith("kernel_r")}
        config = {key: value for key, value in config.items() if key not in ("kernel_initializer", "kernel_constraint")}
    if kind == "BatchNormalization":
        config["axis"] = [own["axis"] if own["axis"] >= 0 else len(layer.input.shape) + own["axis"]]
    return {"class_name": kind, "config": config}
