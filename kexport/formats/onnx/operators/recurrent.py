"""ONNX nodes for sequences: LSTM, GRU and RNN; and for volumes."""

from __future__ import annotations

import numpy as np

from kexport.formats.onnx.emitter import Emitter, Layout
from kexport.formats.onnx.operators.registry import emits
from kexport.graph import Node
from kexport.operations import Activation, Cell, Conv3d, Recurrent, Weights

_KINDS = {Cell.LSTM: "LSTM", Cell.GRU: "GRU", Cell.SIMPLE: "RNN"}
_ORDER = {Cell.LSTM: (0, 3, 1, 2), Cell.GRU: (0, 1, 2), Cell.SIMPLE: (0,)}
"""Where ONNX's gates lie in Keras's order: input, output, forget, cell."""
_NAMES = {
    None: "Affine",
    Activation.TANH: "Tanh",
    Activation.SIGMOID: "Sigmoid",
    Activation.RELU: "Relu",
    Activation.HARD_SIGMOID: "HardSigmoid",
}
_ALPHAS = {None: 1.0, Activation.HARD_SIGMOID: 1 / 6}
_BETAS = {None: 0.0, Activation.HARD_SIGMOID: 0.5}
SEQUENCE_FIRST = (1, 0, 2)


@emits(Recurrent)
def recurrent(emitter: Emitter, node: Node, operation: Recurrent) -> None:
    """The recurrent operator, whose sequences come first, between two Transposes."""
    name = node.name
    value, *states = (emitter.read(each, Layout.NHWC) for each in node.inputs)
    turned = emitter.node("Transpose", [value], f"{name}:turned", perm=SEQUENCE_FIRST)
    axes = emitter.integers("constant:first", [0])
    starts = [emitter.node("Unsqueeze", [each, axes], f"{name}:state{n}") for n, each in enumerate(states)]
    biases = np.concatenate([_gates(operation, operation.bias), _gates(operation, operation.inner_bias)])
    inputs = [
        turned,
        emitter.weight(f"{name}:kernel", _gates(operation, operation.kernel).T[np.newaxis]),
        emitter.weight(f"{name}:recurrent", _gates(operation, operation.recurrent).T[np.newaxis]),
        emitter.weight(f"{name}:bias", biases[np.newaxis]),
        *(["", *starts] if starts else []),
    ]
    extra = {"linear_before_reset": int(operation.reset_after)} if operation.cell is Cell.GRU else {}
    made = f"{name}:steps"
    emitter.several(
        _KINDS[operation.cell],
        inputs,
        ["", "", made] if operation.cells else [made],
        hidden_size=operation.units,
        direction="reverse" if operation.backwards else "forward",
        **_activations(operation),
        **extra,
    )
    if not operation.cells:
        made = emitter.node("Squeeze", [made, emitter.integers("constant:second", [1])], f"{name}:plain")
    emitter.define(name, emitter.node("Transpose", [made], name, perm=SEQUENCE_FIRST), Layout.NHWC)


def _activations(operation: Recurrent) -> dict[str, object]:
    gates = {Cell.LSTM: 1, Cell.GRU: 1, Cell.SIMPLE: 0}[operation.cell]
    inner = 2 if operation.cell is Cell.LSTM else 1
    functions = [operation.gate] * gates + [operation.activation] * inner
    found: dict[str, object] = {"activations": [_NAMES[each] for each in functions]}
    if any(each in _ALPHAS for each in functions):
        found["activation_alpha"] = [_ALPHAS.get(each, 0.0) for each in functions]
        found["activation_beta"] = [_BETAS.get(each, 0.0) for each in functions]
    return found


def _gates(operation: Recurrent, array: Weights) -> Weights:
    """The gates, which lie side by side on the last axis, in ONNX's order."""
    parts = np.split(array, operation.cell.gates, axis=-1)
    return np.concatenate([parts[place] for place in _ORDER[operation.cell]], axis=-1)


@emits(Conv3d)
def conv3d(emitter: Emitter, node: Node, operation: Conv3d) -> None:
    """Conv of rank 5, between two Transposes."""
    value = emitter.read(node.inputs[0], Layout.NHWC)
    inputs = [
        emitter.node("Transpose", [value], f"{node.name}:turned", perm=(0, 4, 1, 2, 3)),
        emitter.weight(f"{node.name}:kernel", operation.kernel, (4, 3, 0, 1, 2)),
    ]
    if operation.bias is not None:
        inputs.append(emitter.weight(f"{node.name}:bias", operation.bias))
    before, after = ([pair[end] for pair in operation.padding] for end in (0, 1))
    made = emitter.node(
        "Conv",
        inputs,
        f"{node.name}:volume",
        kernel_shape=operation.kernel.shape[:3],
        strides=operation.strides,
        pads=[*before, *after],
        dilations=operation.dilation,
    )
    emitter.define(node.name, emitter.node("Transpose", [made], node.name, perm=(0, 2, 3, 4, 1)), Layout.NHWC)
