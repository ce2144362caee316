"""What every layer of Keras gives for the first input, in samples: all channels at a few places.

Enough to find the layer in which a file begins to differ, and small enough to be kept: a damaged kernel changes its
channel everywhere, and about `VALUES` numbers of a layer are kept whatever its size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.sources.keras_walk import functional, input_names, ordered_calls, output_names

Call = Callable[..., Any]
VALUES, FEWEST_PLACES = 1024, 4
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, kw_only=True)
class LayerFact:
    """A layer that is called once: its name with the models that it lies in, its class, and whose values it reads.

    ``shape`` is that of its value without the batch, channels last.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """The layers in the order in which Keras runs them, and by output the layer that makes it.

    A layer that is called several times has no one value, and is left out.
    """

    layers: tuple[LayerFact, ...]
    shown: Mapping[str, str]


def walk(model: Any) -> Walk:
    """Read the layers of a model; none of a model without a static graph."""
    found, makers = _walked(model)
    calls = Counter(fact.name for _, fact in found)
    function = functional(model)
    tensors = function.outputs if function is not None else ()
    shown = {name: makers.get(id(tensor), "") for name, tensor in zip(output_names(model), tensors, strict=False)}
    return Walk(layers=tuple(fact for _, fact in found if calls[fact.name] == 1), shown=shown)


def places(shape: Sequence[int]) -> npt.NDArray[np.intp]:
    """Which places of a value with these axes are kept: spread evenly, the same for each channel."""
    count = prod(shape[:-1])
    wanted = min(count, max(FEWEST_PLACES, VALUES // shape[-1]))
    return np.unique((((np.arange(wanted) + 0.5) * _GOLDEN) % 1.0 * count).astype(np.intp))


def sample(value: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """(places, channels) of a value with one row and these axes."""
    flat = np.asarray(value).reshape(-1, shape[-1])
    return flat[places(shape)].astype(np.float32)


class Taps:
    """Wraps a call of layers, and keeps a sample of what each layer of `walk` gives for the first row of all.

    ``rows`` are run at once; a layer that makes another number of rows of them has no value for the first.
    """

    def __init__(self, model: Any, call: Call, *, rows: int = 1) -> None:
        wanted = {fact.name for fact in walk(model).layers}
        self._facts = {id(operation): fact for operation, fact in _walked(model)[0] if fact.name in wanted}
        self._call, self._rows = call, rows
        self.samples: dict[str, npt.NDArray[np.float32]] = {}

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the layer."""
        result = self._call(layer, *args, **kwargs)
        self.see(layer, result)
        return result

    def see(self, layer: Any, result: Any) -> None:
        """Keep a sample of what the layer gave."""
        fact = self._facts.get(id(layer))
        if fact is not None and fact.name not in self.samples and self._is_value(result, fact):
            self.samples[fact.name] = sample(np.asarray(result)[0], fact.shape)

    def _is_value(self, result: Any, fact: LayerFact) -> bool:
        """Whether a layer gave real numbers for each row, in the shape that it states."""
        dtype = str(getattr(result, "dtype", ""))
        shape = tuple(getattr(result, "shape", ()))
        return "float" in dtype and "bfloat" not in dtype and shape == (self._rows, *fact.shape)


def _walked(model: Any) -> tuple[list[tuple[Any, LayerFact]], dict[int, str]]:
    """(operation, fact) of every call with one value of known axes, nested models entered; and who makes a tensor."""
    function = functional(model)
    if function is None:
        return [], {}
    makers = {id(tensor): name for tensor, name in zip(function.inputs, input_names(model), strict=True)}
    return list(_inside(function, makers, prefix="")), makers


def _inside(function: Any, makers: dict[int, str], prefix: str) -> Iterator[tuple[Any, LayerFact]]:
    for node in ordered_calls(function):
        given = tuple(makers.get(id(tensor), "") for tensor in node.input_tensors)
        nested = functional(node.operation)
        name = f"{prefix}{node.operation.name}"
        if nested is not None:
            inner = {id(tensor): maker for tensor, maker in zip(nested.inputs, given, strict=False)}
            yield from _inside(nested, inner, prefix=f"{name}/")
            makers.update(_shown(node.outputs, nested.outputs, inner))
            continue
        makers.update({id(tensor): name for tensor in node.outputs})
        shape = tuple(node.outputs[0].shape)[1:] if len(node.outputs) == 1 else ()
        if shape and all(shape):
            yield (
                node.operation,
                LayerFact(
                    name=name, kind=type(node.operation).__name__, inputs=tuple(dict.fromkeys(given)), shape=shape
                ),
            )


def _shown(outer: Sequence[Any], inner: Sequence[Any], makers: Mapping[int, str]) -> dict[int, str]:
    return {id(one): makers.get(id(other), "") for one, other in zip(outer, inner, strict=False)}


__all__ = ["LayerFact", "Taps", "Walk", "places", "sample", "walk"]
