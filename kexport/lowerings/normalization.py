"""Layers that scale and shift: normalisations, rescaling, layer scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.lowerings import Builder, Value, lowers, require, weights
from kexport.operations import LayerNorm, ScaleShift


def scale_shift(build: Builder, value: Value, scale: npt.ArrayLike, offset: npt.ArrayLike, part: str = "") -> Value:
    """``x * scale + offset``, either given as one number or one per channel."""
    channels = value.shape[-1] or 0

    def vector(numbers: npt.ArrayLike) -> npt.NDArray[np.float32]:
        flat = np.asarray(numbers, dtype=np.float32).reshape(-1)
        return np.ascontiguousarray(np.broadcast_to(flat, (channels,)))

    return build.emit(ScaleShift(scale=vector(scale), offset=vector(offset)), value, part=part)


@lowers("layer", "BatchNormalization")
def batch_normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.BatchNormalization` at inference: the moving statistics, computed in float64."""
    require(_last(layer.axis, value), layer, f"axis {layer.axis}")
    mean, variance = (weights(v).astype(np.float64) for v in (layer.moving_mean, layer.moving_variance))
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * weights(layer.gamma)
    offset = -mean * scale
    if layer.center:
        offset = offset + weights(layer.beta)
    return scale_shift(build, value, scale, offset)


@lowers("layer", "LayerNormalization")
def layer_normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.LayerNormalization` over the last axis."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    require(len(axes) == 1 and _last(axes[0], value), layer, f"axis {layer.axis}")
    require(not getattr(layer, "rms_scaling", False), layer, "rms_scaling")
    channels = value.shape[-1] or 0
    gamma = weights(layer.gamma) if layer.scale else np.ones(channels, np.float32)
    beta = weights(layer.beta) if layer.center else np.zeros(channels, np.float32)
    return build.emit(LayerNorm(gamma=gamma, beta=beta, epsilon=float(layer.epsilon)), value)


@lowers("layer", "Normalization")
def normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Normalization` per channel: ``(x - mean) / max(sqrt(variance), 1e-7)``."""
    import keras

    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    require(all(axis is None or _last(axis, value) for axis in axes), layer, f"axis {layer.axis}")
    mean, variance = (weights(v).astype(np.float64) for v in (layer.mean, layer.variance))
    require(mean.size in (1, value.shape[-1]), layer, f"statistics of shape {mean.shape}")
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if layer.invert:
        return scale_shift(build, value, deviation, mean)
    return scale_shift(build, value, 1.0 / deviation, -mean / deviation)


@lowers("layer", "Rescaling")
def rescaling(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Rescaling` with one scale and offset, or one per channel."""
    for numbers in (layer.scale, layer.offset):
        shape = np.shape(numbers)
        along_last = shape in ((), (1,)) or (shape[-1] == np.size(numbers) == value.shape[-1])
        require(along_last, layer, f"a scale or offset of shape {shape}")
    return scale_shift(build, value, layer.scale, layer.offset)


@lowers("layer", "LayerScale")
def layer_scale(build: Builder, layer: Any, value: Value) -> Value:
    """The ``LayerScale`` of ConvNeXt (Touvron et al. 2021): one learned factor per channel."""
    return scale_shift(build, value, weights(layer.gamma), 0.0)


def _last(axis: int, value: Value) -> bool:
    return axis in (-1, len(value.shape) - 1)
