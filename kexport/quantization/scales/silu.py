"""What a value that only a silu reads has to tell apart: what the product makes of it.

``u * sigmoid(u)`` hardly changes far below zero: of numbers from -50 to 50, those below -5 would be wasted. So a range
is judged by what rounding and clipping do to the product, sample by sample. (A trained EfficientNetB0 with nothing
rounded but these values: 9.0 dB at the logits with the range that is best for the values, 15.3 with this one.)

Equalised channels (`kexport.quantization.prepare.equalize`) keep their factors up to the product; a depthwise
convolution of one tap undoes them before the sigmoid, which is not homogeneous.

A sigmoid that gates another value (squeeze-and-excite) is judged alike: by what the two make. (The same network:
17.2 dB with the range that is best for the sigmoid's argument, 17.5 with this one.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node
from kexport.operations import Conv, Multiply
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.plan import HIGHEST, LOWEST, Affine
from kexport.quantization.scales.bounds import is_sigmoid

FLAT = -4.0
"""Below it a silu is nearly flat: less than 0.08 is left of it."""

LOWS = (-2.5, -3.0, -3.5, -4.0, -4.5, -5.0, -6.0, -8.0, -12.0)
HIGHS = np.linspace(1.0, 0.3, 15)  # of the largest that was seen
OPEN = np.linspace(3.0, 10.0, 8)  # where a sigmoid may be taken as one, and below zero as none
MOST_SAMPLES = 10_000
_NUMBERS: npt.NDArray[np.int8] = np.arange(LOWEST, HIGHEST + 1, dtype=np.int8)

Real = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Silu:
    """The nodes of ``value * sigmoid(value)``; ``undo`` stands before the sigmoid of an equalised value."""

    sigmoid: Node
    product: Node
    undo: Node | None = None

    @property
    def inverse(self) -> Real:
        """What makes the value the sigmoid's argument, channel by channel."""
        if self.undo is None or not isinstance(self.undo.operation, Conv):
            return np.ones(1)
        return self.undo.operation.kernel.reshape(-1).astype(np.float64)


def find(graph: Graph, value: str) -> Silu | None:
    """The silu that reads a value, if nothing else does."""
    readers = graph.consumers.get(value, ())
    products = [node for node in readers if isinstance(node.operation, Multiply)]
    if len(readers) != 2 or len(products) != 1 or value in graph.outputs.values():
        return None
    (other,) = (node for node in readers if node is not products[0])
    undo = other if _is_one_tap(other) else None
    sigmoid = graph.only_reader(undo.name) if undo else other
    if sigmoid is None or not is_sigmoid(sigmoid.operation) or graph.only_reader(sigmoid.name) is not products[0]:
        return None
    return Silu(sigmoid=sigmoid, product=products[0], undo=undo)


def undoes(graph: Graph, node: Node) -> bool:
    """Whether the node undoes the factors of an equalised value before its sigmoid."""
    return _before_sigmoid(graph, node.name) is not None


def _before_sigmoid(graph: Graph, value: str) -> Silu | None:
    """The silu whose sigmoid reads ``value``, which its ``undo`` makes."""
    node = graph.producers.get(value)
    silu = find(graph, node.inputs[0]) if node is not None and _is_one_tap(node) else None
    return silu if silu is not None and silu.undo is node else None


def _gated(graph: Graph, value: str) -> str | None:
    """What is multiplied by the sigmoid of ``value``, if nothing else reads either: squeeze-and-excite."""
    sigmoid = graph.only_reader(value)
    if sigmoid is None or not is_sigmoid(sigmoid.operation) or value in graph.outputs.values():
        return None
    product = graph.only_reader(sigmoid.name)
    if product is None or not isinstance(product.operation, Multiply):
        return None
    others = [name for name in product.inputs if name != sigmoid.name]
    return others[0] if len(others) == 1 and graph.shapes[others[0]][-1] == graph.shapes[value][-1] else None


def _is_one_tap(node: Node) -> bool:
    operation = node.operation
    if not isinstance(operation, Conv) or operation.activation is not None or operation.bias is not None:
        return False
    return operation.kernel.shape[:3] == (1, 1, 1) and operation.groups == operation.kernel.shape[3]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The ranges that may be best for a value, and what the product loses where it is stored so."""

    ends: tuple[tuple[float, float], ...]
    error: Callable[[Affine], float]


def judge(graph: Graph, value: str, observed: Mapping[str, Observed]) -> Judge | None:
    """For what a silu alone reads, or a sigmoid alone whose result gates another value; None for others."""
    silu, gate, seen = find(graph, value), _before_sigmoid(graph, value), observed[value]
    if silu is not None:
        return Judge(ends=tuple(_ends(seen, silu.inverse)), error=_error(_few(seen), silu.inverse))
    if gate is not None:
        return Judge(ends=tuple(_open_ends(seen)), error=_gate_error(_few(seen), gate.inverse))
    gated = _gated(graph, value)
    if gated is not None and gated in observed:
        return Judge(ends=tuple(_open_ends(seen)), error=_gated_error(_few(seen), observed[gated].power))
    return None


def _ends(observed: Observed, inverse: Real) -> Iterator[tuple[float, float]]:
    """The ranges that may be best: from some number below zero, or all that was seen, to a part of the largest."""
    lowest, highest = (min(observed.extremes[0], 0.0), max(observed.extremes[1], 0.0))
    depth = 1.0 / float(inverse.min())
    lows = sorted({max(lowest, low * part) for low in LOWS for part in {1.0, depth}} | {lowest})
    yield from ((low, float(high)) for low in lows for high in highest * HIGHS)


def _open_ends(observed: Observed) -> Iterator[tuple[float, float]]:
    lowest, highest = observed.extremes
    yield from ((max(lowest, -low), min(highest, high)) for low in OPEN for high in OPEN)


def _error(real: Real, inverse: Real) -> Callable[[Affine], float]:
    """The mean squared error of the product where the value is stored so."""
    product = real * _sigmoid(real * inverse)

    def each(trial: Affine) -> Real:
        stored = trial.dequantize(trial.quantize(real))
        return stored * _sigmoid(stored * inverse)

    def looked_up(trial: Affine) -> Real:
        stored = trial.dequantize(_NUMBERS)
        return (stored * _sigmoid(stored * inverse))[trial.quantize(real).astype(np.intp) - LOWEST]

    made = looked_up if inverse.size == 1 else each
    return lambda trial: float(np.square(made(trial) - product).mean())


def _gate_error(real: Real, inverse: Real) -> Callable[[Affine], float]:
    """The same where what the sigmoid reads is stored so; its samples are those of the silu's argument."""
    gate, factor = _sigmoid(real), real / inverse

    def error(trial: Affine) -> float:
        return float(np.square(factor * (_sigmoid(trial.dequantize(trial.quantize(real))) - gate)).mean())

    return error


def _gated_error(real: Real, power: Real) -> Callable[[Affine], float]:
    """The same for the sigmoid that gates values of another layer, of so much ``power`` in every channel, (C,)."""
    gate = _sigmoid(real)

    def error(trial: Affine) -> float:
        return float((np.square(_sigmoid(trial.dequantize(trial.quantize(real))) - gate) * power).mean())

    return error


def _few(observed: Observed) -> Real:
    step = max(1, observed.samples.size // MOST_SAMPLES)
    few: Real = observed.samples[::step].astype(np.float64)
    return few


def _sigmoid(real: Real) -> Real:
    """Without overflow."""
    open_: Real = 0.5 + 0.5 * np.tanh(0.5 * real)
    return open_
