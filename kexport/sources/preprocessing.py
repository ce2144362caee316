"""How a model wants to be fed: known for an application, read from the first layers of any other model.

A model file does not say what its inputs mean. What its layers show is used, and said:

1. what the user states (`kexport.sources.stated`) is taken;
2. whatever scales before the first weights (`kexport.sources.entry`) tells what the input is (`.ranges`), as do the
   statistics of a BatchNormalization that stands first;
3. the layers of a Keras Application (a backbone) tell how its ImageNet weights were trained: assumed to hold still;
4. otherwise the contract is ``unknown``, and the reference inputs are images in [0, 1] or normal numbers.

What the model does by itself is never part of the contract: it would be done twice.

Integers are drawn below the ``input_dim`` or ``num_tokens`` of the layer that reads them, else below `FEW`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import UsageError
from kexport.images.seeded import check_count, seeded_images
from kexport.records import UNKNOWN, Basis, Preprocessing, Signature
from kexport.sources import catalog, entry, ranges, stated
from kexport.sources.catalog import Application
from kexport.sources.entry import Entry
from kexport.sources.keras_walk import functional, input_names, ordered_calls
from kexport.sources.ranges import Found
from kexport.sources.scalings import SCALINGS, Scaling, unknown
from kexport.specs import ModelSpec

PIXELS = (0.0, 255.0)
UNIT = (0.0, 1.0)
FEW = 10
ROWS = 4
MOST_NUMBERS = 2**28  # a gigabyte of float32

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
    their distance. ``mode`` is that of `Preprocessing`; ``basis`` says why all this, and ``rests`` how
    firm it is; ``scaling`` is how pixels become such values, None where that is unknown.
    """

    name: str
    content: str
    low: float
    high: float
    mode: str
    basis: str
    scaling: Scaling | None = None
    rests: Basis = Basis.ASSUMED

    def __str__(self) -> str:
        kind = {"images": "seeded images", "numbers": "seeded normal numbers", "indices": "seeded integers"}
        return f"{kind[self.content]} in [{self.low:g}, {self.high:g}]: {self.basis}"


def feedings(model: Any, spec: ModelSpec) -> tuple[Feeding, ...]:
    """One `Feeding` per input of ``model``, in order."""
    said = stated.of(spec.preprocessing, spec.resize)
    if spec.application:
        found: tuple[Feeding, ...] = (_of_application(model, catalog.application(spec.application)),)
    else:
        function = functional(model)
        pairs = zip(input_names(model), model.inputs, strict=True)
        found = tuple(_feeding(name, tensor, function) for name, tensor in pairs)
    return found if said.scaling is None else _as_stated(found, model, said.scaling, said.text)


def _of_application(model: Any, application: Application) -> Feeding:
    low, high = catalog.input_range(application)
    basis = f"as keras.applications.{application.module}.preprocess_input gives"
    name = input_names(model)[0]
    scaling = SCALINGS[application.mode]
    return Feeding(
        name=name, content="images", low=low, high=high, mode=application.mode, basis=basis, scaling=scaling,
        rests=Basis.READ,
    )  # fmt: skip


def _as_stated(found: tuple[Feeding, ...], model: Any, scaling: Scaling, text: str) -> tuple[Feeding, ...]:
    """The image inputs as the user states them. Raises UsageError where there is none, or it has other channels."""
    images = [feeding for feeding in found if feeding.content == "images"]
    if not images:
        raise UsageError(f"{text}: no input of the model is an image", hint="leave --preprocessing out")
    for feeding, tensor in zip(found, model.inputs, strict=True):
        channels = tensor.shape[-1]
        if feeding in images and channels is not None and not scaling.fits(channels):
            raise UsageError(
                f"{text}: is for {len(scaling.mean)} channels, the input {feeding.name!r} has {channels}",
                hint="--preprocessing raw, unit or tf, or a file with one mean and std for each channel",
            )
    return tuple(_stated(feeding, scaling, text) if feeding in images else feeding for feeding in found)


def _stated(feeding: Feeding, scaling: Scaling, text: str) -> Feeding:
    low, high = scaling.limits
    return replace(feeding, low=low, high=high, mode=scaling.mode, scaling=scaling, rests=Basis.STATED, basis=text)


