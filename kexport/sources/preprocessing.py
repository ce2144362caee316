"""How a model wants to be fed: known for an application, read from the first layers of any other model.

A model file does not say what its inputs mean. What its layers show is used, and said:

1. a Rescaling, Normalization or BatchNormalization layer before the first weights, or arithmetic with constants
   (`keras.applications.*.preprocess_input` on a tensor), tells the scale of its input;
2. the layers of a Keras Application (a backbone) tell how its ImageNet weights were trained;
3. otherwise the contract is ``unknown``, and the reference inputs are images in [0, 1] or normal numbers.

Integers are drawn below the ``input_dim`` or ``num_tokens`` of the layer that reads them, else below `FEW`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import UsageError
from kexport.images.seeded import check_count, seeded_images
from kexport.records import UNKNOWN, Preprocessing, Signature
from kexport.sources import catalog
from kexport.sources.keras_walk import functional, input_names, ordered_calls
from kexport.specs import ModelSpec

PIXELS = (0.0, 255.0)
UNIT = (0.0, 1.0)
FEW = 10
ROWS = 4
MOST_NUMBERS = 2**28  # a gigabyte of float32
_SMALLEST_SCALE = 1 / 64  # a Rescaling below it expects pixels: 255 becomes at most 4
_LARGEST_UNIT = 2.0  # a mean or deviation above it is that of pixels
_SCALES = {"Rescaling", "Normalization", "BatchNormalization"}
_ARITHMETIC = {"Multiply", "Divide", "TrueDivide", "Add", "Subtract"}
_PASSED = {
    "InputLayer", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "Resizing", "CenterCrop",
    "ZeroPadding2D", "Cropping2D", "Reshape", "Flatten", "Permute", "GetItem", "Stack", "Cast", "Identity",
}  # fmt: skip

# Layers whose names tell the application, and so the range that its weights were trained with. Those that
# rescale within the network are not here: their own layer is found first.
_BACKBONES: dict[str, frozenset[str]] = {
    "Xception": frozenset({"block1_conv1", "block2_sepconv1", "block14_sepconv2"}),
    "VGG16": frozenset({"block1_conv1", "block1_pool", "block3_conv3"}),
    "ResNet50V2": frozenset({"conv1_pad", "conv2_block1_preact_bn"}),
    "ResNet50": frozenset({"conv1_pad", "conv1_bn", "conv2_block1_1_conv"}),
    "InceptionResNetV2": frozenset({"mixed_5b", "block35_1_mixed"}),
    "InceptionV3": frozenset({"mixed0", "mixed1", "mixed2"}),
    "MobileNetV2": frozenset({"Conv1", "bn_Conv1", "expanded_conv_depthwise"}),
    "MobileNet": frozenset({"conv1", "conv_dw_1", "conv_pw_1"}),
    "DenseNet121": frozenset({"conv2_block1_0_bn", "conv2_block1_concat"}),
    "NASNetMobile": frozenset({"stem_conv1", "stem_bn1"}),
}


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """What one input is fed with: ``images`` or ``numbers`` between ``low`` and ``high``, or ``indices`` below it.

    ``numbers`` are normal with mean and deviation ``low`` and ``high`` stand for: their middle, and a quarter of
    their distance. ``mode`` is that of `Preprocessing`; ``basis`` says why all this.
    """

    name: str
    content: str
    low: float
    high: float
    mode: str
    basis: str

    def __str__(self) -> str:
        kind = {"images": "seeded images", "numbers": "seeded normal numbers", "indices": "seeded integers"}
        return f"{kind[self.content]} in [{self.low:g}, {self.high:g}]: {self.basis}"


def feedings(model: Any, spec: ModelSpec) -> tuple[Feeding, ...]:
    """One `Feeding` per input of ``model``, in order."""
    if spec.application:
        application = catalog.application(spec.application)
        low, high = catalog.input_range(application)
        basis = f"as keras.applications.{application.module}.preprocess_input gives"
        name = input_names(model)[0]
        return (Feeding(name=name, content="images", low=low, high=high, mode=application.mode, basis=basis),)
    pairs = zip(input_names(model), model.inputs, strict=True)
    return tuple(_feeding(name, tensor, functional(model)) for name, tensor in pairs)


def preprocessing(fed: Sequence[Feeding], inputs: Sequence[Signature], spec: ModelSpec) -> Preprocessing | None:
    """The contract of the first image input; None where no input is an image."""
    for feeding, signature in zip(fed, inputs, strict=True):
        if feeding.content == "images":
            height, width, channels = sizes(signature)
            return _preprocessing(feeding, (height, width), channels, spec)
    return None


def _preprocessing(feeding: Feeding, size: tuple[int, int], channels: int, spec: ModelSpec) -> Preprocessing:
    if spec.application:
        return catalog.preprocessing(catalog.application(spec.application), size, channels=channels)
    if feeding.mode == UNKNOWN:
        return Preprocessing(
            mode=UNKNOWN, size=size, channel_order="as trained", scale=1.0, mean=(0.0,) * channels,
            std=(1.0,) * channels, resize_shorter_side=max(size), basis=feeding.basis,
        )  # fmt: skip
    like = next(row for row in catalog.APPLICATIONS if row.mode == feeding.mode)
    return replace(catalog.preprocessing(like, size, channels=channels), basis=feeding.basis)


def reference_inputs(fed: Sequence[Feeding], inputs: Sequence[Signature], *, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Seeded inputs by name, the same number of rows for each; an application's are those of its random weights."""
    shapes = [sizes(signature) for signature in inputs]
    large = [shape for shape, feeding in zip(shapes, fed, strict=True) if feeding.content == "images"]
    rows = min((check_count((shape[0], shape[1], shape[2])) for shape in large), default=ROWS)
    return {
        feeding.name: _drawn(feeding, signature, rows, seed=seed + 1000 * place)
        for place, (feeding, signature) in enumerate(zip(fed, inputs, strict=True))
    }


