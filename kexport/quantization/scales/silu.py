"""What a value that only a silu reads has to tell apart: what the product makes of it.

``u * sigmoid(u)`` hardly changes far below zero: of numbers from -50 to 50, those below -5 would be wasted. So a range
is judged by what rounding and clipping do to the product, sample by sample. (A trained EfficientNetB0 with nothing
rounded but these values: 9.0 dB at the logits with the range that is best for the values, 15.3 with this one.)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph
from kexport.operations import Multiply
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.plan import Affine
from kexport.quantization.scales.bounds import is_sigmoid

LOWS = (-2.5, -3.0, -3.5, -4.0, -4.5, -5.0, -6.0, -8.0, -12.0)  # below which a silu is nearly flat
HIGHS = np.linspace(1.0, 0.3, 15)  # of the largest that was seen
MOST_SAMPLES = 10_000


def is_read(graph: Graph, value: str) -> bool:
    """Whether nothing but ``value * sigmoid(value)`` reads it."""
    readers = graph.consumers.get(value, ())
    gates = [node for node in readers if is_sigmoid(node.operation)]
    products = [node for node in readers if isinstance(node.operation, Multiply)]
    if len(readers) != 2 or len(gates) != 1 or len(products) != 1 or value in graph.outputs.values():
        return False
    return graph.only_reader(gates[0].name) is products[0] and set(products[0].inputs) == {value, gates[0].name}


def ends(observed: Observed) -> Iterator[tuple[float, float]]:
    """The ranges that may be best: from some number below zero, or all that was seen, to a part of the largest."""
    lowest, highest = (min(observed.extremes[0], 0.0), max(observed.extremes[1], 0.0))
    lows = sorted({max(lowest, low) for low in LOWS} | {lowest})
    yield from ((low, float(high)) for low in lows for high in highest * HIGHS)


def error(observed: Observed, trial: Affine) -> float:
    """The mean squared error of the product where the value is stored so."""
    real = observed.samples.reshape(-1)
    real = real[:: max(1, real.size // MOST_SAMPLES)]
    stored = trial.dequantize(trial.quantize(real))
    return float(np.square(silu(stored) - silu(real)).mean())


def silu(real: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """``x * sigmoid(x)``, without overflow."""
    wide = real.astype(np.float64)
    result: npt.NDArray[np.float64] = wide * (0.5 + 0.5 * np.tanh(0.5 * wide))
    return result
