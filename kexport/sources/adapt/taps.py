"""Taps: the outputs of intermediate layers as the outputs of a model, and the list of layers to choose from.

A layer within a nested model is called ``outer/inner``; its own name is enough where only one layer has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kexport.errors import UnknownNameError, UnsupportedError, UsageError
from kexport.sources.keras_walk import functional, ordered_calls

_HINT = "kexport list layers SOURCE"


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer: its name as ``--layer`` takes it, its class, the shapes of its first call, its weights' numbers."""

    name: str
    kind: str
    inputs: tuple[tuple[int | None, ...], ...]
    outputs: tuple[tuple[int | None, ...], ...]
    parameters: int


def layers(model: Any) -> tuple[LayerRow, ...]:
    """Every layer and operation in the order in which they run, each once; nested models, then their layers."""
    rows: dict[str, LayerRow] = {}
    for path, node in _calls(_graph(model), ""):
        rows.setdefault(path, _row(path, node))
    return tuple(rows.values())


def _graph(model: Any) -> Any:
    function = functional(model)
    if function is None:
        raise UnsupportedError(
            f"model {model.name!r} is a {type(model).__name__} without a static graph of layers: it has none to list",
            hint="build it with the functional API or keras.Sequential",
        )
    return function


def _row(path: str, node: Any) -> LayerRow:
    count = getattr(node.operation, "count_params", None)
    return LayerRow(
        name=path,
        kind=type(node.operation).__name__,
        inputs=tuple(tuple(tensor.shape) for tensor in node.input_tensors),
        outputs=tuple(tuple(tensor.shape) for tensor in node.outputs),
        parameters=int(count()) if count is not None and getattr(node.operation, "built", False) else 0,
    )


def _calls(function: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for node in ordered_calls(function):
        path = f"{prefix}{node.operation.name}"
        yield path, node
        inner = functional(node.operation)
        if inner is not None:
            yield from _calls(inner, f"{path}/")


def tap(model: Any, names: Sequence[str]) -> Any:
    """A model from the inputs that matter to the outputs of the named layers, in the order of the names.

    A layer that is called several times gives the output of each call. Raises UnknownNameError for a name that no
    layer has, UsageError for one that several have.
    """
    import keras

    known = [row.name for row in layers(model)]
    paths = [_resolve(name, known) for name in dict.fromkeys(names)]
    function = _graph(model)
    tensors: dict[str, list[Any]] = {}
    _collect(function, dict.fromkeys(paths), tensors)
    outputs = [tensor for path in paths for tensor in tensors[path]]
    inputs = _needed(function.inputs, outputs)
    try:
        return keras.Model(inputs, outputs, name=model.name)
    except ValueError as error:
        raise UnsupportedError(
            f"--layer {' --layer '.join(paths)}: Keras cannot join them in one model: {error}", hint="export them apart"
        ) from error


def _resolve(name: str, known: Sequence[str]) -> str:
    if name in known:
        return name
    ending = [path for path in known if path.endswith(f"/{name}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise UsageError(f"--layer {name}: several layers are called so: {', '.join(ending)}", hint=_HINT)
    own = dict.fromkeys(path.rpartition("/")[2] for path in known)
    raise UnknownNameError(kind="layer", value=name, legal=dict.fromkeys((*known, *own)), hint=_HINT)


def _collect(function: Any, paths: dict[str, None], found: dict[str, list[Any]]) -> None:
    """The symbolic outputs of every path, by calls of the model itself; a nested model that holds one is entered."""
    inside = {path.partition("/")[0] for path in paths if "/" in path}
    if not inside:
        for node in ordered_calls(function):
            if node.operation.name in paths:
                found.setdefault(node.operation.name, []).extend(node.outputs)
        return
    _replay(function, list(function.inputs), paths, found, "")


def _replay(
    function: Any, inputs: Sequence[Any], paths: dict[str, None], found: dict[str, list[Any]], prefix: str
) -> list[Any]:
    """Call the layers again on symbolic tensors, nested models with a tap layer by layer; the weights are the same."""
    known = {id(tensor): value for tensor, value in zip(function.inputs, inputs, strict=True)}
    for node in ordered_calls(function):
        path = f"{prefix}{node.operation.name}"
        inner = functional(node.operation)
        if inner is not None and any(tapped.startswith(f"{path}/") for tapped in paths):
            results = _replay(inner, [known[id(t)] for t in node.input_tensors], paths, found, f"{path}/")
        else:
            args, kwargs = node.arguments.fill_in(known)
            result = node.operation(*args, **kwargs)
            results = flattened(result)
        if path in paths:
            found.setdefault(path, []).extend(results)
        known.update((id(tensor), value) for tensor, value in zip(node.outputs, results, strict=True))
    return [known[id(tensor)] for tensor in function.outputs]


def flattened(result: Any) -> list[Any]:
    """The tensors or arrays of a structure, in the order in which Keras counts outputs."""
    import keras

    return list(keras.tree.flatten(result))


def _needed(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    """Those of ``inputs`` from which ``outputs`` are computed."""
    seen: set[int] = set()
    pending = list(outputs)
    while pending:
        tensor = pending.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        history = tensor._keras_history  # noqa: SLF001 - where a symbolic tensor comes from
        node = history.operation._inbound_nodes[history.node_index]  # noqa: SLF001
        pending += node.input_tensors
    return [tensor for tensor in inputs if id(tensor) in seen]
