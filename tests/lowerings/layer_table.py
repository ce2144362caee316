"""One small model for each layer class, activation and `keras.ops` function that the native graph knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

IMAGE, ODD, ROWS, ROW = (8, 6, 4), (9, 7, 4), (7, 6), (6,)
Make = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Input shapes, and ``make(keras, *inputs)``; ``outside`` are the operators that XNNPACK does not take."""

    shapes: tuple[tuple[int, ...], ...]
    make: Make
    outside: frozenset[str] = frozenset()


def one(shape: tuple[int, ...], make: Make, *outside: str) -> Case:
    return Case(shapes=(shape,), make=make, outside=frozenset(outside))


def two(first: tuple[int, ...], second: tuple[int, ...], make: Make, *outside: str) -> Case:
    return Case(shapes=(first, second), make=make, outside=frozenset(outside))


def layer(name: str, *args: Any, **options: Any) -> Make:
    return lambda k, *x: getattr(k.layers, name)(*args, **options)(x[0] if len(x) == 1 else list(x))


def ops(name: str, *args: Any, **options: Any) -> Make:
    return lambda k, *x: getattr(k.ops, name)(*x, *args, **options)


ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus",
    "tanh", "tanh_shrink",
)  # fmt: skip
ACTIVATIONS_OUTSIDE = {"hard_shrink": ("GREATER", "SELECT_V2")}

AUGMENTATION: dict[str, dict[str, Any]] = {
    "AugMix": {},
    "RandAugment": {},
    "RandomBrightness": {"factor": 0.3},
    "RandomColorDegeneration": {"factor": 0.3},
    "RandomColorJitter": {"brightness_factor": 0.3},
    "RandomContrast": {"factor": 0.3},
    "RandomCrop": {"height": 8, "width": 6},
    "RandomElasticTransform": {},
    "RandomErasing": {},
    "RandomFlip": {},
    "RandomGaussianBlur": {},
    "RandomGrayscale": {},
    "RandomHue": {"factor": 0.3},
    "RandomInvert": {},
    "RandomPerspective": {},
    "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.2},
    "RandomSaturation": {"factor": 0.3},
    "RandomSharpness": {"factor": 0.3},
    "RandomShear": {"x_factor": 0.3},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
    "GaussianNoise": {"stddev": 0.3},
    "GaussianDropout": {"rate": 0.3},
    "AlphaDropout": {"rate": 0.3},
    "SpatialDropout2D": {"rate": 0.3},
    "Dropout": {"rate": 0.3},
    "ActivityRegularization": {"l1": 0.1},
    "Identity": {},
}


def _augmented(name: str, options: dict[str, Any]) -> Make:
    """Behind it a layer that computes: an identity alone would prove little."""
    return lambda k, x: k.layers.Conv2D(3, 3)(getattr(k.layers, name)(**options)(x))


def _transposed(padding: str, kernel: int, stride: int, **options: Any) -> Case:
    name = {"filters": 5, "kernel_size": (kernel, kernel + 1), "strides": stride, "padding": padding}
    return one(ODD, layer("Conv2DTranspose", **name, **options))


def _attention(k: Any, x: Any) -> Any:
    return k.layers.MultiHeadAttention(num_heads=2, key_dim=3)(x, x)


def _cross_attention(k: Any, query: Any, value: Any) -> Any:
    layer = k.layers.MultiHeadAttention(num_heads=2, key_dim=4, value_dim=3, output_shape=5, use_bias=False)
    return layer(query=query, value=value)


def _attention_with_scores(k: Any, x: Any) -> Any:
    return list(k.layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x, return_attention_scores=True))


def _transformer_block(k: Any, x: Any) -> Any:
    x = k.layers.Add()([x, k.layers.MultiHeadAttention(2, 3)(*[k.layers.LayerNormalization()(x)] * 2)])
    return x + k.layers.Dense(6)(k.layers.Dense(12, activation="gelu")(k.layers.LayerNormalization()(x)))


