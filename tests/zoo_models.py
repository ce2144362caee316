# ruff: noqa: PLC3002, PLW0108 - a table of bodies: a lambda that is called gives a value a name
"""The table of the zoo: small models in the shapes that people use, each a function that builds it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import layers as L  # noqa: N812 - as Keras's own examples have it
from keras import ops

from tests.zoo_blocks import (
    ClassToken,
    DropPath,
    LayerScale,
    PatchEncoder,
    Patches,
    WindowAttention,
    bottleneck,
    channel_and_place,
    conv,
    convnext,
    dense_block,
    efficient_channel,
    ghost,
    inception,
    inverted,
    residual,
    separable,
    shuffled,
    squeeze,
    transformer,
)

Make = Callable[[], Any]
IMAGE = (32, 32, 3)
MODELS: dict[str, Make] = {}


def add(name: str, body: Callable[[Any], Any], shape: tuple[int, ...] = IMAGE, dtype: str = "float32") -> None:
    """A model of one input."""

    def make() -> Any:
        x = keras.Input(shape, dtype=dtype)
        return keras.Model(x, body(x), name=re.sub(r"\W", "_", name))

    assert name not in MODELS, name
    MODELS[name] = make


def whole(name: str, make: Make) -> None:
    """A model that is built as a whole."""
    assert name not in MODELS, name
    MODELS[name] = make


def head(x: Any, classes: int = 6, act: Any = "softmax") -> Any:
    """Pooled and classified."""
    return L.Dense(classes, activation=act)(L.Dropout(0.2)(L.GlobalAveragePooling2D()(x)))


def stem(x: Any, filters: int = 8, **options: Any) -> Any:
    """The image at half its size."""
    return conv(L.Rescaling(1 / 127.5, offset=-1)(x), filters, strides=2, **options)


# classifiers: one block each
for _name, _block in {
    "plain": lambda x: conv(conv(x, 12), 16, strides=2),
    "resnet": lambda x: residual(residual(x, 8), 16, strides=2),
    "resnet bottleneck": lambda x: bottleneck(x, 16),
    "resnext": lambda x: bottleneck(x, 16, groups=4),
    "wide resnet": lambda x: residual(x, 24),
    "densenet": lambda x: L.AveragePooling2D(2)(conv(dense_block(x, 6, 3), 12, 1)),
    "inception": lambda x: inception(x, 6),
    "mobilenet": lambda x: separable(separable(x, 12), 16, strides=2),
    "mobilenetv2": lambda x: inverted(inverted(x, 8), 12, strides=2),
    "mobilenetv3": lambda x: inverted(x, 8, act="hard_silu", gate=True),
    "efficientnet": lambda x: inverted(x, 8, act="silu", gate=True),
    "senet": lambda x: squeeze(residual(x, 12)),
    "cbam": lambda x: channel_and_place(residual(x, 12)),
    "eca": lambda x: efficient_channel(residual(x, 12)),
    "shufflenet": lambda x: shuffled(conv(x, 12)),
    "ghostnet": lambda x: ghost(x, 12),
    "convnext": lambda x: convnext(convnext(x)),
    "convmixer": lambda x: conv(
        L.Add()([x, L.BatchNormalization()(L.DepthwiseConv2D(5, padding="same", activation="gelu")(x))]),
        8,
        1,
        act="gelu",
    ),
    "xception": lambda x: L.MaxPooling2D(3, 2, padding="same")(
        L.BatchNormalization()(L.SeparableConv2D(12, 3, padding="same")(L.ReLU()(x)))
    ),
    "squeezenet": lambda x: L.Concatenate()(
        [conv(conv(x, 4, 1, norm=None), 8, 1, norm=None), conv(conv(x, 4, 1, norm=None), 8, 3, norm=None)]
    ),
    "nin": lambda x: conv(conv(conv(x, 12, 5), 12, 1), 12, 1),
    "dilated": lambda x: L.Concatenate()([L.Conv2D(6, 3, dilation_rate=rate, padding="same")(x) for rate in (1, 2, 4)]),
    "maxout": lambda x: L.Maximum()([conv(x, 8, act=None), conv(x, 8, act=None)]),
    "highway": lambda x: (
        x * L.Conv2D(8, 1, activation="sigmoid")(x) + conv(x, 8) * (1 - L.Conv2D(8, 1, activation="sigmoid")(x))
    ),
    "repvgg": lambda x: L.ReLU()(
        L.Add()([conv(x, 8, 3, act=None), conv(x, 8, 1, act=None), L.BatchNormalization()(x)])
    ),
    "csp": lambda x: L.Concatenate()([residual(x[..., :4], 4), x[..., 4:]]),
    "res2net": lambda x: L.Concatenate()(
        [(lambda a, b: L.Concatenate()([a, conv(a + b, 4)]))(*ops.split(x, 2, axis=-1))]
    ),
    "glu": lambda x: ops.glu(L.Conv2D(16, 3, padding="same")(x)),
    "involution": lambda x: x * ops.softmax(L.Conv2D(8, 1)(x), axis=-1) + ops.tanh(x),
    "blur pool": lambda x: L.DepthwiseConv2D(3, strides=2, use_bias=False)(
        ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    ),
    "spatial pyramid": lambda x: L.Concatenate()([L.MaxPooling2D(size, 1, padding="same")(x) for size in (3, 5, 9)]),
    "focus": lambda x: conv(L.Concatenate()([x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]]), 12),
    "space to depth": lambda x: conv(ops.space_to_depth(x, 2), 12),
    "coordinate": lambda x: (
        x
        * L.Conv2D(8, 1, activation="sigmoid")(ops.mean(x, axis=2, keepdims=True))
        * L.Conv2D(8, 1, activation="sigmoid")(ops.mean(x, axis=1, keepdims=True))
    ),
    "non local": lambda x: x + L.Reshape((16, 16, 8))(L.Attention()([L.Reshape((256, 8))(x)] * 2)),
    "lambda": lambda x: L.Lambda(lambda y: ops.square(y) - ops.mean(y, axis=-1, keepdims=True))(x),
    "layer scale": lambda x: x + LayerScale()(conv(x, 8, norm=None)),
    "drop path": lambda x: x + DropPath()(conv(x, 8)),
}.items():
    add(f"classifier/{_name}", lambda x, block=_block: head(block(stem(x))))

for _norm in (None, "layer", "group", "instance", "rms", "unit"):
    add(f"norm/{_norm}", lambda x, norm=_norm: head(residual(stem(x, norm=norm), 8, norm=norm)))
for _act in (
    "elu",
    "selu",
    "gelu",
    "silu",
    "hard_sigmoid",
    "tanh",
    "softplus",
    "softsign",
    "mish",
    "leaky_relu",
    "relu6",
    "celu",
    "hard_silu",
    "exponential",
):
    add(
        f"activation/{_act}",
        lambda x, act=_act: head(residual(stem(x, act=act), 8, act=act if act != "exponential" else "sigmoid")),
    )
for _label, _layer in {
    "prelu": partial(L.PReLU, shared_axes=[1, 2]),
    "leaky": partial(L.LeakyReLU, negative_slope=0.1),
    "relu maximum": partial(L.ReLU, max_value=4.0),
}.items():
    add(f"activation/{_label}", lambda x, act=_layer: head(conv(stem(x), 8, act=act)))

# outputs
for _name, _outputs in {
    "one sigmoid": lambda x: head(x, 1, "sigmoid"),
    "one value": lambda x: head(x, 1, None),
    "age": lambda x: head(x, 1, "relu"),
    "logits": lambda x: head(x, 6, None),
    "multi label": lambda x: head(x, 6, "sigmoid"),
    "log softmax": lambda x: head(x, 6, "log_softmax"),
    "argmax": lambda x: ops.argmax(head(x, 6), axis=-1),
    "top k": lambda x: list(ops.top_k(head(x, 6), 2)),
    "threshold": lambda x: ops.cast(head(x, 6, None) > 0.0, "int32"),
    "two heads": lambda x: [head(x, 4), head(x, 1, None)],
    "three scales": lambda x: [x, conv(x, 8, strides=2), conv(x, 12, strides=4)],
    "embedding": lambda x: L.UnitNormalization()(head(x, 8, None)),
    "l2 normalize": lambda x: ops.normalize(head(x, 8, None), axis=-1),
    "flatten": lambda x: L.Dense(5)(L.Flatten()(L.MaxPooling2D(4)(x))),
    "global max": lambda x: L.Dense(5)(L.GlobalMaxPooling2D()(x)),
    "both pools": lambda x: L.Dense(5)(L.Concatenate()([L.GlobalMaxPooling2D()(x), L.GlobalAveragePooling2D()(x)])),
    "keypoints": lambda x: L.Reshape((5, 2))(L.Dense(10)(L.Flatten()(L.AveragePooling2D(4)(x)))),
    "soft argmax": lambda x: ops.sum(
        ops.softmax(ops.reshape(L.Conv2D(3, 1)(x), (-1, 256, 3)), axis=1)
        * ops.reshape(ops.arange(256, dtype="float32") / 256, (1, 256, 1)),
        axis=1,
    ),
    "heatmaps": lambda x: L.Conv2D(5, 1, activation="sigmoid")(x),
    "ordinal": lambda x: ops.sum(head(x, 6, "sigmoid"), axis=-1, keepdims=True),
    "quantiles": lambda x: ops.cumsum(ops.softplus(head(x, 5, None)), axis=-1),
    "mixture": lambda x: L.Concatenate()(
        [ops.softmax(head(x, 3, None)), ops.exp(head(x, 3, None)), head(x, 3, "tanh")]
    ),
    "gate of experts": lambda x: ops.einsum(
        "be,bec->bc", head(x, 3), ops.stack([head(x, 5, None) for _ in range(3)], axis=1)
    ),
    "centre loss": lambda x: ops.norm(
        ops.expand_dims(head(x, 6, None), 1) - ops.reshape(ops.linspace(-1.0, 1.0, 24), (1, 4, 6)), axis=-1
    ),
    "arcface": lambda x: ops.matmul(
        L.UnitNormalization()(head(x, 8, None)), ops.reshape(ops.linspace(-1.0, 1.0, 40), (8, 5))
    ),
    "bilinear pooling": lambda x: ops.einsum("bhwc,bhwd->bcd", x, L.Conv2D(4, 1)(x)) / 256,
    "gram": lambda x: L.Dot(axes=(1, 1))([L.Reshape((256, 8))(x)] * 2) / 256,
    "gem": lambda x: L.Dense(5)(ops.power(ops.mean(ops.power(ops.maximum(x, 1e-3), 3.0), axis=(1, 2)), 1 / 3)),
    "covariance": lambda x: ops.var(x, axis=(1, 2)),
}.items():
    add(f"output/{_name}", lambda x, outputs=_outputs: outputs(conv(stem(x), 8)))


# dense prediction
def _unet(x: Any, up: Callable[[Any, int], Any], last: Callable[[Any], Any]) -> Any:
    one = conv(x, 6)
    two = conv(L.MaxPooling2D()(one), 8)
    y = conv(L.MaxPooling2D()(two), 12)
    y = conv(L.Concatenate()([up(y, 8), two]), 8)
    return last(conv(L.Concatenate()([up(y, 6), one]), 6))


for _name, _up in {
    "transposed": lambda y, n: L.Conv2DTranspose(n, 2, strides=2)(y),
    "transposed same": lambda y, n: L.Conv2DTranspose(n, 3, strides=2, padding="same")(y),
    "nearest": lambda y, n: L.UpSampling2D()(y),
    "bilinear": lambda y, n: L.UpSampling2D(interpolation="bilinear")(y),
    "pixel shuffle": lambda y, n: ops.depth_to_space(L.Conv2D(n * 4, 1)(y), 2),
    "resize": lambda y, n: ops.image.resize(y, (y.shape[1] * 2, y.shape[2] * 2)),
    "bicubic": lambda y, n: L.UpSampling2D(interpolation="bicubic")(y),
}.items():
    add(f"unet/{_name}", lambda x, up=_up: _unet(x, up, lambda y: L.Conv2D(3, 1, activation="softmax")(y)), (16, 16, 3))
for _name, _last in {
    "one mask": lambda y: L.Conv2D(1, 1, activation="sigmoid")(y),
    "classes": lambda y: ops.argmax(L.Conv2D(4, 1)(y), axis=-1),
    "where": lambda y: ops.where(L.Conv2D(1, 1)(y) > 0, 1.0, 0.0),
}.items():
    add(f"segmentation/{_name}", lambda x, last=_last: _unet(x, lambda y, n: L.UpSampling2D()(y), last), (16, 16, 3))


def _attention_gate(x: Any) -> Any:
    low, high = conv(stem(x), 8), conv(conv(stem(x), 8), 8, strides=2)
    gate = L.Conv2D(1, 1, activation="sigmoid")(L.ReLU()(L.Conv2D(8, 1)(low) + L.UpSampling2D()(L.Conv2D(8, 1)(high))))
    return L.Conv2D(2, 1, activation="softmax")(low * gate)


def _deeplab(x: Any) -> Any:
    y = conv(stem(x), 8)
    pool = L.UpSampling2D(y.shape[1], interpolation="bilinear")(
        conv(L.GlobalAveragePooling2D(keepdims=True)(y), 8, 1, norm=None)
    )
    ways = [L.Conv2D(8, 3, dilation_rate=rate, padding="same", activation="relu")(y) for rate in (1, 2, 3)]
    y = conv(L.Concatenate()([pool, *ways]), 12, 1)
    return L.Softmax()(L.UpSampling2D(2, interpolation="bilinear")(L.Conv2D(4, 1)(y)))


def _fpn(x: Any) -> list[Any]:
    c3 = residual(stem(x), 8)
    c4 = residual(c3, 12, strides=2)
    c5 = residual(c4, 16, strides=2)
    p5 = L.Conv2D(8, 1)(c5)
    p4 = L.Conv2D(8, 1)(c4) + L.UpSampling2D()(p5)
    p3 = L.Conv2D(8, 1)(c3) + L.UpSampling2D()(p4)
    return [p3, p4, p5]


def _retina(x: Any) -> list[Any]:
    box, kind = L.Conv2D(8, 3, padding="same"), L.Conv2D(6, 3, padding="same", activation="sigmoid")
    levels = _fpn(x)
    boxes = L.Concatenate(axis=1)([L.Reshape((-1, 4))(box(level)) for level in levels])
    kinds = L.Concatenate(axis=1)([L.Reshape((-1, 3))(kind(level)) for level in levels])
    return [boxes, kinds]


def _yolo(x: Any) -> Any:
    y = L.Reshape((8, 8, 2, 7))(L.Conv2D(14, 1)(conv(stem(x), 8, strides=2)))
    centre = ops.sigmoid(y[..., :2])
    size = ops.exp(y[..., 2:4]) * ops.reshape(ops.convert_to_tensor([1.0, 2.0, 2.0, 1.0]), (1, 1, 1, 2, 2))
    grid = ops.stack(ops.meshgrid(ops.arange(8.0), ops.arange(8.0)), axis=-1)
    centre = (centre + ops.reshape(grid, (1, 8, 8, 1, 2))) / 8
    return ops.reshape(ops.concatenate([centre, size, ops.sigmoid(y[..., 4:])], axis=-1), (-1, 128, 7))


def _ssd(x: Any) -> Any:
    levels = [conv(stem(x), 8), conv(stem(x), 12, strides=2)]
    parts = [
        L.Concatenate()(
            [
                L.Reshape((-1, 4))(L.Conv2D(8, 3, padding="same")(y)),
                L.Softmax()(L.Reshape((-1, 3))(L.Conv2D(6, 3, padding="same")(y))),
            ]
        )
        for y in levels
    ]
    return L.Concatenate(axis=1)(parts)


def _bifpn(x: Any) -> Any:
    p3, p4, p5 = _fpn(x)
    p4 = separable(p4 * 0.4 + L.UpSampling2D()(p5) * 0.6, 8)
    p3 = separable(p3 * 0.5 + L.UpSampling2D()(p4) * 0.5, 8)
    return L.Conv2D(4, 1)(p3 * 0.7 + L.UpSampling2D()(L.MaxPooling2D()(p3)) * 0.3)


def _centernet(x: Any) -> list[Any]:
    y = conv(stem(x), 8)
    heat = L.Conv2D(3, 1, activation="sigmoid")(y)
    peaks = ops.where(ops.equal(L.MaxPooling2D(3, 1, padding="same")(heat), heat), heat, 0.0)
    return [peaks, L.Conv2D(2, 1)(y)]


def _hourglass(x: Any) -> Any:
    x = conv(stem(x), 8)
    low = residual(L.MaxPooling2D()(x), 8)
    return L.Conv2D(4, 1)(residual(x, 8) + L.UpSampling2D()(low))


def _hrnet(x: Any) -> Any:
    high, low = residual(stem(x), 8), residual(stem(x), 12, strides=2)
    high, low = high + L.UpSampling2D()(conv(low, 8, 1, act=None)), low + conv(high, 12, strides=2, act=None)
    return L.Conv2D(4, 1)(L.Concatenate()([high, L.UpSampling2D(interpolation="bilinear")(low)]))


for _name, _dense in {
    "attention gate": _attention_gate,
    "deeplab": _deeplab,
    "fpn": _fpn,
    "retina": _retina,
    "yolo": _yolo,
    "ssd": _ssd,
    "bifpn": _bifpn,
    "centernet": _centernet,
    "hourglass": _hourglass,
    "hrnet": _hrnet,
    "psp": lambda x: (
        lambda y: L.Concatenate()(
            [y, *(L.Resizing(16, 16)(conv(L.AveragePooling2D(size)(y), 4, 1)) for size in (4, 8))]
        )
    )(conv(stem(x), 8)),
    "depth": lambda x: (
        1
        / (
            L.Conv2D(1, 3, padding="same", activation="sigmoid")(
                L.UpSampling2D(interpolation="bilinear")(conv(stem(x), 8))
            )
            * 9
            + 1
        )
    ),
    "flow": lambda x: L.Conv2DTranspose(2, 4, strides=2, padding="same")(
        conv(stem(x, act=partial(L.LeakyReLU, negative_slope=0.1)), 8)
    ),
    "saliency": lambda x: (
        lambda m: (
            (m - ops.min(m, axis=(1, 2), keepdims=True))
            / (ops.max(m, axis=(1, 2), keepdims=True) - ops.min(m, axis=(1, 2), keepdims=True) + 1e-6)
        )
    )(L.Conv2D(1, 1)(conv(stem(x), 8))),
}.items():
    add(f"dense/{_name}", _dense)

# images to images
for _name, _image in {
    "autoencoder": lambda x: L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="sigmoid")(
        conv(conv(x, 8, strides=2), 8)
    ),
    "bottleneck of numbers": lambda x: L.Conv2DTranspose(3, 4, strides=4, activation="sigmoid")(
        L.Reshape((4, 4, 8))(L.Dense(128, activation="relu")(L.Dense(6)(L.Flatten()(conv(x, 8, strides=4)))))
    ),
    "super resolution": lambda x: ops.depth_to_space(
        L.Conv2D(12, 3, padding="same")(conv(conv(x, 8, 5, norm=None), 8, norm=None)), 2
    ),
    "edsr": lambda x: (
        L.UpSampling2D(interpolation="bilinear")(x)
        + ops.depth_to_space(
            L.Conv2D(12, 3, padding="same")(x + 0.1 * L.Conv2D(3, 3, padding="same")(conv(x, 8, norm=None))), 2
        )
    ),
    "denoiser": lambda x: x - L.Conv2D(3, 3, padding="same")(conv(conv(x, 8), 8)),
    "style": lambda x: (
        L.Conv2D(3, 3, activation="tanh")(
            ops.pad(
                residual(conv(x, 8, norm="instance"), 8, norm="instance"),
                ((0, 0), (1, 1), (1, 1), (0, 0)),
                mode="symmetric",
            )
        )
        * 127.5
        + 127.5
    ),
    "generator": lambda x: L.Conv2D(3, 3, padding="same", activation="tanh")(
        conv(L.UpSampling2D()(x), 8, act=partial(L.LeakyReLU, negative_slope=0.2))
    ),
    "colours": lambda x: L.Conv2D(2, 3, padding="same", activation="tanh")(conv(ops.image.rgb_to_grayscale(x), 8)),
    "sharpen": lambda x: ops.clip(x * 1.5 - 0.5 * L.AveragePooling2D(3, 1, padding="same")(x), 0.0, 1.0),
    "eight bits": lambda x: ops.cast(ops.clip(L.Conv2D(3, 3, padding="same")(x) * 255, 0, 255), "uint8"),
    "zero dce": lambda x: (lambda a: x + a * (ops.square(x) - x))(
        L.Conv2D(3, 3, padding="same", activation="tanh")(conv(x, 8, norm=None))
    ),
    "laplacian": lambda x: x - L.UpSampling2D(interpolation="bilinear")(L.AveragePooling2D(2)(x)),
    "flip average": lambda x: (conv(x, 4, norm=None) + ops.flip(conv(ops.flip(x, axis=2), 4, norm=None), axis=2)) / 2,
}.items():
    add(f"image/{_name}", _image, (16, 16, 3))


# transformers
def _vit(x: Any, width: int = 16, *, token: bool = False, **options: Any) -> Any:
    x = L.Reshape((16, width))(L.Conv2D(width, 8, strides=8)(L.Rescaling(1 / 255)(x)))
    x = ClassToken()(x) if token else x
    x = transformer(transformer(x, **options), **options)
    x = L.LayerNormalization()(x)
    return L.Dense(5)(x[:, 0] if token else L.GlobalAveragePooling1D()(x))


def _keras_vit(x: Any) -> Any:
    x = PatchEncoder(16, 16)(Patches(8)(L.Rescaling(1 / 255)(x)))
    return L.Dense(5)(L.Dropout(0.5)(L.Flatten()(L.LayerNormalization()(transformer(x)))))


def _swin(x: Any, *, shift: int) -> Any:
    x = L.LayerNormalization()(L.Conv2D(8, 4, strides=4)(L.Rescaling(1 / 255)(x)))
    x = x + WindowAttention(4, 2, 0)(L.LayerNormalization()(x))
    x = x + L.Dense(8)(L.Dense(16, activation="gelu")(L.LayerNormalization()(x)))
    x = x + WindowAttention(4, 2, shift)(L.LayerNormalization()(x))
    merged = L.Concatenate()([x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]])
    return head(L.Dense(16, use_bias=False)(L.LayerNormalization()(merged)))


def _mobilevit(x: Any) -> Any:
    x = conv(stem(x), 8, act="silu")
    local = conv(conv(x, 8, act="silu"), 8, 1, norm=None, act=None)
    y = L.Reshape((4, 64, 8))(L.Permute((2, 1, 3))(L.Reshape((64, 4, 8))(local)))
    y = transformer(transformer(y, act="silu"), act="silu")
    y = L.Reshape((16, 16, 8))(L.Permute((2, 1, 3))(y))
    return head(conv(L.Concatenate()([x, conv(y, 8, 1, act="silu")]), 8, act="silu"))


def _detr(x: Any) -> Any:
    memory = L.Reshape((64, 16))(conv(stem(x), 16, strides=2))
    memory = transformer(memory)
    queries = L.Lambda(
        lambda y: ops.broadcast_to(ops.reshape(ops.linspace(-1.0, 1.0, 80), (1, 5, 16)), (ops.shape(y)[0], 5, 16))
    )(memory)
    y = L.LayerNormalization()(queries + L.MultiHeadAttention(2, 8)(queries, memory))
    return [L.Dense(4, activation="sigmoid")(y), L.Dense(3)(y)]


def _mixer(x: Any) -> Any:
    x = L.Reshape((16, 12))(L.Conv2D(12, 8, strides=8)(L.Rescaling(1 / 255)(x)))
    y = L.Permute((2, 1))(L.LayerNormalization()(x))
    x = x + L.Permute((2, 1))(L.Dense(16)(L.Dense(24, activation="gelu")(y)))
    x = x + L.Dense(12)(L.Dense(24, activation="gelu")(L.LayerNormalization()(x)))
    return L.Dense(5)(L.GlobalAveragePooling1D()(x))


def _linear_attention(x: Any) -> Any:
    x = L.Reshape((64, 8))(conv(stem(x), 8, strides=2))
    query, key, value = (L.Dense(8)(x) for _ in range(3))
    query, key = ops.elu(query) + 1, ops.elu(key) + 1
    context = ops.einsum("bnd,bne->bde", key, value)
    total = ops.expand_dims(ops.einsum("bnd,bd->bn", query, ops.sum(key, axis=1)), -1)
    return L.Dense(4)(L.GlobalAveragePooling1D()(ops.einsum("bnd,bde->bne", query, context) / total))


for _name, _body in {
    "vit": _vit,
    "vit token": partial(_vit, token=True),
    "vit rms": partial(_vit, norm="rms", act="silu"),
    "vit of Keras's example": _keras_vit,
    "swin": partial(_swin, shift=0),
    "swin shifted": partial(_swin, shift=2),
    "mobilevit": _mobilevit,
    "detr": _detr,
    "mixer": _mixer,
    "linear attention": _linear_attention,
    "axial": lambda x: head(
        (
            lambda y: (
                y
                + L.MultiHeadAttention(2, 4, attention_axes=(1,))(y, y)
                + L.MultiHeadAttention(2, 4, attention_axes=(2,))(y, y)
            )
        )(stem(x))
    ),
    "image attention": lambda x: head(
        (lambda y: y + L.MultiHeadAttention(2, 4, attention_axes=(1, 2))(y, y))(conv(stem(x), 8, strides=2))
    ),
    "additive": lambda x: L.Dense(4)(
        L.Flatten()(L.AdditiveAttention()([L.Reshape((64, 8))(conv(stem(x), 8, strides=2))] * 2))
    ),
    "grouped queries": lambda x: L.Dense(4)(
        L.GlobalAveragePooling1D()(
            (lambda y: y + L.GroupQueryAttention(4, 4, 2)(y, y))(L.Reshape((64, 8))(conv(stem(x), 8, strides=2)))
        )
    ),
    "causal": lambda x: L.Dense(4)(
        L.GlobalAveragePooling1D()(
            (lambda y: y + L.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True))(
                L.Reshape((64, 8))(conv(stem(x), 8, strides=2))
            )
        )
    ),
    "scores": lambda x: list(
        L.MultiHeadAttention(2, 4)(*[L.Reshape((64, 8))(conv(stem(x), 8, strides=2))] * 2, return_attention_scores=True)
    ),
    "attention pooling": lambda x: (lambda y: ops.sum(ops.softmax(L.Dense(1)(y), axis=1) * y, axis=1))(
        L.Reshape((256, 8))(stem(x))
    ),
    "poolformer": lambda x: head(
        (lambda y: y + L.AveragePooling2D(3, 1, padding="same")(y) - y)(L.GroupNormalization(1)(stem(x)))
    ),
    "einsum": lambda x: head(
        L.EinsumDense("bhwc,cd->bhwd", (None, None, 12), bias_axes="d", activation="relu")(stem(x)), 4
    ),
}.items():
    add(f"transformer/{_name}", _body)


# sequences, sounds, films
def _crnn(x: Any, *recurrent: Any) -> Any:
    x = conv(L.Rescaling(1 / 255)(x), 8)
    x = L.MaxPooling2D((4, 2))(x)
    x = L.Reshape((x.shape[2], x.shape[1] * x.shape[3]))(L.Permute((2, 1, 3))(x))
    for layer in recurrent:
        x = layer()(x)
    return L.Dense(7, activation="softmax")(x)


for _name, _cells in {
    "bilstm": [lambda: L.Bidirectional(L.LSTM(8, return_sequences=True))],
    "two gru": [lambda: L.GRU(8, return_sequences=True), lambda: L.GRU(6)],
    "bigru": [
        lambda: L.Bidirectional(L.GRU(6, return_sequences=True), merge_mode="sum"),
        lambda: L.Bidirectional(L.GRU(6)),
    ],
    "lstm last": [lambda: L.LSTM(8)],
    "simple": [lambda: L.SimpleRNN(8, return_sequences=True)],
    "gru old": [lambda: L.GRU(8, reset_after=False)],
    "backwards": [lambda: L.LSTM(8, go_backwards=True, return_sequences=True)],
}.items():
    add(f"crnn/{_name}", lambda x, cells=_cells: _crnn(x, *cells), (16, 24, 1))

for _name, (_shape, _body) in {
    "spectrogram": (
        (24, 16, 1),
        lambda x: L.Dense(4)(L.GlobalAveragePooling2D()(conv(conv(ops.log(ops.abs(x) + 1e-3), 8), 8, strides=2))),
    ),
    "decibels": ((24, 16, 1), lambda x: head(conv((lambda y: 10 * ops.log10(ops.maximum(y, 1e-6)))(ops.square(x)), 8))),
    "keyword": (
        (24, 10),
        lambda x: L.Dense(4)(
            L.GlobalAveragePooling1D()(
                L.SeparableConv1D(8, 3, activation="relu")(L.Conv1D(8, 3, padding="same", activation="relu")(x))
            )
        ),
    ),
    "wave": (
        (96, 1),
        lambda x: L.Dense(4)(
            L.GlobalMaxPooling1D()(L.MaxPooling1D(2)(L.Conv1D(8, 9, strides=4, activation="relu")(x)))
        ),
    ),
    "wavenet": (
        (32, 4),
        lambda x: L.Conv1D(4, 1)(
            ops.tanh(L.Conv1D(8, 2, padding="causal", dilation_rate=2)(x))
            * ops.sigmoid(L.Conv1D(8, 2, padding="causal", dilation_rate=2)(x))
        ),
    ),
    "tcn": (
        (32, 4),
        lambda x: L.Dense(3)(
            (lambda y: y[:, -1])(
                L.LayerNormalization()(L.Conv1D(8, 3, padding="causal", dilation_rate=4, activation="relu")(x))
            )
        ),
    ),
    "unet of rows": (
        (32, 4),
        lambda x: L.Conv1DTranspose(3, 4, strides=2, padding="same")(
            L.Concatenate()(
                [L.UpSampling1D()(L.AveragePooling1D(2)(y := L.Conv1D(6, 3, strides=2, padding="same")(x))), y]
            )
        ),
    ),
    "depthwise rows": (
        (32, 4),
        lambda x: L.GlobalAveragePooling1D()(
            L.DepthwiseConv1D(3, depth_multiplier=2)(L.ZeroPadding1D(1)(L.Cropping1D(2)(x)))
        ),
    ),
    "attention": ((24, 8), lambda x: L.Dense(4)(L.GlobalAveragePooling1D()(transformer(x)))),
    "lstm": ((24, 8), lambda x: L.Dense(2)(L.LSTM(8)(L.BatchNormalization()(x)))),
}.items():
    add(f"sound/{_name}", _body, _shape)

for _name, _body in {
    "conv3d": lambda x: L.Dense(4)(
        L.GlobalAveragePooling3D()(L.MaxPooling3D((1, 2, 2))(L.Conv3D(6, 3, padding="same", activation="relu")(x)))
    ),
    "frames": lambda x: L.Dense(4)(
        L.LSTM(6)(
            L.TimeDistributed(
                keras.Sequential([L.Conv2D(6, 3, strides=2, activation="relu"), L.GlobalAveragePooling2D()])
            )(x)
        )
    ),
    "mean of frames": lambda x: L.Dense(4)(
        ops.mean(L.TimeDistributed(L.GlobalAveragePooling2D())(L.TimeDistributed(L.Conv2D(6, 3))(x)), axis=1)
    ),
    "two plus one": lambda x: L.GlobalMaxPooling3D()(
        L.Conv3D(6, (3, 1, 1), padding="same")(L.Conv3D(6, (1, 3, 3), padding="same", activation="relu")(x))
    ),
    "difference": lambda x: L.Dense(3)(L.Flatten()(L.AveragePooling3D((1, 4, 4))(x[:, 1:] - x[:, :-1]))),
}.items():
    add(f"film/{_name}", _body, (4, 12, 12, 3))

# inputs
add("input/uint8", lambda x: head(conv(L.Rescaling(1 / 255)(x), 8)), dtype="uint8")
add("input/uint8 cast", lambda x: head(conv(ops.cast(x, "float32") / 127.5 - 1, 8)), dtype="uint8")
add("input/int32", lambda x: head(conv(L.Rescaling(1 / 255)(x), 8)), dtype="int32")
add("input/float64", lambda x: head(conv(L.Rescaling(1 / 255)(x), 8)), dtype="float64")
add("input/grey", lambda x: head(conv(L.Concatenate()([x, x, x]), 8)), (24, 24, 1))
add("input/many channels", lambda x: head(conv(x, 12)), (16, 16, 9))
add("input/not square", lambda x: head(conv(stem(x), 8)), (24, 40, 3))
add("input/resized", lambda x: head(conv(L.Resizing(24, 24)(x), 8)), (40, 36, 3))
add("input/resized smoothly", lambda x: head(conv(L.Resizing(16, 16, antialias=True)(x), 8)), (40, 36, 3))
add("input/cropped to aspect", lambda x: head(conv(L.Resizing(16, 16, crop_to_aspect_ratio=True)(x), 8)), (40, 36, 3))
add("input/caffe", lambda x: head(conv(x[..., ::-1] - ops.convert_to_tensor([103.9, 116.8, 123.7]), 8)))
add(
    "input/standardised",
    lambda x: head(
        conv((x - ops.mean(x, axis=(1, 2, 3), keepdims=True)) / ops.std(x, axis=(1, 2, 3), keepdims=True), 8)
    ),
)
add(
    "input/normalization",
    lambda x: head(conv(L.Normalization(mean=[120.0, 110, 100], variance=[3000.0, 2900, 2800])(x), 8)),
)
add("input/augmented", lambda x: head(conv(L.RandomRotation(0.1)(L.RandomFlip()(L.Rescaling(1 / 255)(x))), 8)))
add("input/tabular", lambda x: L.Dense(3)(L.Dense(8, activation="relu")(L.BatchNormalization()(x))), (10,))
add("input/words", lambda x: L.Dense(3)(L.GlobalAveragePooling1D()(L.Embedding(50, 8)(x))), (12,), dtype="int32")
add(
    "input/words transformer",
    lambda x: L.Dense(3)(L.GlobalAveragePooling1D()(transformer(L.Embedding(50, 8)(x)))),
    (12,),
    dtype="int32",
)
add(
    "channels first/resnet",
    lambda x: L.Dense(4)(
        L.GlobalAveragePooling2D(data_format="channels_first")(
            L.ReLU()(L.BatchNormalization(axis=1)(L.Conv2D(8, 3, padding="same", data_format="channels_first")(x)))
        )
    ),
    (3, 24, 24),
)
add(
    "channels first/pools",
    lambda x: L.Flatten()(
        L.MaxPooling2D(4, data_format="channels_first")(L.AveragePooling2D(2, data_format="channels_first")(x))
    ),
    (3, 24, 24),
)


def _siamese(distance: Callable[[Any, Any], Any]) -> Any:
    left, right = keras.Input(IMAGE, name="left"), keras.Input(IMAGE, name="right")
    inner = keras.Input(IMAGE)
    encoder = keras.Model(inner, head(conv(stem(inner), 8), 8, None), name="encoder")
    return keras.Model([left, right], distance(encoder(left), encoder(right)), name="siamese")


for _name, _distance in {
    "euclidean": lambda a, b: ops.sqrt(ops.sum(ops.square(a - b), axis=1, keepdims=True) + 1e-6),
    "cosine": lambda a, b: L.Dot(axes=-1, normalize=True)([a, b]),
    "manhattan": lambda a, b: L.Dense(1, activation="sigmoid")(ops.abs(a - b)),
    "concatenated": lambda a, b: L.Dense(3)(L.Concatenate()([a, b, a * b])),
    "matrix": lambda a, b: ops.einsum("bi,bj->bij", a, b),
}.items():
    whole(f"siamese/{_name}", partial(_siamese, _distance))


def _with_numbers() -> Any:
    image, numbers = keras.Input(IMAGE, name="image"), keras.Input((5,), name="numbers")
    y = L.Concatenate()([L.GlobalAveragePooling2D()(conv(stem(image), 8)), L.Dense(8, activation="relu")(numbers)])
    return keras.Model(
        {"image": image, "numbers": numbers}, {"kind": L.Dense(4)(y), "score": L.Dense(1)(y)}, name="mixed"
    )


def _film_layer() -> Any:
    image, condition = keras.Input(IMAGE, name="image"), keras.Input((4,), name="condition")
    x = conv(stem(image), 8)
    scale, shift = ops.split(L.Dense(16)(condition), 2, axis=-1)
    return keras.Model(
        [image, condition], head(x * (1 + L.Reshape((1, 1, 8))(scale)) + L.Reshape((1, 1, 8))(shift)), name="film"
    )


def _question() -> Any:
    image, words = keras.Input(IMAGE, name="image"), keras.Input((6,), dtype="int32", name="words")
    memory = L.Reshape((64, 8))(conv(stem(image), 8, strides=2))
    asked = L.Embedding(30, 8)(words)
    y = asked + L.MultiHeadAttention(2, 4)(asked, memory)
    return keras.Model([image, words], L.Dense(4)(L.GlobalAveragePooling1D()(y)), name="question")


def _sequential() -> Any:
    return keras.Sequential(
        [keras.Input(IMAGE), L.Conv2D(8, 3, activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dense(5)],
        name="sequential",
    )


def _fine_tuned() -> Any:
    inner = keras.Input(IMAGE)
    backbone = keras.Model(inner, residual(stem(inner), 8), name="backbone")
    x = keras.Input(IMAGE)
    y = keras.Sequential([L.RandomFlip("horizontal"), L.RandomZoom(0.1)], name="augmentation")(x)
    return keras.Model(x, head(backbone(y), 1, "sigmoid"), name="fine_tuned")


class _OwnBlock(keras.layers.Layer):
    """A block with layers of its own, as a subclass."""

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.first = L.Conv2D(filters, 3, padding="same")
        self.norm = L.BatchNormalization()
        self.second = L.Conv2D(filters, 1)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.second(ops.relu(self.norm(self.first(x), training=training))) + x


def _own_block() -> Any:
    x = keras.Input(IMAGE)
    return keras.Model(x, head(_OwnBlock(8)(_OwnBlock(8)(stem(x)))), name="own_block")


whole("several/image and numbers", _with_numbers)
whole("several/conditioned", _film_layer)
whole("several/question", _question)
whole("whole/sequential", _sequential)
whole("whole/fine tuned", _fine_tuned)
whole("whole/own block", _own_block)
