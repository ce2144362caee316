"""One small model for what vision models of today use beside the plain layers: attention, windows, sequences, axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexport.sources.loading.keras2_functions import keras2_hard_sigmoid
from tests.lowerings.layer_table import IMAGE, ODD, ROW, ROWS, Case, Make, layer, one, ops, two

VOLUME = (4, 6, 5, 3)
INDICES = ("GATHER",)


def both(name: str, *args: Any, **options: Any) -> Make:
    """A layer of the sequence with itself."""
    return lambda k, x: getattr(k.layers, name)(*args, **options)([x, x])


def first(name: str, *args: Any, **options: Any) -> Make:
    """The layer behind a convolution, whose images ONNX has with their channels first."""
    return lambda k, x: getattr(k.ops, name)(k.layers.Conv2D(4, 1)(x), *args, **options)


def _masked_attention(k: Any, x: Any) -> Any:
    return k.layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)


def _image_attention(k: Any, x: Any) -> Any:
    return k.layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(x, x)


def _axial_attention(k: Any, x: Any) -> Any:
    return k.layers.MultiHeadAttention(2, 3, attention_axes=(2,))(x, x)


def _dot_product(k: Any, x: Any) -> Any:
    heads = k.layers.Reshape((7, 2, 3))(x)
    return k.ops.dot_product_attention(heads, heads, heads)


def _windows(k: Any, x: Any) -> Any:
    """Swin's: the windows become images of their own, attend, and come back."""
    y = k.ops.reshape(x, (-1, 4, 2, 3, 2, 4))
    y = k.ops.reshape(k.ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, 4, 4))
    y = y + k.layers.MultiHeadAttention(2, 3)(y, y)
    y = k.ops.transpose(k.ops.reshape(y, (-1, 4, 3, 2, 2, 4)), (0, 1, 3, 2, 4, 5))
    return k.ops.reshape(y, (-1, 8, 6, 4))


def _where(k: Any, x: Any) -> Any:
    return k.ops.where(x > 0.3, x, k.ops.sin(x))


def _where_numbers(k: Any, x: Any) -> Any:
    return k.ops.where(k.ops.logical_and(x > -0.5, x <= 1.0), 2.0, k.ops.tanh(x))


def _where_constant(k: Any, x: Any) -> Any:
    return k.ops.where(np.eye(6, 4) > 0, x, -3.0)


def _top(k: Any, x: Any) -> Any:
    numbers, places = k.ops.top_k(x, 3)
    return [numbers, k.ops.cast(places, "float32")]


def _split(k: Any, x: Any) -> Any:
    a, b = k.ops.split(x, 2, axis=-1)
    return k.ops.concatenate([b, a * 2], axis=-1)


def _stack(k: Any, x: Any) -> Any:
    return k.ops.stack([x, k.ops.square(x), x + 1], axis=2)


def _lambda(k: Any, x: Any) -> Any:
    return k.layers.Lambda(lambda y: k.ops.sqrt(k.ops.abs(y)) * 2.0)(x)


def _custom(k: Any, x: Any) -> Any:
    class Token(k.layers.Layer):
        def build(self, shape: Any) -> None:
            self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
            self.dense = k.layers.Dense(5)
            self.dense.build(shape)

        def call(self, y: Any, training: bool | None = None) -> Any:
            assert not training
            token = k.ops.broadcast_to(self.token, (k.ops.shape(y)[0], 1, y.shape[-1]))
            whole = k.ops.concatenate([token, y], axis=1)
            return self.dense(k.ops.reshape(whole, (k.ops.shape(y)[0], -1, y.shape[-1])))

    return Token()(x)


def _time_distributed(k: Any, x: Any) -> Any:
    return k.layers.TimeDistributed(k.layers.Conv2D(3, 3, activation="relu"))(x)


def _time_distributed_model(k: Any, x: Any) -> Any:
    inner = k.Sequential([k.layers.Conv2D(3, 3), k.layers.GlobalAveragePooling2D(), k.layers.Dense(4)])
    return k.layers.LSTM(3)(k.layers.TimeDistributed(inner)(x))


def _bidirectional(inner: str, **options: Any) -> Make:
    arguments = {"return_sequences": options.pop("return_sequences", True)}
    return lambda k, x: k.layers.Bidirectional(getattr(k.layers, inner)(3, **arguments), **options)(x)


def _states(k: Any, x: Any) -> Any:
    output, state = k.layers.GRU(3, return_state=True)(x)
    return k.layers.GRU(3)(k.ops.flip(x, 1), initial_state=state) + output


