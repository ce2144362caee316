"""The parts that models of the zoo are made of: blocks as people write them, in a few lines each."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers as L  # noqa: N812 - as Keras's own examples have it
from keras import ops


def conv(x: Any, filters: int, size: int = 3, *, strides: int = 1, norm: Any = "batch", act: Any = "relu") -> Any:
    """Convolution, normalisation, activation."""
    x = L.Conv2D(filters, size, strides=strides, padding="same", use_bias=norm is None)(x)
    return activated(normed(x, norm), act)


def normed(x: Any, norm: Any) -> Any:
    """A normalisation by its name."""
    made = {
        None: lambda: x,
        "batch": lambda: L.BatchNormalization()(x),
        "layer": lambda: L.LayerNormalization()(x),
        "group": lambda: L.GroupNormalization(4)(x),
        "instance": lambda: L.GroupNormalization(-1)(x),
        "rms": lambda: L.RMSNormalization()(x),
        "unit": lambda: L.UnitNormalization()(x),
    }
    return made[norm]()


def activated(x: Any, act: Any) -> Any:
    """An activation by its name, or as a layer."""
    if act is None:
        return x
    return L.Activation(act)(x) if isinstance(act, str) else act()(x)


def separable(x: Any, filters: int, *, strides: int = 1, act: Any = "relu6") -> Any:
    """MobileNet's block."""
    x = activated(L.BatchNormalization()(L.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)), act)
    return conv(x, filters, 1, act=act)


def inverted(x: Any, filters: int, *, strides: int = 1, act: Any = "relu6", gate: bool = False) -> Any:
    """MobileNetV2's and EfficientNet's block."""
    y = conv(x, x.shape[-1] * 3, 1, act=act)
    y = activated(L.BatchNormalization()(L.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(y)), act)
    y = conv(squeeze(y) if gate else y, filters, 1, act=None)
    return L.Add()([x, y]) if y.shape == x.shape else y