LAYERS: dict[str, Case] = {
    **{f"activation {n}": one(IMAGE, layer("Activation", n), *ACTIVATIONS_OUTSIDE.get(n, ())) for n in ACTIVATIONS},
    **{
        f"argument {n}": one(ROW, layer("Dense", 8, activation=n), *ACTIVATIONS_OUTSIDE.get(n, ())) for n in ACTIVATIONS
    },
    "argument layer": one(IMAGE, lambda k, x: k.layers.Conv2D(3, 1, activation=k.layers.LeakyReLU(0.3))(x)),
    "argument ops": one(IMAGE, lambda k, x: k.layers.Conv2D(3, 1, activation=k.ops.gelu)(x)),
    "ReLU": one(IMAGE, layer("ReLU")),
    "ReLU maximum": one(IMAGE, layer("ReLU", max_value=1.5)),
    "ReLU slope": one(IMAGE, layer("ReLU", negative_slope=0.2)),
    "ReLU threshold": one(IMAGE, layer("ReLU", threshold=0.7), "GREATER", "SELECT_V2"),
    "ReLU all": one(IMAGE, layer("ReLU", max_value=2.0, negative_slope=0.1, threshold=0.5), "GREATER", "SELECT_V2"),
    "ReLU slope and six": one(IMAGE, layer("ReLU", max_value=6.0, negative_slope=0.1)),
    "LeakyReLU": one(IMAGE, layer("LeakyReLU", negative_slope=0.3)),
    "PReLU": one(IMAGE, layer("PReLU")),
    "PReLU shared": one(IMAGE, layer("PReLU", shared_axes=[1, 2])),
    "PReLU one axis": one(IMAGE, layer("PReLU", shared_axes=[1])),
    "PReLU row": one(ROW, layer("PReLU")),
    "PReLU of a convolution": one(IMAGE, lambda k, x: k.layers.PReLU()(k.layers.Conv2D(3, 3)(x))),
    "PReLU one slope": one(IMAGE, layer("PReLU", shared_axes=[1, 2, 3])),
    "ELU": one(IMAGE, layer("ELU")),
    "ELU alpha": one(IMAGE, layer("ELU", alpha=0.7)),
    "Softmax": one(IMAGE, layer("Softmax")),
    "Softmax rows": one(IMAGE, layer("Softmax", axis=1)),
    "Softmax image": one(IMAGE, layer("Softmax", axis=(1, 2))),
    "Softmax all": one(IMAGE, layer("Softmax", axis=(1, 2, 3))),
    "GlobalMaxPooling2D": one(ODD, layer("GlobalMaxPooling2D")),
    "GlobalAveragePooling1D": one(ROWS, layer("GlobalAveragePooling1D")),
    "GlobalMaxPooling1D": one(ROWS, layer("GlobalMaxPooling1D", keepdims=True)),
    "Conv1D": one(ROWS, layer("Conv1D", 5, 3, padding="same", strides=2, activation="relu")),
    "Conv1D causal": one(ROWS, layer("Conv1D", 5, 3, padding="causal", dilation_rate=2)),
    "LayerNormalization": one(IMAGE, layer("LayerNormalization")),
    "LayerNormalization row": one(ROW, layer("LayerNormalization")),
    "LayerNormalization rows": one(ROWS, layer("LayerNormalization", center=False)),
    "LayerNormalization axes": one(IMAGE, layer("LayerNormalization", axis=[1, 2, 3])),
    "LayerNormalization first axis": one(IMAGE, layer("LayerNormalization", axis=1)),
    "LayerNormalization rms": one(IMAGE, layer("LayerNormalization", rms_scaling=True)),
    "RMSNormalization": one(IMAGE, layer("RMSNormalization")),
    "BatchNormalization row": one(ROW, layer("BatchNormalization")),
    "BatchNormalization rows": one(ROWS, layer("BatchNormalization")),
    "BatchNormalization axis": one(IMAGE, layer("BatchNormalization", axis=1)),
    "GroupNormalization": one(IMAGE, layer("GroupNormalization", groups=2)),
    "GroupNormalization of a convolution": one(
        IMAGE, lambda k, x: k.layers.GroupNormalization(groups=3)(k.layers.Conv2D(6, 3)(x))
    ),
    "GroupNormalization instance": one(IMAGE, layer("GroupNormalization", groups=-1, scale=False)),
    "GroupNormalization rows": one(ROWS, layer("GroupNormalization", groups=3)),
    "GroupNormalization row": one(ROW, layer("GroupNormalization", groups=2, center=False)),
    "UnitNormalization": one(IMAGE, layer("UnitNormalization")),
    "UnitNormalization rows": one(IMAGE, layer("UnitNormalization", axis=1)),
    "Dense rows": one(ROWS, layer("Dense", 5)),
    "Dense image": one(IMAGE, layer("Dense", 5, activation="selu")),
    "EinsumDense": one(ROWS, layer("EinsumDense", "abc,cd->abd", (None, 5), bias_axes="d", activation="relu")),
    "EinsumDense ellipsis": one((6, 6, 4), layer("EinsumDense", "...c,cd->...d", (5,), bias_axes="d")),
    "EinsumDense heads": one(ROWS, layer("EinsumDense", "abc,cde->abde", (None, 2, 3), bias_axes="de")),
    "EinsumDense merge": one(IMAGE, layer("EinsumDense", "abcd,cde->abe", (8, 5))),
    "EinsumDense turned": one(ROWS, layer("EinsumDense", "abc,bd->adc", (5, None), bias_axes="d")),
    "EinsumDense row": one(ROW, layer("EinsumDense", "ab,bc->ac", 5)),
    "MultiHeadAttention": one(ROWS, _attention),
    "MultiHeadAttention cross": two(ROWS, (5, 4), _cross_attention),
    "MultiHeadAttention scores": one(ROWS, _attention_with_scores),
    "MultiHeadAttention in a block": one(ROWS, _transformer_block),
    "Conv2DTranspose valid": _transposed("valid", 3, 2),
    "Conv2DTranspose same": _transposed("same", 3, 2, activation="relu"),
    "Conv2DTranspose same even": _transposed("same", 4, 2, use_bias=False),
    "Conv2DTranspose small": _transposed("valid", 1, 3),
    "Conv2DTranspose small same": _transposed("same", 1, 3),
    "Conv2DTranspose dense": _transposed("same", 3, 1),
    "Conv2DTranspose extra": _transposed("same", 3, 2, output_padding=1),
    "Conv2DTranspose dilated": _transposed("valid", 2, 1, dilation_rate=2),
    "Conv2DTranspose normalised": one(
        IMAGE, lambda k, x: k.layers.ReLU()(k.layers.BatchNormalization()(k.layers.Conv2DTranspose(5, 3, 2)(x)))
    ),
    "UpSampling2D": one(IMAGE, layer("UpSampling2D")),
    "UpSampling2D uneven": one(IMAGE, layer("UpSampling2D", size=(3, 1))),
    "UpSampling2D large": one(IMAGE, layer("UpSampling2D", size=(1, 7)), "RESIZE_NEAREST_NEIGHBOR"),
    "UpSampling2D bilinear": one(IMAGE, layer("UpSampling2D", interpolation="bilinear")),
    "Resizing": one(IMAGE, layer("Resizing", 11, 13)),
    "Resizing by an uneven factor": one((3, 3, 4), layer("Resizing", 2, 5)),
    "Resizing smaller": one(ODD, layer("Resizing", 5, 4)),
    "Resizing nearest": one(IMAGE, layer("Resizing", 11, 13, interpolation="nearest"), "RESIZE_NEAREST_NEIGHBOR"),
    "Resizing nearest half": one(IMAGE, layer("Resizing", 4, 3, interpolation="nearest"), "RESIZE_NEAREST_NEIGHBOR"),
    "Resizing to itself": one(IMAGE, lambda k, x: k.layers.ReLU()(k.layers.Resizing(8, 6)(x))),
    "Rescaling": one(IMAGE, layer("Rescaling", 1 / 127.5, offset=-1)),
    "Normalization": one(IMAGE, layer("Normalization", mean=[1.0, 2.0, 3.0, 4.0], variance=[0.1, 0.5, 1.0, 9.0])),
    "Normalization axis": one(IMAGE, layer("Normalization", axis=1, mean=np.arange(8.0), variance=np.arange(1.0, 9))),
    "CenterCrop": one(ODD, layer("CenterCrop", 4, 4)),
    "Permute": one(IMAGE, layer("Permute", (3, 1, 2))),
    "Permute of a convolution": one(IMAGE, lambda k, x: k.layers.Permute((3, 1, 2))(k.layers.Conv2D(3, 1)(x))),
    "RepeatVector": one(ROW, layer("RepeatVector", 5)),
    "Subtract": two(IMAGE, IMAGE, layer("Subtract")),
    "Average": one(IMAGE, lambda k, x: k.layers.Average()([x, k.layers.ReLU()(x), k.layers.Conv2D(4, 1)(x)])),
    "Maximum": two(IMAGE, (1, 1, 4), layer("Maximum")),
    "Minimum": two(IMAGE, (4,), layer("Minimum")),
    "Dot rows": two(ROW, ROW, layer("Dot", axes=1)),
    "Dot normalised": two(ROW, ROW, layer("Dot", axes=-1, normalize=True)),
    "Dot matrices": two((5, 6), (7, 6), layer("Dot", axes=2)),
    "Dot matrices turned": two((6, 5), (7, 6), layer("Dot", axes=(1, 2))),
    "Concatenate rows": two(IMAGE, (3, 6, 4), layer("Concatenate", axis=1)),
    "Concatenate columns": one(IMAGE, lambda k, x: k.layers.Concatenate(axis=-2)([k.layers.Conv2D(4, 1)(x), x])),
    **{f"augmentation {n}": one((8, 6, 3), _augmented(n, o)) for n, o in AUGMENTATION.items()},
}


