"""From a float graph and calibration images to a `QuantPlan`: one module per part of the work.

In the order of `quantize`: copies of images are left out (`distinct`), the graph is rewritten so that it
consists of what int8 runtimes compute (`rewrites`), a first layer that int8 would spoil stays float (`stem`), every
node gets a precision (`assign`), float activations are observed (`observe`), channels are equalised (`equalize`),
values get their scales (`ranges`, from the `bounds` of what their readers tell apart, made `legal` for every runtime),
and kernels and biases are decided node by node along the quantized network (`sequence`).
There the float network's outputs (`targets`) are compared with what a kernel makes at some `positions` of every image;
from the second `moments` of what it reads and lacks it is fitted (`refit`) and rounded (`rounding`), and its bias is
corrected. No part knows a runtime: the step passes one in as `Compile`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph

Array = npt.NDArray[np.float32]
Stored = npt.NDArray[Any]
"""Numbers of a value as they wait for its readers: int8 where made or read so, float32 otherwise."""

Feeds = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Feeds], dict[str, Array]]
Compile = Callable[[Graph], Run]
"""A float graph made runnable: NHWC arrays by input name to NHWC arrays by public output name."""

Batches = Callable[[], Iterable[Feeds]]
"""Streams the calibration inputs from the beginning: batches by input name, in the same order each time."""
