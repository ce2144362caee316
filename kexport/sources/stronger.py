"""Inputs to try where the seeded ones show too little: structure, other ranges, and numbers far out.

A network whose range is not known may sleep on images in [0, 1], one that looks for edges on smooth fields, and one
with large biases on small numbers. What is found here proves the file as well as any other input: both sides see the
same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.images.structured import structured_images
from kexport.records import UNKNOWN, Signature
from kexport.sources.preprocessing import PIXELS, Feeding, reference_inputs, sizes

Inputs = dict[str, npt.NDArray[Any]]
_RANGES = (PIXELS, (-1.0, 1.0))
_FAR = (8.0, 64.0)
_SEED = 1


def others(fed: Sequence[Feeding], inputs: Sequence[Signature]) -> Iterator[tuple[str, Inputs]]:
    """What is tried, in words, and the inputs: as many rows as the seeded ones have."""
    yield "structured inputs", _structured(fed, inputs)
    yield from (
        (f"inputs in [{low:g}, {high:g}]", _drawn(ranged, inputs))
        for low, high in _RANGES
        if (ranged := _ranged(fed, inputs, low, high)) != tuple(fed)
    )
    yield from ((f"inputs {factor:g} times as large", _drawn(_far(fed, inputs, factor), inputs)) for factor in _FAR)


def _drawn(fed: Sequence[Feeding], inputs: Sequence[Signature]) -> Inputs:
    return reference_inputs(fed, inputs, seed=_SEED)


def _structured(fed: Sequence[Feeding], inputs: Sequence[Signature]) -> Inputs:
    found = _drawn(fed, inputs)
    for feeding, signature in zip(fed, inputs, strict=True):
        rows = len(found[feeding.name])
        shape = sizes(signature)
        if feeding.content == "images":
            height, width, channels = shape
            images = structured_images(rows, (height, width, channels), low=feeding.low, high=feeding.high)
            found[feeding.name] = images.astype(signature.dtype)
        elif feeding.content == "numbers":
            spread = np.array([feeding.low, feeding.high, 0.0])[np.arange(rows) % 3].reshape(rows, *[1] * len(shape))
            found[feeding.name] = (found[feeding.name] + spread).astype(signature.dtype)
        else:
            ends = np.array([feeding.low, feeding.high - 1])[np.arange(rows) % 2].reshape(rows, *[1] * len(shape))
            found[feeding.name] = np.broadcast_to(ends, (rows, *shape)).astype(signature.dtype)
    return found


def _ranged(fed: Sequence[Feeding], inputs: Sequence[Signature], low: float, high: float) -> tuple[Feeding, ...]:
    """Images of unknown range in another one; integers have theirs."""
    return tuple(
        replace(each, low=low, high=high)
        if each.content == "images" and each.mode == UNKNOWN and _is_float(signature)
        else each
        for each, signature in zip(fed, inputs, strict=True)
    )


def _far(fed: Sequence[Feeding], inputs: Sequence[Signature], factor: float) -> tuple[Feeding, ...]:
    return tuple(
        replace(each, low=each.low * factor, high=each.high * factor) if _is_float(signature) else each
        for each, signature in zip(fed, inputs, strict=True)
    )


def _is_float(signature: Signature) -> bool:
    return signature.dtype.startswith(("float", "bfloat"))