def _drawn(feeding: Feeding, signature: Signature, rows: int, *, seed: int) -> npt.NDArray[Any]:
    shape = sizes(signature)
    if feeding.content == "images":
        height, width, channels = shape
        images = seeded_images(rows, (height, width, channels), seed=seed, low=feeding.low, high=feeding.high)
        return images.astype(signature.dtype)
    rng = np.random.default_rng(seed)
    if feeding.content == "indices":
        return rng.integers(int(feeding.low), int(feeding.high), size=(rows, *shape)).astype(signature.dtype)
    middle, deviation = (feeding.low + feeding.high) / 2, (feeding.high - feeding.low) / 4
    return rng.normal(middle, deviation, size=(rows, *shape)).astype(signature.dtype)


def sizes(signature: Signature) -> tuple[int, ...]:
    """All axes but the batch. Raises UsageError where one is open, or where they hold more than `MOST_NUMBERS`."""
    fixed = tuple(axis for axis in signature.shape[1:] if axis is not None)
    if len(fixed) != len(signature.shape) - 1:
        raise UsageError(
            f"input {signature.name!r} has the open size {signature.shape}; an artifact needs a fixed one",
            hint="--input-shape 224,224,3",
        )
    if prod(fixed) > MOST_NUMBERS:
        raise UsageError(
            f"input {signature.name!r} of {fixed} has {prod(fixed)} numbers, expected at most {MOST_NUMBERS}",
            hint="--input-shape 224,224,3",
        )
    return fixed


def _feeding(name: str, tensor: Any, function: Any) -> Feeding:
    content = "images" if len(tensor.shape) == 4 else "numbers"
    entry = list(_entry(function, tensor)) if function is not None else []
    if not str(tensor.dtype).startswith(("float", "bfloat")):
        return _indices(name, tensor, entry)
    found = next(filter(None, (_scale(node) for node in entry)), None)
    if found is None and content == "images":
        found = _backbone(function)
    if found is None:
        low, high = UNIT if content == "images" else (-2.0, 2.0)
        found = low, high, UNKNOWN, "unknown: neither a layer of its own nor a known backbone tells the range"
    low, high, mode, basis = found
    return Feeding(name=name, content=content, low=low, high=high, mode=mode, basis=basis)


