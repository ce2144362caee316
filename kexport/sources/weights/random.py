"""Seeded random weights with which a network still says something.

A freshly initialised network often ends in a constant softmax, or in a saturated one: its outputs agree
with anything. Here the network is walked once with seeded images (Mishkin and Matas 2016, "All you need
is a good init", extended to normalisation layers): every BatchNormalization gets the statistics of what
reaches it, every other linear layer is scaled to unit variance (residual branches to less), and the last one so
that the logits differ between images as much as between classes. Scales, shifts and biases are random, not trivial:
a swapped or dropped one shows.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.images.seeded import check_count, seeded_images
from kexport.sources import rows
from kexport.sources.answered import Reference
from kexport.sources.keras_walk import functional, input_names, ordered_calls

LOGIT_SPREAD = 1.5
BRANCH_SCALE = 0.15
SHIFT = 1.0
SAMPLED_SIDE = 32
SEEN_SIDE = 16
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SUMS, _PASSING = ("Add", "CustomScaleLayer"), ("Dropout", "Activation")
_KERNELS = ("kernel", "pointwise_kernel")


def randomize(model: Any, *, seed: int, low: float, high: float) -> Reference | None:
    """Give every layer of a freshly built ``model`` weights; images in ``[low, high]`` reach its input.

    What Keras makes of these images with the weights, which is known by then, all of them at once; None where a layer
    is called twice, as its weights may have changed in between.
    """
    height, width, channels = (int(axis) for axis in model.inputs[0].shape[1:])
    shape = (height, width, channels)
    images = seeded_images(check_count(shape), shape, seed=seed, low=low, high=high)
    walker = _Walker(
        rng=np.random.default_rng([seed, zlib.crc32(model.name.encode())]),
        normalised=_feeds_normalisation(model),
        branches=_feeds_sum(model),
        last=_last_linear(model),
    )
    answered = rows.in_passing(model, dict(zip(input_names(model), [images], strict=True)), walker.prepare)
    return None if walker.again else answered


@dataclass(frozen=True, kw_only=True)
class _Walker:
    rng: np.random.Generator
    normalised: frozenset[int]
    branches: frozenset[int]
    last: int
    seen: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)

    def prepare(self, layer: Any, *args: Any) -> None:
        """Give a layer its weights, just before it is called with ``args``."""
        if id(layer) in self.seen:
            self.again.add(id(layer))
        else:
            self.seen.add(id(layer))
            self._kernels(layer)
        if type(layer).__name__ == "BatchNormalization":
            self._batch_normalization(layer, args[0])
        elif _kernel_of(layer) is not None and id(layer) not in self.normalised:
            self._linear(layer, args[0])
        else:
            self._other(layer)

    def _kernels(self, layer: Any) -> None:
        """Uniform kernels that keep the variance behind a relu (He et al. 2015)."""
        for name in (*_KERNELS, "depthwise_kernel"):
            kernel = getattr(layer, name, None)
            if kernel is not None:
                depthwise = name == "depthwise_kernel" or type(layer).__name__ == "DepthwiseConv2D"
                inputs = int(np.prod(kernel.shape[:2] if depthwise else kernel.shape[:-1]))
                values = self.rng.random(kernel.shape, dtype=np.float32)
                values -= 0.5
                values *= np.float32(2.0 * np.sqrt(6.0 / inputs))
                kernel.assign(values)

    def _batch_normalization(self, layer: Any, value: Any) -> None:
        array = np.asarray(_spread(value), dtype=np.float32).reshape(-1, value.shape[-1])
        mean = array.mean(axis=0)
        variance = array.var(axis=0, mean=mean[np.newaxis])
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.maximum(variance, 1e-2 * variance.mean() + 1e-6))
        self._scale_and_shift(layer)

    def _scale_and_shift(self, layer: Any) -> None:
        """Random gamma and beta; most of what a relu gets is positive.

        A relu around zero loses half of its input, and a deep chain of them with normalisation in between
        turns any rounding error into another output (Poole et al. 2016 call it chaos).
        """
        size = BRANCH_SCALE if id(layer) in self.branches else 1.0
        if layer.scale:
            layer.gamma.assign(self.rng.uniform(0.7 * size, 1.3 * size, layer.gamma.shape))
        if layer.center:
            shift = 0.0 if id(layer) in self.branches else SHIFT
            layer.beta.assign(self.rng.normal(shift, 0.2, layer.beta.shape))

    def _linear(self, layer: Any, value: Any) -> None:
        import keras

        seen = _window(value)
        activation, layer.activation = layer.activation, keras.activations.linear
        result = np.asarray(linear_part(layer, seen), dtype=np.float64).reshape(len(seen), -1, _width(layer))
        layer.activation = activation
        kernel = _kernel_of(layer)
        if id(layer) == self.last:
            between = max(float(result.std(axis=0).mean()), 1e-6)
            kernel.assign(kernel * np.float32(LOGIT_SPREAD / between))
            centre = -result.mean(axis=(0, 1)) * (LOGIT_SPREAD / between)
            self._bias(layer, centre, 1.0)
        else:
            size = BRANCH_SCALE if id(layer) in self.branches else 1.0
            kernel.assign(kernel * np.float32(size / max(float(result.std()), 1e-6)))
            self._bias(layer, np.zeros(_width(layer)), 0.1)

    def _bias(self, layer: Any, centre: npt.NDArray[np.float64], deviation: float) -> None:
        if layer.use_bias:
            layer.bias.assign(centre + self.rng.normal(0.0, deviation, layer.bias.shape))

    def _other(self, layer: Any) -> None:
        kind = type(layer).__name__
        if kind == "LayerNormalization":
            self._scale_and_shift(layer)
        elif kind == "LayerScale":
            layer.gamma.assign(self.rng.uniform(0.1, 0.4, layer.gamma.shape))
        elif kind == "Normalization" and layer.input_mean is None and layer.mean.shape[-1] == 3:
            layer.adapt_mean.assign(np.reshape(_IMAGENET_MEAN, layer.adapt_mean.shape))
            layer.adapt_variance.assign(np.square(np.reshape(_IMAGENET_DEVIATION, layer.adapt_variance.shape)))
            layer.finalize_state()


def _spread(value: Any) -> Any:
    """About 32 by 32 places of an image, evenly spread: enough for its mean and variance."""
    if len(value.shape) != 4:
        return value
    down, across = (max(1, int(size) // SAMPLED_SIDE) for size in value.shape[1:3])
    return value[:, ::down, ::across, :]


def _window(value: Any) -> Any:
    """The middle 16 by 16 places of an image: enough for the scale of what a convolution makes of it."""
    if len(value.shape) != 4:
        return value
    top, left = (max(0, (int(size) - SEEN_SIDE) // 2) for size in value.shape[1:3])
    return value[:, top : top + SEEN_SIDE, left : left + SEEN_SIDE, :]


def linear_part(layer: Any, value: Any) -> Any:
    """What a layer without bias and activation makes of it.

    A kernel for each channel: as a depthwise convolution, for which TensorFlow has code of its own; a grouped one is
    compiled at every call, and computed 25 to 40 times slower.
    """
    from keras import ops

    if 1 < getattr(layer, "groups", 1) == value.shape[-1] == _width(layer):
        kernel = ops.swapaxes(layer.kernel, -1, -2)
        return ops.depthwise_conv(value, kernel, layer.strides, layer.padding, dilation_rate=layer.dilation_rate)
    return layer(value)


def _kernel_of(layer: Any) -> Any:
    return next((getattr(layer, name) for name in _KERNELS if getattr(layer, name, None) is not None), None)


def _width(layer: Any) -> int:
    return int(getattr(layer, "filters", None) or getattr(layer, "units", None) or layer.kernel.shape[-2])


def _feeds_normalisation(model: Any) -> frozenset[int]:
    """Layers whose output only BatchNormalization reads: it takes care of their scale."""
    readers: dict[int, set[str]] = {}
    makers: dict[int, int] = {}
    for node in _all_calls(model):
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), set()).add(type(node.operation).__name__)
        makers.update((id(tensor), id(node.operation)) for tensor in node.outputs)
    only = {makers[tensor] for tensor, kinds in readers.items() if tensor in makers and kinds == {"BatchNormalization"}}
    return frozenset(only)


def _feeds_sum(model: Any) -> frozenset[int]:
    """The last layer with weights of every residual branch: what is added to a value that others read too.

    A deep random network doubles rounding errors every few layers; branches that are small beside what
    they are added to, as in trained networks, keep it well conditioned (Zhang et al. 2019, "Fixup").
    """
    calls = _all_calls(model)
    maker = {id(tensor): node for node in calls for tensor in node.outputs}
    readers = Counter(id(tensor) for node in calls for tensor in node.input_tensors)
    found = set()
    for node in calls:
        shared = [readers[id(tensor)] > 1 for tensor in node.input_tensors]
        if type(node.operation).__name__ in _SUMS and any(shared):
            branches = [tensor for tensor, often in zip(node.input_tensors, shared, strict=True) if not often]
            found |= {id(_maker(tensor, maker)) for tensor in branches}
    return frozenset(found)


def _maker(tensor: Any, maker: dict[int, Any]) -> Any:
    """The layer that a tensor comes from; dropout and activations on the way are passed over."""
    node = maker.get(id(tensor))
    while node is not None and type(node.operation).__name__ in _PASSING:
        node = maker.get(id(node.input_tensors[0]))
    return node.operation if node is not None else None


def _last_linear(model: Any) -> int:
    linear = [node.operation for node in _all_calls(model) if _kernel_of(node.operation) is not None]
    return id(linear[-1]) if linear else 0


def _all_calls(model: Any) -> list[Any]:
    calls = []
    for node in ordered_calls(functional(model)):
        calls += [node] if functional(node.operation) is None else _all_calls(node.operation)
    return calls