def preprocessing(fed: Sequence[Feeding], inputs: Sequence[Signature], spec: ModelSpec) -> Preprocessing | None:
    """The contract of the first image input; None where no input is an image."""
    for feeding, signature in zip(fed, inputs, strict=True):
        if feeding.content == "images":
            height, width, channels = sizes(signature)
            contract = _preprocessing(feeding, (height, width), channels, spec)
            resizing = stated.of(spec.preprocessing, spec.resize).resizing
            return contract if resizing is None else resizing.applied(contract, Basis.STATED)
    return None


def _preprocessing(feeding: Feeding, size: tuple[int, int], channels: int, spec: ModelSpec) -> Preprocessing:
    if spec.application and feeding.rests is not Basis.STATED:
        return catalog.preprocessing(catalog.application(spec.application), size, channels=channels)
    scaling = feeding.scaling or unknown(channels)
    if not scaling.fits(channels):
        scaling = replace(unknown(channels), mode="as trained")
    scaling = scaling.of_channels(channels)
    known = feeding.scaling is not None
    return Preprocessing(
        mode=scaling.mode, size=size, channel_order=scaling.channel_order, scale=scaling.scale, mean=scaling.mean,
        std=scaling.std, resize_shorter_side=catalog.shorter_side(size) if known else max(size), basis=feeding.basis,
        range_basis=feeding.rests, resize_basis=Basis.ASSUMED,
    )  # fmt: skip


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
    ways = entry.entries(function, tensor) if function is not None else ()
    if not str(tensor.dtype).startswith(("float", "bfloat")):
        return _indices(name, tensor, [way.reader for way in ways])
    found = next(filter(None, (_range(way, images=content == "images") for way in ways)), None)
    rests = Basis.READ
    if found is None and content == "images" and function is not None:
        found, rests = _backbone(function, ways), Basis.ASSUMED
    if found is None:
        low, high = UNIT if content == "images" else (-2.0, 2.0)
        basis = "unknown: neither a layer of its own nor a known backbone tells the range"
        found = Found(low=low, high=high, scaling=None, basis=basis)
    return Feeding(
        name=name, content=content, low=found.low, high=found.high, mode=found.mode, basis=found.basis,
        scaling=found.scaling, rests=rests,
    )  # fmt: skip


def _range(way: Entry, *, images: bool) -> Found | None:
    """What one way into the model tells: its steps, or the statistics that stand first."""
    found = ranges.of_steps(way.steps, images=images)
    layer = way.reader
    if found is not None or type(layer).__name__ != "BatchNormalization":
        return found
    mean = np.asarray(layer.moving_mean, np.float64)
    deviation = np.sqrt(np.asarray(layer.moving_variance, np.float64))
    basis = f"its own BatchNormalization layer {layer.name!r}"
    return ranges.statistics(mean, deviation, basis=basis)


def _indices(name: str, tensor: Any, readers: Sequence[Any]) -> Feeding:
    if len(tensor.shape) == 4:
        low, high = PIXELS
        basis = f"{tensor.dtype} images are taken to be pixels"
        return Feeding(
            name=name, content="images", low=low, high=high, mode="raw", basis=basis, scaling=SCALINGS["raw"],
            rests=Basis.READ,
        )  # fmt: skip
    for layer in readers:
        for attribute in ("input_dim", "num_tokens"):
            limit = getattr(layer, attribute, None)
            if isinstance(limit, int):
                basis = f"the layer {layer.name!r} takes {limit} values"
                return Feeding(name=name, content="indices", low=0, high=limit, mode=UNKNOWN, basis=basis)
    basis = "unknown: no layer tells how many values there are"
    limit = 2 if str(tensor.dtype) == "bool" else FEW
    return Feeding(name=name, content="indices", low=0, high=limit, mode=UNKNOWN, basis=basis)


def _backbone(function: Any, ways: Sequence[Entry]) -> Found | None:
    """As the application with these layers was trained, less what the model itself does before."""
    names = _layer_names(function)
    for name, telling in _BACKBONES.items():
        if telling <= names:
            application = catalog.application(name)
            scaling = SCALINGS[application.mode]
            basis = f"its layers are those of {application.family}: as Keras trained that, if this model follows it"
            step = next((way.steps[-1] for way in ways if way.steps), None)
            if step is not None and len(step.scale) == len(scaling.mean):
                scaling = scaling.before(tuple(step.scale), tuple(step.shift), reversed_order=step.reverses)
            low, high = scaling.limits
            return Found(low=low, high=high, scaling=scaling, basis=basis)
    return None


def _layer_names(function: Any) -> set[str]:
    names: set[str] = set()
    for node in ordered_calls(function):
        inner = functional(node.operation)
        names |= {node.operation.name} if inner is None else _layer_names(inner)
    return names
