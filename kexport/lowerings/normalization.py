"""Layers that scale and shift: normalisations, rescaling, layer scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.lowerings import Builder, Value, lowers, require, weights
from kexport.lowerings.primitives import (
    affine,
    binary,
    inverse_root,
    positive,
    reduce,
    reshape,
    scale_shift,
    sizes,
    standardised,
    unit,
)
from kexport.operations import BinaryKind, GroupNorm, LayerNorm, Multiply, ReduceKind


@lowers("layer", "BatchNormalization")
def batch_normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.BatchNormalization` at inference: the moving statistics, computed in float64."""
    require(positive(layer.axis, value) != 0, layer, "axis 0")
    mean, variance = (weights(v).astype(np.float64) for v in (layer.moving_mean, layer.moving_variance))
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * weights(layer.gamma)
    offset = -mean * scale
    if layer.center:
        offset = offset + weights(layer.beta)
    return _affine(build, value, [layer.axis], scale, offset)


@lowers("layer", "LayerNormalization")
def layer_normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.LayerNormalization` over any axes but the batch; ``rms_scaling`` leaves out the mean."""
    axes = _axes(layer, value)
    shape = [value.shape[axis] or 0 for axis in axes]
    gamma = weights(layer.gamma) if layer.scale else np.ones(shape, np.float32)
    if layer.rms_scaling:
        return _scaled_by_variance(build, value, axes, layer.epsilon, gamma)
    beta = weights(layer.beta) if layer.center else np.zeros(shape, np.float32)
    if axes == [len(value.shape) - 1]:
        return build.emit(LayerNorm(gamma=gamma, beta=beta, epsilon=float(layer.epsilon)), value)
    normal = standardised(build, value, axes, layer.epsilon, part="normal")
    return _affine(build, normal, axes, gamma, beta)


def _scaled_by_variance(
    build: Builder, value: Value, axes: list[int], epsilon: float, gamma: npt.NDArray[np.float32]
) -> Value:
    """``x / sqrt(variance + epsilon) * gamma``, without beta, as Keras's ``rms_scaling`` has it."""
    mean = reduce(build, ReduceKind.MEAN, value, axes, part="mean")
    centred = binary(build, BinaryKind.SUBTRACT, value, mean, part="centred")
    inverse = inverse_root(build, ReduceKind.MEAN, centred, axes, epsilon)
    return _affine(build, build.emit(Multiply(), value, inverse, part="normal"), axes, gamma, 0.0)


@lowers("layer", "RMSNormalization")
def rms_normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.RMSNormalization`: ``x / sqrt(mean(x^2) + epsilon) * scale`` (Zhang and Sennrich 2019)."""
    axes = _axes(layer, value)
    inverse = inverse_root(build, ReduceKind.MEAN, value, axes, layer.epsilon)
    normal = build.emit(Multiply(), value, inverse, part="normal")
    return _affine(build, normal, axes, weights(layer.scale), 0.0)


@lowers("layer", "UnitNormalization")
def unit_normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.UnitNormalization`: Euclidean length 1 along the axes, zero stays zero."""
    return unit(build, value, _axes(layer, value), 1e-12)


@lowers("layer", "GroupNormalization")
def group_normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.GroupNormalization` over the channels, which are the last axis."""
    rank = len(value.shape)
    require(positive(layer.axis, value) == rank - 1 and rank >= 2, layer, f"axis {layer.axis}")
    channels = value.shape[-1] or 0
    gamma = weights(layer.gamma) if layer.scale else np.ones(channels, np.float32)
    beta = weights(layer.beta) if layer.center else np.zeros(channels, np.float32)
    pixels = int(np.prod(sizes(value)[:-1]))
    image = value if rank == 4 else reshape(build, value, (pixels, 1, channels), part="image")
    operation = GroupNorm(groups=int(layer.groups), gamma=gamma, beta=beta, epsilon=float(layer.epsilon))
    return reshape(build, build.emit(operation, image, part="" if rank == 4 else "normal"), sizes(value))


@lowers("layer", "Normalization")
def normalization(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Normalization` per channel: ``(x - mean) / max(sqrt(variance), 1e-7)``."""
    import keras

    mean, variance = (weights(v).astype(np.float64) for v in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    scale, offset = (deviation, mean) if layer.invert else (1.0 / deviation, -mean / deviation)
    return affine(build, value, scale, offset)


@lowers("layer", "Rescaling")
def rescaling(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Rescaling` with one scale and offset, or one per channel."""
    return affine(build, value, layer.scale, layer.offset)


@lowers("layer", "LayerScale")
def layer_scale(build: Builder, layer: Any, value: Value) -> Value:
    """The ``LayerScale`` of ConvNeXt (Touvron et al. 2021): one learned factor per channel."""
    return scale_shift(build, value, weights(layer.gamma), 0.0)


def _axes(layer: Any, value: Value) -> list[int]:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    places = sorted(positive(axis, value) for axis in axes)
    require(0 not in places, layer, f"axis {layer.axis}")
    return places


def _affine(
    build: Builder, value: Value, axes: list[int], scale: npt.NDArray[Any], offset: npt.NDArray[Any] | float
) -> Value:
    """``x * scale + offset``, either of the sizes of ``axes``."""
    places = [positive(axis, value) for axis in axes]
    whole = [(length or 0) if axis in places else 1 for axis, length in enumerate(value.shape)]
    shaped = (each if np.ndim(each) == 0 else np.asarray(each).reshape(whole) for each in (scale, offset))
    return affine(build, value, *shaped)