def _positive(k: Any, x: Any) -> Any:
    return k.ops.abs(x) + 0.5


def of_positive(name: str, *args: Any) -> Make:
    return lambda k, x: getattr(k.ops, name)(_positive(k, x), *args)


PLANE = np.arange(1.0, 25.0, dtype=np.float32).reshape(6, 4)
BINARIES = ("add", "subtract", "multiply", "divide", "maximum", "minimum")
FUNCTIONS = ("relu", "relu6", "sigmoid", "silu", "softplus", "softsign", "selu", "elu", "gelu", "leaky_relu", "celu",
             "glu", "hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid", "log_softmax", "softmax", "soft_shrink",
             "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "negative", "abs",
             "square", "exp", "sin", "cos", "floor", "ceil")  # fmt: skip


def _with_constant(name: str, constant: Any, *, first: bool) -> Make:
    return lambda k, x: getattr(k.ops, name)(*((constant, _positive(k, x)) if first else (x, constant)))


OPERATIONS: dict[str, Case] = {
    **{f"ops {name}": one(IMAGE, ops(name)) for name in FUNCTIONS},
    "ops hard_shrink": one(IMAGE, ops("hard_shrink"), "GREATER", "SELECT_V2"),
    "ops threshold": one(IMAGE, ops("threshold", 0.5, -1.0), "GREATER", "SELECT_V2"),
    "ops relu with arguments": one(IMAGE, lambda k, x: k.activations.relu(x, negative_slope=0.1, max_value=1.0)),
    "ops gelu exact": one(IMAGE, ops("gelu", approximate=False)),
    "ops softmax rows": one(IMAGE, ops("softmax", axis=1)),
    **{f"ops {n}": one(IMAGE, of_positive(n)) for n in ("sqrt", "rsqrt", "log", "reciprocal")},
    **{f"ops {n} tensors": two(IMAGE, IMAGE, ops(n)) for n in BINARIES if n != "divide"},
    "ops divide tensors": two(IMAGE, IMAGE, lambda k, x, y: x / _positive(k, y)),
    **{f"ops {n} number": one(IMAGE, _with_constant(n, 1.5, first=False)) for n in BINARIES},
    **{f"ops {n} number first": one(IMAGE, _with_constant(n, 1.5, first=True)) for n in BINARIES},
    **{f"ops {n} plane": one(IMAGE, _with_constant(n, PLANE, first=False)) for n in BINARIES},
    **{f"ops {n} plane first": one(IMAGE, _with_constant(n, PLANE, first=True)) for n in BINARIES},
    "ops plane of a convolution": one(IMAGE, lambda k, x: k.ops.maximum(k.layers.Conv2D(4, 1)(x), PLANE / 12)),
    "ops power two": one(IMAGE, ops("power", 2)),
    "ops power half": one(IMAGE, of_positive("power", 0.5)),
    "ops power minus one": one(IMAGE, of_positive("power", -1.0)),
    "ops power": one(IMAGE, of_positive("power", 1.7), "POW"),
    "ops power of two": one(IMAGE, lambda k, x: 2.0**x, "POW"),
    "ops clip": one(IMAGE, ops("clip", -0.5, 1.0)),
    "ops concatenate": one(IMAGE, lambda k, x: k.ops.concatenate([x, k.ops.square(x)], axis=2)),
    "ops reshape": one(IMAGE, ops("reshape", (-1, 12, 16))),
    "ops transpose": one(IMAGE, ops("transpose", (0, 2, 3, 1))),
    "ops swapaxes": one(IMAGE, ops("swapaxes", 1, 3)),
    "ops squeeze": one((1, 5, 4), lambda k, x: k.ops.squeeze(k.ops.sin(x), 1)),
    "ops expand_dims": one(IMAGE, ops("expand_dims", 1)),
    "ops matmul": two((5, 6), (6, 7), ops("matmul")),
    "ops matmul constant": one(IMAGE, ops("matmul", PLANE[:4])),
    "ops normalize": one(IMAGE, ops("normalize", axis=-1)),
    "ops cast": one(IMAGE, lambda k, x: k.ops.sin(k.ops.cast(x, "float32"))),
    "ops slice": one(IMAGE, lambda k, x: x[:, 1:-1, ..., 2:4]),
    "ops first row": one(ROWS, lambda k, x: x[:, 0]),
    "ops last channel, new axis": one(IMAGE, lambda k, x: k.layers.Conv2D(4, 1)(x)[:, None, :, -1]),
}


def _reduced(k: Any, x: Any, *, name: str, axis: Any, keepdims: bool) -> Any:
    return getattr(k.ops, name)(x, axis=axis, keepdims=keepdims)


AXES = {"channels": (-1, False), "image": ((1, 2), True), "all": ((1, 2, 3), False), "rows": (1, False)}
OPERATIONS |= {
    f"ops {name} {label}": one(IMAGE, partial(_reduced, name=name, axis=axis, keepdims=keepdims))
    for name in ("mean", "sum", "max", "min")
    for label, (axis, keepdims) in AXES.items()
}
CASES = LAYERS | OPERATIONS