def squeeze(x: Any, ratio: int = 4) -> Any:
    """Squeeze and excite."""
    y = L.GlobalAveragePooling2D(keepdims=True)(x)
    y = L.Dense(x.shape[-1], activation="sigmoid")(L.Dense(max(x.shape[-1] // ratio, 2), activation="relu")(y))
    return L.Multiply()([x, y])


def channel_and_place(x: Any) -> Any:
    """CBAM: by channel from average and maximum, then by place."""
    shared = keras.Sequential([L.Dense(max(x.shape[-1] // 4, 2), activation="relu"), L.Dense(x.shape[-1])])
    both = shared(L.GlobalAveragePooling2D()(x)) + shared(L.GlobalMaxPooling2D()(x))
    x = x * L.Reshape((1, 1, x.shape[-1]))(L.Activation("sigmoid")(both))
    seen = L.Concatenate()([ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)])
    return x * L.Conv2D(1, 7, padding="same", activation="sigmoid")(seen)


def efficient_channel(x: Any) -> Any:
    """ECA: a convolution along the channels."""
    y = L.Reshape((x.shape[-1], 1))(L.GlobalAveragePooling2D()(x))
    y = L.Activation("sigmoid")(L.Conv1D(1, 3, padding="same", use_bias=False)(y))
    return x * L.Reshape((1, 1, x.shape[-1]))(y)


def residual(x: Any, filters: int, *, strides: int = 1, norm: Any = "batch", act: Any = "relu") -> Any:
    """ResNet's block of two convolutions."""
    y = conv(conv(x, filters, strides=strides, norm=norm, act=act), filters, norm=norm, act=None)
    if strides != 1 or x.shape[-1] != filters:
        x = conv(x, filters, 1, strides=strides, norm=norm, act=None)
    return activated(L.Add()([x, y]), act)


def bottleneck(x: Any, filters: int, *, groups: int = 1) -> Any:
    """ResNet's and ResNeXt's block of three."""
    y = conv(x, filters // 2, 1)
    y = L.Conv2D(filters // 2, 3, padding="same", groups=groups)(y)
    y = conv(L.ReLU()(L.BatchNormalization()(y)), filters, 1, act=None)
    x = x if x.shape[-1] == filters else conv(x, filters, 1, act=None)
    return L.ReLU()(L.Add()([x, y]))


def dense_block(x: Any, growth: int, steps: int) -> Any:
    """DenseNet's block."""
    for _ in range(steps):
        y = L.Conv2D(growth, 3, padding="same")(L.ReLU()(L.BatchNormalization()(x)))
        x = L.Concatenate()([x, y])
    return x


def inception(x: Any, filters: int) -> Any:
    """Four ways side by side."""
    ways = [
        conv(x, filters, 1),
        conv(conv(x, filters, 1), filters, 3),
        conv(conv(x, filters, 1), filters, 5),
        conv(L.MaxPooling2D(3, 1, padding="same")(x), filters, 1),
    ]
    return L.Concatenate()(ways)


def shuffled(x: Any, groups: int = 2) -> Any:
    """ShuffleNet's channels."""
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, height, width, groups, channels // groups))
    return ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, height, width, channels))


def ghost(x: Any, filters: int) -> Any:
    """GhostNet's cheap half."""
    first = conv(x, filters // 2, 1)
    return L.Concatenate()([first, L.DepthwiseConv2D(3, padding="same", activation="relu")(first)])


def convnext(x: Any) -> Any:
    """ConvNeXt's block."""
    y = L.LayerNormalization(epsilon=1e-6)(L.DepthwiseConv2D(7, padding="same")(x))
    return x + L.Dense(x.shape[-1])(L.Dense(x.shape[-1] * 4, activation="gelu")(y))


def transformer(x: Any, heads: int = 2, *, norm: Any = "layer", act: str = "gelu") -> Any:
    """An encoder block, normalised first."""
    width = x.shape[-1]
    y = normed(x, norm)
    x = x + L.MultiHeadAttention(heads, width // heads)(y, y)
    y = normed(x, norm)
    return x + L.Dense(width)(L.Dropout(0.1)(L.Dense(width * 2, activation=act)(y)))


class Patches(L.Layer):
    """Keras's own example of a vision transformer."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def call(self, images: Any) -> Any:
        shape = ops.shape(images)
        rows, columns = shape[1] // self.size, shape[2] // self.size
        patches = ops.image.extract_patches(images, size=self.size)
        return ops.reshape(patches, (shape[0], rows * columns, self.size * self.size * shape[3]))


class PatchEncoder(L.Layer):
    """The other half of that example."""

    def __init__(self, count: int, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.count = count
        self.projection = L.Dense(width)
        self.position = L.Embedding(count, width)

    def call(self, patches: Any) -> Any:
        positions = ops.expand_dims(ops.arange(0, self.count, step=1), axis=0)
        return self.projection(patches) + self.position(positions)


class ClassToken(L.Layer):
    """A learned row before the others, and learned places."""

    def build(self, shape: Any) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="random_normal", name="token")
        self.place = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), initializer="random_normal", name="place")

    def call(self, x: Any) -> Any:
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1) + self.place


class LayerScale(L.Layer):
    """One factor per channel, written from the left."""

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")

    def call(self, x: Any) -> Any:
        return self.gamma * x


class DropPath(L.Layer):
    """Stochastic depth as people write it."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        if training:
            keep = keras.random.uniform((ops.shape(x)[0], *(1,) * (len(x.shape) - 1))) < 0.9
            return x / 0.9 * ops.cast(keep, "float32")
        return x


class WindowAttention(L.Layer):
    """Swin's attention inside windows, shifted and masked, with a table of relative places."""

    def __init__(self, size: int, heads: int, shift: int, **options: Any) -> None:
        super().__init__(**options)
        self.size, self.heads, self.shift = size, heads, shift

    def build(self, shape: Any) -> None:
        import numpy as np

        width, cells = shape[-1], self.size**2
        self.joint = L.Dense(width * 3)
        self.last = L.Dense(width)
        self.joint.build((None, cells, width))
        self.last.build((None, cells, width))
        self.table = self.add_weight(shape=((2 * self.size - 1) ** 2, self.heads), initializer="random_normal")
        places = np.stack(np.meshgrid(*[np.arange(self.size)] * 2, indexing="ij")).reshape(2, -1)
        apart = (places[:, :, None] - places[:, None]).transpose(1, 2, 0) + self.size - 1
        self.index = (apart[..., 0] * (2 * self.size - 1) + apart[..., 1]).reshape(-1)
        regions = np.zeros(shape[1:3])
        for row in (slice(-self.size), slice(-self.size, -self.shift or None), slice(-self.shift or None, None)):
            for column in (slice(-self.size), slice(-self.size, -self.shift or None), slice(-self.shift or None, None)):
                regions[row, column] = regions.max() + 1
        rows, columns = shape[1] // self.size, shape[2] // self.size
        flat = regions.reshape(rows, self.size, columns, self.size).transpose(0, 2, 1, 3).reshape(-1, cells)
        self.mask = np.where(flat[:, None] != flat[:, :, None], -100.0, 0.0).astype("float32") if self.shift else None

    def call(self, x: Any) -> Any:
        _, height, width, channels = x.shape
        rows, columns, size = height // self.size, width // self.size, self.size
        if self.shift:
            x = ops.roll(x, (-self.shift, -self.shift), axis=(1, 2))
        x = ops.reshape(x, (-1, rows, size, columns, size, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, size * size, channels))
        joint = ops.reshape(self.joint(x), (-1, size * size, 3, self.heads, channels // self.heads))
        query, key, value = (joint[:, :, place] for place in range(3))
        query, value = ops.transpose(query, (0, 2, 1, 3)), ops.transpose(value, (0, 2, 1, 3))
        scores = query @ ops.transpose(key, (0, 2, 3, 1)) / (channels // self.heads) ** 0.5
        bias = ops.reshape(ops.take(self.table, self.index, axis=0), (size * size, size * size, self.heads))
        scores = scores + ops.expand_dims(ops.transpose(bias, (2, 0, 1)), 0)
        if self.mask is not None:
            scores = ops.reshape(scores, (-1, rows * columns, self.heads, size * size, size * size))
            scores = ops.reshape(scores + self.mask[None, :, None], (-1, self.heads, size * size, size * size))
        x = ops.transpose(ops.softmax(scores, axis=-1) @ value, (0, 2, 1, 3))
        x = self.last(ops.reshape(x, (-1, size * size, channels)))
        x = ops.reshape(x, (-1, rows, columns, size, size, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, channels))
        return ops.roll(x, (self.shift, self.shift), axis=(1, 2)) if self.shift else x
