"""Layers that make images larger or smaller, and augmentation, which does nothing at inference."""

from __future__ import annotations

from typing import Any

from kexport.lowerings import Builder, Value, lowers, require
from kexport.lowerings.resampling import resized
from kexport.operations import Crop


@lowers("layer", "UpSampling2D")
def up_sampling2d(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.UpSampling2D`."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    _, height, width, _ = value.shape
    size = (height or 0) * layer.size[0], (width or 0) * layer.size[1]
    return resized(build, layer, value, size, layer.interpolation)


@lowers("layer", "Resizing")
def resizing(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.Resizing`, by any interpolation."""
    return resized(build, layer, value, (int(layer.height), int(layer.width)), layer.interpolation)


@lowers("layer", "CenterCrop")
def center_crop(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.CenterCrop` of an image that is at least as large."""
    require(layer.data_format == "channels_last", layer, f"data format {layer.data_format!r}")
    _, height, width, _ = value.shape
    rows, columns = (height or 0) - layer.height, (width or 0) - layer.width
    require(min(rows, columns) >= 0, layer, f"an image of {height} x {width}, which it would enlarge,")
    return build.emit(Crop(cropping=((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))), value)


@lowers(
    "layer",
    "AugMix",
    "CutMix",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
def augmentation(build: Builder, layer: Any, value: Value) -> Value:
    """Augmentation: the identity at inference."""
    del build, layer
    return value
