"""Recurrent layers, layers that are applied to each step, and embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, refuse, require, weights
from kexport.lowerings.joining import cut, flipped, joined
from kexport.lowerings.primitives import binary, regrouped, reshape, sizes
from kexport.lowerings.selection import looked_up
from kexport.operations import Activation, Add, BinaryKind, Cell, Recurrent, Weights
from kexport.sources.loading.keras2_functions import STEEPER, keras2_hard_sigmoid

CELLS = {"LSTM": Cell.LSTM, "GRU": Cell.GRU, "SimpleRNN": Cell.SIMPLE}
ACTIVATIONS = {
    "tanh": Activation.TANH,
    "sigmoid": Activation.SIGMOID,
    "relu": Activation.RELU,
    "hard_sigmoid": Activation.HARD_SIGMOID,
    "linear": None,
}


@lowers("layer", *CELLS)
def recurrent(build: Builder, layer: Any, value: Value, initial_state: Any = None) -> Any:
    """`keras.layers.LSTM`, `GRU` and `SimpleRNN`: all outputs or the last, and the states if asked for."""
    states = _states(layer, initial_state)
    backwards = bool(layer.go_backwards)
    steps = build.emit(_operation(layer, backwards=backwards), value, *states, part="steps")
    last = _last(build, steps, backwards)
    result = (flipped(build, steps, [1]) if backwards else steps) if layer.return_sequences else last
    if not layer.return_state:
        return result
    if CELLS[type(layer).__name__] is not Cell.LSTM:
        return [result, last]
    cells = build.emit(_operation(layer, backwards=backwards, cells=True), value, *states, part="cells")
    return [result, last, reshape(build, cells, (int(layer.units),))]


def _states(layer: Any, initial_state: Any) -> list[Value]:
    if initial_state is None:
        return []
    states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
    if not all(isinstance(state, Value) for state in states):
        raise refuse(layer, "a constant state")
    return states


def _last(build: Builder, steps: Value, backwards: bool) -> Value:
    length, units = sizes(steps)
    return reshape(build, cut(build, steps, 1, 0 if backwards else length - 1, 1, part="step"), (units,))


def _operation(layer: Any, *, backwards: bool, cells: bool = False) -> Recurrent:
    cell = layer.cell
    require(not getattr(layer, "stateful", False), layer, "a state that outlives the call")
    kind = CELLS[type(layer).__name__]
    wide, steeper = kind.gates * int(layer.units), _steeper(layer, kind)
    bias = np.zeros((2, wide), np.float32)
    if layer.use_bias:
        given = weights(cell.bias)
        bias[: given.ndim] = given if given.ndim == 2 else given[np.newaxis]
    return Recurrent(
        cell=kind,
        kernel=weights(cell.kernel) * steeper,
        recurrent=weights(cell.recurrent_kernel) * steeper,
        bias=bias[0] * steeper,
        inner_bias=bias[1] * steeper,
        activation=_activation(layer, layer.activation),
        gate=_gate(layer),
        backwards=backwards,
        reset_after=bool(getattr(layer, "reset_after", False)),
        cells=cells,
    )


def _gate(layer: Any) -> Activation | None:
    function = getattr(layer, "recurrent_activation", None)
    return Activation.HARD_SIGMOID if function is keras2_hard_sigmoid else _activation(layer, function)


def _steeper(layer: Any, kind: Cell) -> Weights | float:
    """What the columns of the gates are multiplied by where a gate is Keras 2's hard sigmoid."""
    if getattr(layer, "recurrent_activation", None) is not keras2_hard_sigmoid:
        return 1.0
    candidate = {Cell.LSTM: 2, Cell.GRU: 2, Cell.SIMPLE: 0}[kind]
    factors = [1.0 if place == candidate else STEEPER for place in range(kind.gates)]
    return np.repeat(np.array(factors, np.float32), int(layer.units))


def _activation(layer: Any, function: Any) -> Activation | None:
    if function is None:
        return None
    name = getattr(function, "__name__", str(function))
    known = name in ACTIVATIONS and getattr(function, "__module__", "").startswith("keras.")
    require(known, layer, f"activation {name!r}")
    return ACTIVATIONS[name]


@lowers("layer", "Bidirectional")
def bidirectional(build: Builder, layer: Any, value: Value) -> Any:
    """Both ways along the sequence, put together as ``merge_mode`` says."""
    forward, backward = layer.forward_layer, layer.backward_layer
    for each in (forward, backward):
        require(type(each).__name__ in CELLS and not each.return_state, layer, f"{type(each).__name__} inside")
    name, merge = build.layer, layer.merge_mode
    results = []
    for each, label in ((forward, "forward"), (backward, "backward")):
        backwards = bool(each.go_backwards)
        steps = build.emit(_operation(each, backwards=backwards), value, part=f"{label}/steps")
        results.append(steps if layer.return_sequences else _last(build, steps, backwards))
    build.layer = name
    if merge is None:
        return results
    if merge == "concat":
        return joined(build, results, len(results[0].shape) - 1)
    if merge == "mul":
        return binary(build, BinaryKind.MULTIPLY, results[0], results[1])
    total = build.emit(Add(), *results, part="sum" if merge == "ave" else "")
    return binary(build, BinaryKind.MULTIPLY, total, 0.5) if merge == "ave" else total


@lowers("layer", "TimeDistributed")
def time_distributed(build: Builder, layer: Any, value: Value) -> Value:
    """The steps of a sequence as if each were an image of its own."""
    from kexport.lowerings.model import lower_layer

    length, *inner = sizes(value)
    apart = regrouped(build, value, inner, part="apart")
    made = lower_layer(build, layer.layer, apart)
    return regrouped(build, made, (length, *sizes(made)))


@lowers("layer", "Embedding")
def embedding(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Embedding`; a mask of zeros is refused where a layer asks for it."""
    return looked_up(build, weights(layer.embeddings), value)