def _embedding(k: Any, x: Any) -> Any:
    places = k.ops.cast(k.ops.clip(k.ops.abs(x) * 2, 0, 9), "int32")
    return k.layers.Embedding(10, 5, mask_zero=True)(places)


def _masked(k: Any, x: Any) -> Any:
    """The rows of an Embedding that leaves zeros out, with something before the layer that reads its mask."""
    places = k.ops.cast(k.ops.clip(k.ops.abs(x) * 2, 0, 9), "int32")
    return k.layers.Dense(4)(k.layers.Embedding(10, 6, mask_zero=True)(places))


def masked(make: Make, *outside: str) -> Case:
    known = ("SIGN", "CAST", "GATHER", "NOT_EQUAL", "SELECT_V2")
    return one(ROW, lambda k, x: make(k, _masked(k, x)), *known, *outside)


def _pooled_inside(k: Any) -> Any:
    class Pooled(k.layers.Layer):  # type: ignore[misc, name-defined]
        """Says nothing of masks; the layer inside finds the one that comes with the values."""

        def __init__(self) -> None:
            super().__init__()
            self.supports_masking = True
            self.inner = k.layers.GlobalAveragePooling1D()

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs) * 2.0

    return Pooled()


def _masked_by_value(k: Any, x: Any) -> Any:
    """Steps of which all numbers are 0 are left out."""
    y = k.layers.Masking(0.0)(k.layers.ReLU()(x - 1.5))
    return k.layers.GlobalAveragePooling1D()(k.layers.Concatenate()([y, k.layers.Dense(3)(y)]))


def _attends_where_told(k: Any, x: Any) -> Any:
    seen = np.tril(np.ones((1, 7, 7), bool))
    return k.layers.MultiHeadAttention(2, 3)(x, value=x, key=k.layers.Dense(6)(x), attention_mask=seen)


def _cells(name: str, **options: Any) -> Make:
    """Every result of a recurrent layer that gives its states, which begins in the states of another."""

    def make(k: Any, x: Any) -> Any:
        kind = k.layers.Bidirectional if options.get("both") else lambda each: each
        first = kind(getattr(k.layers, name)(5, return_state=True))(x)
        again = kind(getattr(k.layers, name)(5, return_state=True, return_sequences=True))
        return list(again(x, initial_state=list(first[1:])))

    return make


def quantized(mode: str, make: Make) -> Make:
    """A layer with random weights as Keras's own quantization leaves it."""

    def made(k: Any, x: Any) -> Any:
        result = make(k, x)
        operation = result._keras_history.operation
        operation.quantize(mode)
        return result

    return made


