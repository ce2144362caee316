"""Fake quantization: a network that was trained for eight bits rounds its values, and is taken as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, require, weights
from kexport.lowerings.primitives import affine, unary
from kexport.operations import Clip, Function


@lowers("operation", "FakeQuantWithMinMaxVars")
def fake_quantized(build: Builder, operation: Any, inputs: Value, min_vals: Any, max_vals: Any) -> Value:
    """`keras.quantizers.fake_quant_with_min_max_vars` between constant ends, as TensorFlow's kernel rounds.

    The ends are nudged so that zero is one of the steps.
    """
    constant = not isinstance(min_vals, Value) and not isinstance(max_vals, Value)
    require(constant and operation.axis is None, operation, "a range that is not one constant")
    low, high = (float(weights(each).reshape(())) for each in (min_vals, max_vals))
    first, last = int(operation.narrow_range), 2 ** int(operation.num_bits) - 1
    require(high > low, operation, f"the range [{low:g}, {high:g}]")
    step = np.float32((high - low) / (last - first))
    zero = float(np.round(np.clip(first - low / step, first, last)))
    least, most = np.float32((first - zero) * step), np.float32((last - zero) * step)
    clipped = build.emit(Clip(minimum=float(least), maximum=float(most)), inputs, part="clipped")
    places = affine(build, clipped, np.float32(1) / step, np.float32(0.5))
    return affine(build, unary(build, Function.FLOOR, places, part="places"), step, np.float32(0))