def _indices(name: str, tensor: Any, entry: Sequence[Any]) -> Feeding:
    if len(tensor.shape) == 4:
        low, high = PIXELS
        basis = f"{tensor.dtype} images are taken to be pixels"
        return Feeding(name=name, content="images", low=low, high=high, mode="raw", basis=basis)
    for node in entry:
        for attribute in ("input_dim", "num_tokens"):
            limit = getattr(node.operation, attribute, None)
            if isinstance(limit, int):
                basis = f"the layer {node.operation.name!r} takes {limit} values"
                return Feeding(name=name, content="indices", low=0, high=limit, mode=UNKNOWN, basis=basis)
    basis = "unknown: no layer tells how many values there are"
    limit = 2 if str(tensor.dtype) == "bool" else FEW
    return Feeding(name=name, content="indices", low=0, high=limit, mode=UNKNOWN, basis=basis)


Range = tuple[float, float, str, str]


def _entry(function: Any, tensor: Any) -> Iterator[Any]:
    """The calls from an input on, nested models entered, up to the first that computes with weights."""
    following = tensor
    for node in ordered_calls(function):
        if not any(given is following for given in node.input_tensors):
            continue
        inner = functional(node.operation)
        if inner is not None:
            place = next(index for index, given in enumerate(node.input_tensors) if given is following)
            yield from _entry(inner, inner.inputs[place])
            return
        yield node
        kind = type(node.operation).__name__
        if kind not in _PASSED | _ARITHMETIC and not kind.startswith("Random"):
            return
        following = node.outputs[0]


def _scale(node: Any) -> Range | None:
    """The range that a scaling layer or an operation with a constant expects; None for any other call."""
    layer, kind = node.operation, type(node.operation).__name__
    if kind == "Rescaling":
        pixels = float(np.max(np.abs(np.asarray(layer.scale, dtype=np.float64)))) < _SMALLEST_SCALE
        return _told(PIXELS if pixels else UNIT, f"its own Rescaling layer {layer.name!r}")
    if kind == "Normalization":
        return _statistics(layer, layer.mean, layer.variance)
    if kind == "BatchNormalization":
        return _statistics(layer, layer.moving_mean, layer.moving_variance)
    if kind in _ARITHMETIC:
        constants = [value for value in (*node.arguments.args, *node.arguments.kwargs.values()) if _is_constant(value)]
        large = any(float(np.max(np.abs(np.asarray(value)))) > _LARGEST_UNIT for value in constants)
        small = kind == "Multiply" and any(0 < np.max(np.abs(value)) < _SMALLEST_SCALE for value in constants)
        return _told(PIXELS, f"its own arithmetic {layer.name!r}") if large or small else None
    return None


def _is_constant(value: Any) -> bool:
    return isinstance(value, (int, float, list, tuple, np.ndarray)) or hasattr(value, "numpy")


def _statistics(layer: Any, mean: Any, variance: Any) -> Range:
    middle = np.asarray(mean, dtype=np.float64)
    deviation = np.sqrt(np.asarray(variance, dtype=np.float64))
    basis = f"its own {type(layer).__name__} layer {layer.name!r}"
    if max(float(np.abs(middle).max()), float(deviation.max())) > _LARGEST_UNIT and middle.size <= 4:
        return _told(PIXELS, basis)
    low, high = float((middle - 2 * deviation).min()), float((middle + 2 * deviation).max())
    return low, high, UNKNOWN, basis


def _told(limits: tuple[float, float], basis: str) -> Range:
    return (*limits, "raw" if limits == PIXELS else UNKNOWN, basis)


def _backbone(function: Any) -> Range | None:
    names = _layer_names(function) if function is not None else set()
    for name, telling in _BACKBONES.items():
        if telling <= names:
            application = catalog.application(name)
            low, high = catalog.input_range(application)
            basis = f"its layers are those of {application.family}: as Keras trained that, if this model follows it"
            return low, high, application.mode, basis
    return None


def _layer_names(function: Any) -> set[str]:
    names: set[str] = set()
    for node in ordered_calls(function):
        inner = functional(node.operation)
        names |= {node.operation.name} if inner is None else _layer_names(inner)
    return names