def _straight_through(k: Any, x: Any) -> Any:
    """Rounds forwards, and is a straight line backwards."""

    class Rounded(k.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            return k.ops.custom_gradient(lambda value: (k.ops.round(value * 4) / 4, lambda upstream: upstream))(inputs)

    return Rounded()(x)


def _fake_quantized(k: Any, x: Any) -> Any:
    return k.quantizers.fake_quant_with_min_max_vars(k.layers.Dense(4)(x), -1.9, 2.4)


def _doubled(x: Any) -> Any:
    return x * 2


def linear(x: Any) -> Any:
    """Not Keras's function of this name."""
    return x * 2


def _einsum(equation: str) -> Make:
    return lambda k, *x: k.ops.einsum(equation, *x)


def _einsum_constant(equation: str, *shape: int) -> Make:
    numbers = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return lambda k, x: k.ops.einsum(equation, x, numbers)


WIDE: dict[str, Case] = {
    "Attention": one(ROWS, both("Attention")),
    "Attention scaled": one(ROWS, both("Attention", use_scale=True, score_mode="concat")),
    "AdditiveAttention": one(ROWS, both("AdditiveAttention")),
    "GroupQueryAttention": one(ROWS, lambda k, x: k.layers.GroupQueryAttention(4, 4, 2)(x, x), "GATHER"),
    "MultiHeadAttention causal": one(ROWS, _masked_attention),
    "MultiHeadAttention image": one((4, 3, 6), _image_attention),
    "MultiHeadAttention axial": one((4, 3, 6), _axial_attention),
    "dot_product_attention": one(ROWS, _dot_product),
    "windows": one((8, 6, 4), _windows),
    "einsum attention": two(ROWS, ROWS, _einsum("bik,bjk->bij")),
    "einsum heads": two((5, 2, 3), (7, 2, 3), _einsum("bthd,bshd->bhts")),
    "einsum outer": two(ROW, (4,), _einsum("bi,bj->bij")),
    "einsum rows": two(ROWS, ROW, _einsum("bij,bj->bi")),
    "einsum sum": one(IMAGE, _einsum("bhwc->bc")),
    "einsum turned": one(IMAGE, _einsum("bhwc->bchw")),
    "einsum kernel": one(IMAGE, _einsum_constant("bhwc,cd->bhwd", 4, 5)),
    "einsum grouped": one((5, 2, 3), _einsum_constant("bthd,hde->bthe", 2, 3, 4)),
    "einsum ellipsis": one(IMAGE, _einsum_constant("...c,cd->...d", 4, 5)),
    "matmul broadcast": one((2, 7, 6), lambda k, x: k.ops.matmul(x, np.ones((1, 6, 3), np.float32) / 3)),
    "matmul constant first": one((7, 6), lambda k, x: k.ops.matmul(np.ones((5, 7), np.float32) / 7, x) + 0 * x[:, :5]),
    "where": one(IMAGE, _where, "GREATER", "SELECT_V2"),
    "where numbers": one(IMAGE, _where_numbers, "GREATER", "LESS_EQUAL", "NOT_EQUAL", "CAST", "SELECT_V2"),
    "where constant": one(IMAGE, _where_constant, "CAST", "SELECT_V2"),
    "equal": one(IMAGE, lambda k, x: k.ops.cast(k.ops.equal(k.ops.floor(x), 0.0), "float32"), "EQUAL", "CAST"),
    "argmax": one(IMAGE, first("argmax", axis=-1), "ARG_MAX"),
    "argmax rows": one(IMAGE, first("argmax", axis=1, keepdims=True), "ARG_MAX", "CAST"),
    "argmin": one(ROW, ops("argmin", axis=-1), "ARG_MIN"),
    "top_k": one((9,), _top, "TOPK_V2", "CAST"),
    "sort": one(ROWS, ops("sort"), "TOPK_V2"),
    "one_hot": one(ROW, lambda k, x: k.ops.one_hot(k.ops.argmax(x, axis=-1), 6), "ARG_MAX", "GATHER"),
    "take": one(IMAGE, first("take", [2, 0, 1, 1, -1], axis=1), *INDICES),
    "take channels": one(IMAGE, first("take", [[2, 0], [1, 3]], axis=-1), *INDICES),
    "repeat": one(IMAGE, first("repeat", 2, axis=2), *INDICES),
    "tile": one(IMAGE, first("tile", (1, 2, 1, 3)), "TILE"),
    "broadcast_to": one(
        (1, 4), lambda k, x: k.layers.Lambda(lambda y: k.ops.broadcast_to(y, (k.ops.shape(y)[0], 5, 4)))(x), "TILE"
    ),
    "roll": one(IMAGE, first("roll", (-2, 1), axis=(1, 2))),
    "flip": one(IMAGE, first("flip", axis=2), "STRIDED_SLICE"),
    "split": one(IMAGE, _split),
    "split at places": one(IMAGE, lambda k, x: k.ops.split(x, [1, 3], axis=1)[1]),
    "stack": one(ROWS, _stack),
    "unstack": one(ROWS, lambda k, x: k.ops.unstack(x, axis=1)[2]),
    "pad": one(IMAGE, first("pad", ((0, 0), (1, 2), (0, 1), (0, 0)))),
    "pad channels": one(IMAGE, first("pad", ((0, 0), (0, 0), (0, 1), (1, 2)))),
    "pad reflect": one(IMAGE, first("pad", ((0, 0), (1, 2), (2, 1), (0, 0)), mode="reflect"), *INDICES),
    "pad symmetric": one(IMAGE, first("pad", ((0, 0), (1, 2), (2, 1), (0, 0)), mode="symmetric"), *INDICES),
    "pad constant": one(IMAGE, lambda k, x: k.ops.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=2.0)),
    "cumsum": one(ROWS, ops("cumsum", axis=-1)),
    "steps": one(IMAGE, lambda k, x: x[:, ::2, 1::3], "STRIDED_SLICE"),
    "backwards": one(ROWS, lambda k, x: x[:, ::-1], "STRIDED_SLICE"),
    "var": one(IMAGE, ops("var", axis=(1, 2))),
    "std": one(IMAGE, ops("std", axis=-1, keepdims=True)),
    "prod": one(ROWS, ops("prod", axis=1), "REDUCE_PROD"),
    "logsumexp": one(ROWS, ops("logsumexp", axis=-1)),
    "norm": one(ROWS, ops("norm", axis=-1)),
    "sign": one(IMAGE, ops("sign"), "SIGN"),
    "round": one(IMAGE, ops("round")),
    "erf": one(IMAGE, ops("erf"), "SIGN"),
    "log1p": one(IMAGE, lambda k, x: k.ops.log1p(k.ops.abs(x))),
    "floor_divide": one(IMAGE, lambda k, x: x // 0.3),
    "mod": one(IMAGE, lambda k, x: k.ops.mod(k.ops.floor(x * 4), 3.0)),
    "cast": one(IMAGE, lambda k, x: k.ops.cast(k.ops.cast(x * 3, "int32"), "float32"), "SIGN"),
    "moveaxis": one(IMAGE, first("moveaxis", 3, 1)),
    "resize bicubic": one(IMAGE, lambda k, x: k.ops.image.resize(x, (11, 9), interpolation="bicubic")),
    "resize antialias": one(ODD, lambda k, x: k.ops.image.resize(x, (4, 5), antialias=True)),
    "Resizing lanczos3": one(IMAGE, layer("Resizing", 5, 9, interpolation="lanczos3")),
    "Resizing crop": one(ODD, layer("Resizing", 4, 6, crop_to_aspect_ratio=True)),
    "Resizing pad": one(ODD, layer("Resizing", 12, 12, pad_to_aspect_ratio=True)),
    "UpSampling2D bicubic": one(IMAGE, layer("UpSampling2D", interpolation="bicubic")),
    "extract_patches": one(IMAGE, lambda k, x: k.ops.image.extract_patches(x, (4, 3))),
    "extract_patches overlapping": one(ODD, lambda k, x: k.ops.image.extract_patches(x, 3, strides=2, padding="same")),
    "depth_to_space": one(IMAGE, lambda k, x: k.ops.depth_to_space(k.layers.Conv2D(8, 1)(x), 2)),
    "space_to_depth": one(IMAGE, lambda k, x: k.ops.space_to_depth(k.layers.Conv2D(3, 1)(x), 2)),
    "rgb_to_grayscale": one((6, 5, 3), lambda k, x: k.ops.image.rgb_to_grayscale(x)),
    "Lambda": one(IMAGE, _lambda),
    "own activation": one(IMAGE, layer("Conv2D", 4, 1, activation=_doubled)),
    "own activation named linear": one(IMAGE, layer("Conv2D", 4, 1, activation=linear)),
    "EinsumDense with a shared letter": one(IMAGE, layer("EinsumDense", "abcd,cd->abcd", (8, 6, 4))),
    "Dot over images": one(IMAGE, lambda k, x: k.layers.Dot(axes=3)([x, x])),
    "a layer of one's own": one(ROWS, _custom),
    "Embedding": one(ROW, _embedding, "SIGN", "CAST", "GATHER"),
    "TimeDistributed": one((3, 6, 5, 4), _time_distributed),
    "TimeDistributed model": one((3, 6, 5, 4), _time_distributed_model),
    "LSTM": one(ROWS, layer("LSTM", 5)),
    "LSTM sequences": one(ROWS, layer("LSTM", 5, return_sequences=True, unit_forget_bias=False)),
    "LSTM backwards": one(ROWS, layer("LSTM", 5, return_sequences=True, go_backwards=True), "STRIDED_SLICE"),
    "LSTM relu": one(ROWS, layer("LSTM", 5, activation="relu", recurrent_activation="hard_sigmoid")),
    "GRU": one(ROWS, layer("GRU", 5)),
    "LSTM of Keras 2": one(ROWS, layer("LSTM", 5, recurrent_activation=keras2_hard_sigmoid)),
    "GRU of Keras 2": one(ROWS, layer("GRU", 5, recurrent_activation=keras2_hard_sigmoid, reset_after=False)),
    "LSTM cells": one(ROWS, _cells("LSTM")),
    "GRU from states": one(ROWS, _cells("GRU")),
    "Bidirectional LSTM cells": one(ROWS, _cells("LSTM", both=True), "STRIDED_SLICE"),
    "mask of an average": masked(lambda k, y: k.layers.GlobalAveragePooling1D()(y)),
    "mask of Attention": masked(lambda k, y: k.layers.Attention()([y, y]), "EQUAL"),
    "mask of MultiHeadAttention": masked(
        lambda k, y: k.layers.GlobalAveragePooling1D()(k.layers.MultiHeadAttention(2, 3)(y, y))
    ),
    "mask of rows of MultiHeadAttention": masked(lambda k, y: k.layers.MultiHeadAttention(2, 3)(y, y)),
    "mask of a layer inside of a layer": masked(lambda k, y: _pooled_inside(k)(y)),
    "mask by value": one(ROWS, _masked_by_value, "NOT_EQUAL", "CAST", "SELECT_V2"),
    "MultiHeadAttention told where": one(ROWS, _attends_where_told),
    "Dense in int8": one(ROW, quantized("int8", layer("Dense", 5)), "SIGN"),
    "Dense in int4": one(ROW, quantized("int4", layer("Dense", 5, activation="relu"))),
    "EinsumDense in int8": one(ROWS, quantized("int8", layer("EinsumDense", "abc,cde->abde", (7, 2, 3))), "SIGN"),
    "fake quantization": one(ROW, _fake_quantized),
    "straight through": one(IMAGE, _straight_through),
    "GRU reset before": one(ROWS, layer("GRU", 5, reset_after=False, return_sequences=True)),
    "GRU states": one(ROWS, _states, "STRIDED_SLICE"),
    "SimpleRNN": one(ROWS, layer("SimpleRNN", 5, return_sequences=True)),
    "Bidirectional LSTM": one(ROWS, _bidirectional("LSTM")),
    "Bidirectional GRU last": one(ROWS, _bidirectional("GRU", return_sequences=False, merge_mode="sum")),
    "Bidirectional average": one(ROWS, _bidirectional("SimpleRNN", merge_mode="ave")),
    "MaxPooling1D": one(ROWS, layer("MaxPooling1D", 2)),
    "AveragePooling1D": one(ROWS, layer("AveragePooling1D", 3, strides=2, padding="same")),
    "MaxPooling3D": one(VOLUME, layer("MaxPooling3D", 2)),
    "AveragePooling3D": one(VOLUME, layer("AveragePooling3D", (2, 3, 2), padding="same")),
    "GlobalAveragePooling3D": one(VOLUME, layer("GlobalAveragePooling3D")),
    "GlobalMaxPooling3D": one(VOLUME, layer("GlobalMaxPooling3D")),
    "AdaptiveAveragePooling2D channels first": one(
        ODD, layer("AdaptiveAveragePooling2D", 1, data_format="channels_first")
    ),
    "AdaptiveAveragePooling2D one": one(ODD, layer("AdaptiveAveragePooling2D", 1)),
    "AdaptiveMaxPooling2D": one((8, 6, 4), layer("AdaptiveMaxPooling2D", (4, 3))),
    "DepthwiseConv1D": one(ROWS, layer("DepthwiseConv1D", 3, depth_multiplier=2, padding="same")),
    "SeparableConv1D": one(ROWS, layer("SeparableConv1D", 5, 3, activation="relu")),
    "Conv1DTranspose": one(ROWS, layer("Conv1DTranspose", 5, 3, strides=2, padding="same")),
    "Conv3D": one(VOLUME, layer("Conv3D", 4, 2, padding="same", activation="relu"), "CONV_3D"),
    "Conv3D valid": one(VOLUME, layer("Conv3D", 4, (1, 3, 3), strides=(1, 2, 1)), "CONV_3D"),
    "UpSampling1D": one(ROWS, layer("UpSampling1D", 2), *INDICES),
    "UpSampling3D": one(VOLUME, layer("UpSampling3D", (1, 2, 2)), *INDICES),
    "ZeroPadding1D": one(ROWS, layer("ZeroPadding1D", (1, 2))),
    "ZeroPadding3D": one(VOLUME, layer("ZeroPadding3D", 1)),
    "Cropping1D": one(ROWS, layer("Cropping1D", (1, 2))),
    "Flatten channels first": one((4, 8, 6), layer("Flatten", data_format="channels_first")),
    "Flatten channels first, a sequence": one((4, 8), layer("Flatten", data_format="channels_first")),
    "Flatten channels first, a vector": one((7,), layer("Flatten", data_format="channels_first")),
    "Conv2D channels first": one((4, 8, 6), layer("Conv2D", 3, 3, padding="same", data_format="channels_first")),
    "GlobalAveragePooling2D channels first": one(
        (4, 8, 6), layer("GlobalAveragePooling2D", data_format="channels_first")
    ),
    "MaxPooling2D channels first": one((4, 8, 6), layer("MaxPooling2D", 2, data_format="channels_first")),
    "LayerNormalization two axes": one(IMAGE, layer("LayerNormalization", axis=[2, 3])),
    "SpectralNormalization": one(IMAGE, lambda k, x: k.layers.SpectralNormalization(k.layers.Conv2D(3, 3))(x)),
}
