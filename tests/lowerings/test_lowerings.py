"""Each Keras layer class: Keras's own output against the graph's ONNX file, over the opsets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kexport.errors import UnsupportedError
from kexport.lowerings.model import lower_model
from kexport.passes import optimize

OPSETS = (13, 17, 18, 20, 22)
IMAGE, ODD, ROW = (8, 8, 4), (9, 7, 4), (6,)
FLOAT32_BOUND = 1e-5
"""Largest error over the output's standard deviation: a few units in the last place of float32 sums."""
FLOAT16_BOUND = 2e-2
"""The same for float16, whose numbers have 11 bits: 5e-4 each, some tens of them added up."""

ACTIVATIONS = ("relu", "relu6", "sigmoid", "hard_sigmoid", "hard_silu", "silu", "gelu", "tanh", "softmax", "linear")
Make = Callable[[Any, Any], Any]


def _windows(name: str, **options: Any) -> Make:
    return lambda k, x: getattr(k.layers, name)(**options)(x)


def _flattened_and_read_twice(k: Any, x: Any) -> Any:
    flat = k.layers.Flatten()(x)
    return k.layers.Concatenate()([k.layers.Dense(5)(flat), k.layers.ReLU()(flat)])


def _squeeze_excite(k: Any, x: Any) -> Any:
    gate = k.layers.Reshape((1, 1, 4))(k.layers.GlobalAveragePooling2D()(x))
    gate = k.layers.Conv2D(4, 1, activation="sigmoid")(k.layers.Conv2D(2, 1, activation="relu")(gate))
    return k.layers.Multiply()([x, gate])


def _layout_mix(k: Any, x: Any) -> Any:
    rows = k.layers.Dense(4, activation="gelu")(k.layers.LayerNormalization(epsilon=1e-6)(x))
    return k.layers.Concatenate()([k.layers.Add()([rows, x]), k.layers.Softmax()(x)])


def _shared(k: Any, x: Any) -> Any:
    conv = k.layers.Conv2D(4, 3, padding="same")
    return conv(k.layers.ReLU()(conv(x)))


def _hostile_names(k: Any, x: Any) -> Any:
    """Layers that are called like what the writer itself names: inputs, outputs, shared constants."""
    for name in ("input", "output", "zero", "six", "one", "half", "sqrt_two", "rows_and_columns"):
        x = k.layers.Conv2D(4, 1, name=name)(x)
    x = k.layers.Cropping2D(1, name="height_and_width")(k.layers.Activation("gelu")(k.layers.ReLU(6.0)(x)))
    return k.layers.ReLU(6.0)(k.layers.ZeroPadding2D(2)(x))


CASES: dict[str, tuple[tuple[int, ...], Make]] = {
    "conv_valid": (IMAGE, _windows("Conv2D", filters=6, kernel_size=3)),
    "conv_same": (IMAGE, _windows("Conv2D", filters=6, kernel_size=3, padding="same", activation="relu")),
    "conv_same_strided_even": (IMAGE, _windows("Conv2D", filters=6, kernel_size=3, padding="same", strides=2)),
    "conv_same_strided_odd": (ODD, _windows("Conv2D", filters=6, kernel_size=(5, 2), padding="same", strides=2)),
    "conv_kernel_below_stride": (ODD, _windows("Conv2D", filters=6, kernel_size=1, padding="same", strides=2)),
    "conv_uneven_strides": (ODD, _windows("Conv2D", filters=6, kernel_size=3, strides=(2, 1))),
    "conv_dilated": (ODD, _windows("Conv2D", filters=6, kernel_size=3, padding="same", dilation_rate=(2, 1))),
    "conv_groups": (IMAGE, _windows("Conv2D", filters=6, kernel_size=3, groups=2, use_bias=False)),
    "conv_gelu": (IMAGE, _windows("Conv2D", filters=6, kernel_size=1, activation="gelu")),
    "depthwise": (IMAGE, _windows("DepthwiseConv2D", kernel_size=3, padding="same", activation="relu6")),
    "depthwise_strided": (ODD, _windows("DepthwiseConv2D", kernel_size=5, padding="same", strides=2)),
    "depthwise_multiplier": (IMAGE, _windows("DepthwiseConv2D", kernel_size=3, depth_multiplier=3)),
    "depthwise_dilated": (IMAGE, _windows("DepthwiseConv2D", kernel_size=3, padding="same", dilation_rate=2)),
    "depthwise_one_channel": ((8, 8, 1), _windows("DepthwiseConv2D", kernel_size=3, depth_multiplier=2)),
    "separable": (IMAGE, _windows("SeparableConv2D", filters=5, kernel_size=3, padding="same", activation="relu")),
    "separable_strided": (
        ODD,
        _windows("SeparableConv2D", filters=5, kernel_size=3, strides=2, depth_multiplier=2, use_bias=False),
    ),
    "dense_row": (ROW, _windows("Dense", units=5)),
    "dense_row_no_bias": (ROW, _windows("Dense", units=5, use_bias=False, activation="tanh")),
    "dense_softmax": (ROW, _windows("Dense", units=5, activation="softmax")),
    "dense_image": (IMAGE, _windows("Dense", units=5, activation="relu")),
    "dense_image_no_bias": (IMAGE, _windows("Dense", units=5, use_bias=False)),
    "batch_normalization": (IMAGE, _windows("BatchNormalization")),
    "batch_normalization_row": (ROW, _windows("BatchNormalization")),
    "batch_normalization_plain": (IMAGE, _windows("BatchNormalization", scale=False, center=False, epsilon=0.1)),
    "layer_normalization": (IMAGE, _windows("LayerNormalization", epsilon=1e-6)),
    "layer_normalization_row": (ROW, _windows("LayerNormalization", scale=False)),
    "layer_normalization_plain": (IMAGE, _windows("LayerNormalization", center=False, scale=False)),
    "normalization": (IMAGE, _windows("Normalization", mean=[1.0, 2.0, 3.0, 4.0], variance=[0.1, 0.5, 1.0, 9.0])),
    "normalization_scalar": (IMAGE, _windows("Normalization", axis=None, mean=3.0, variance=2.0)),
    "normalization_inverted": (
        IMAGE,
        _windows("Normalization", mean=[1.0, 2.0, 3.0, 4.0], variance=[0.1, 0.5, 1.0, 9.0], invert=True),
    ),
    "rescaling": (IMAGE, _windows("Rescaling", scale=0.25, offset=-1.0)),
    "rescaling_per_channel": (IMAGE, _windows("Rescaling", scale=[0.25, 1.0, 2.0, 4.0], offset=[0.0, 1.0, 2.0, 3.0])),
    "relu_layer": (IMAGE, _windows("ReLU")),
    "relu_six": (IMAGE, _windows("ReLU", max_value=6.0)),
    "relu_one": (IMAGE, _windows("ReLU", max_value=1.0)),
    "softmax_layer": (IMAGE, _windows("Softmax")),
    "max_pool": (ODD, _windows("MaxPooling2D", pool_size=2)),
    "max_pool_same": (ODD, _windows("MaxPooling2D", pool_size=3, strides=2, padding="same")),
    "average_pool": (ODD, _windows("AveragePooling2D", pool_size=(3, 2), strides=1)),
    "average_pool_same": (ODD, _windows("AveragePooling2D", pool_size=3, strides=2, padding="same")),
    "global_average_pool": (ODD, _windows("GlobalAveragePooling2D")),
    "global_average_pool_keepdims": (ODD, _windows("GlobalAveragePooling2D", keepdims=True)),
    "global_max_pool": (ODD, _windows("GlobalMaxPooling2D")),
    "global_max_pool_keepdims": (ODD, _windows("GlobalMaxPooling2D", keepdims=True)),
    "zero_padding": (ODD, _windows("ZeroPadding2D", padding=((1, 2), (3, 0)))),
    "cropping": (ODD, _windows("Cropping2D", cropping=((1, 2), (3, 0)))),
    "flatten": (ODD, _windows("Flatten")),
    "reshape": (IMAGE, _windows("Reshape", target_shape=(16, -1))),
    "reshape_to_image": (IMAGE, _windows("Reshape", target_shape=(4, 4, 16))),
    "dropout": (IMAGE, lambda k, x: k.layers.ReLU()(k.layers.SpatialDropout2D(0.5)(k.layers.Dropout(0.5)(x)))),
    "identity_only": (IMAGE, _windows("Identity")),
    "pad_conv": (ODD, lambda k, x: k.layers.Conv2D(3, 3, strides=2)(k.layers.ZeroPadding2D(((0, 1), (0, 1)))(x))),
    "conv_norm_relu": (
        IMAGE,
        lambda k, x: k.layers.ReLU()(k.layers.BatchNormalization()(k.layers.Conv2D(5, 3, use_bias=False)(x))),
    ),
    "norm_same_conv": (IMAGE, lambda k, x: k.layers.Conv2D(5, 3, padding="same")(k.layers.BatchNormalization()(x))),
    "norm_depthwise": (IMAGE, lambda k, x: k.layers.DepthwiseConv2D(3)(k.layers.BatchNormalization()(x))),
    "norm_grouped": (IMAGE, lambda k, x: k.layers.Conv2D(6, 3, groups=2)(k.layers.BatchNormalization()(x))),
    "flatten_conv_dense": (IMAGE, lambda k, x: k.layers.Dense(5)(k.layers.Flatten()(k.layers.Conv2D(3, 3)(x)))),
    "flatten_shown_twice": (IMAGE, lambda k, x: _flattened_and_read_twice(k, k.layers.Conv2D(3, 3)(x))),
    "pool_of_norm": (IMAGE, lambda k, x: k.layers.GlobalMaxPooling2D()(k.layers.LayerNormalization()(x))),
    "squeeze_excite": (IMAGE, lambda k, x: _squeeze_excite(k, k.layers.Conv2D(4, 3, padding="same")(x))),
    "layout_mix": (IMAGE, lambda k, x: _layout_mix(k, k.layers.Conv2D(4, 3, padding="same")(x))),
    "add_three": (IMAGE, lambda k, x: k.layers.Add()([x, k.layers.ReLU()(x), k.layers.Conv2D(4, 1)(x)])),
    "add_broadcast": (IMAGE, lambda k, x: k.layers.Add()([x, k.layers.GlobalMaxPooling2D(keepdims=True)(x)])),
    "multiply_three": (IMAGE, lambda k, x: k.layers.Multiply()([x, k.layers.ReLU()(x), k.layers.Conv2D(4, 1)(x)])),
    "concatenate": (IMAGE, lambda k, x: k.layers.Concatenate()([x, k.layers.Conv2D(3, 1)(x), x])),
    "concatenate_rows": (ROW, lambda k, x: k.layers.Concatenate(axis=1)([x, k.layers.Dense(3)(x)])),
    "shared_layer": (IMAGE, _shared),
    "ops_add_constant": (IMAGE, lambda k, x: x + 3.0),
    "ops_constant_minus": (IMAGE, lambda k, x: 3.0 - x),
    "ops_minus_constant": (IMAGE, lambda k, x: x - np.asarray([1.0, 2.0, 3.0, 4.0], np.float32)),
    "ops_multiply_constant": (IMAGE, lambda k, x: 0.5 * x),
    "ops_divide_constant": (IMAGE, lambda k, x: x / 6.0),
    "ops_tensors": (IMAGE, lambda k, x: (x + k.layers.ReLU()(x)) * k.layers.Conv2D(4, 1)(x) - x),
    "ops_square": (IMAGE, lambda k, x: x * x + x),
    "ops_hard_sigmoid": (IMAGE, lambda k, x: k.layers.ReLU(max_value=6.0)(x + 3.0) * (1.0 / 6.0)),
    "hostile_names": (IMAGE, _hostile_names),
    **{f"activation_{name}": (IMAGE, _windows("Activation", activation=name)) for name in ACTIVATIONS},
    **{f"row_activation_{name}": (ROW, _windows("Activation", activation=name)) for name in ACTIVATIONS},
}


def inputs_for(model: Any, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [(2 * rng.normal(size=(count, *x.shape[1:]))).astype(np.float32) for x in model.inputs]


def expected_of(model: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    results = model(values if len(values) > 1 else values[0], training=False)
    return [np.asarray(one) for one in (results if isinstance(results, (list, tuple)) else [results])]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    assert expected.std() > 1e-3, "the reference carries no signal"
    return float(np.abs(found - expected).max() / expected.std())


def compare(model: Any, run_onnx: Any, *, bound: float = FLOAT32_BOUND, **options: Any) -> None:
    values = inputs_for(model)
    expected = expected_of(model, values)
    plain = lower_model(model)
    for graph in (plain, optimize(plain)):
        for opset in OPSETS:
            found = run_onnx(graph, values, opset=opset, **options)
            errors = [relative_error(f, e) for f, e in zip(found, expected, strict=True)]
            assert max(errors) <= bound, f"opset {opset}: {errors}"


@pytest.mark.parametrize("name", CASES)
def test_layer_equals_keras(name, run_onnx, seeded):
    import keras

    shape, make = CASES[name]
    x = keras.Input(shape)
    compare(seeded(keras.Model(x, make(keras, x))), run_onnx)


@pytest.mark.parametrize(
    "name", ["conv_same", "dense_softmax", "layer_normalization", "activation_gelu", "squeeze_excite", "layout_mix"]
)
def test_float16_stays_close(name, run_onnx, seeded):
    import keras

    shape, make = CASES[name]
    x = keras.Input(shape)
    compare(seeded(keras.Model(x, make(keras, x))), run_onnx, bound=FLOAT16_BOUND, scheme="float16")


def _nested(k: Any) -> Any:
    inner_input = k.Input(IMAGE)
    inner = k.Model(inner_input, k.layers.ReLU()(k.layers.Conv2D(4, 3, padding="same")(inner_input)), name="backbone")
    outer = k.Input(IMAGE)
    return k.Model(outer, k.layers.Dense(3)(k.layers.GlobalAveragePooling2D()(inner(inner(outer), training=False))))


def _sequential(k: Any) -> Any:
    base = k.Sequential([k.Input(IMAGE), k.layers.Conv2D(4, 3), k.layers.BatchNormalization()])
    return k.Sequential([k.Input(IMAGE), k.layers.Rescaling(0.5), base, k.layers.Flatten(), k.layers.Dense(3)])


def _two_inputs(k: Any) -> Any:
    left, right = k.Input(IMAGE, name="left"), k.Input(ROW, name="right")
    pooled = k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(5, 3)(left))
    return k.Model([left, right], k.layers.Concatenate()([pooled, k.layers.Dense(2)(right)]))


def _two_outputs(k: Any) -> Any:
    x = k.Input(IMAGE)
    stem = k.layers.Conv2D(4, 3, activation="relu")(x)
    return k.Model(x, [k.layers.Conv2D(2, 1, name="mask")(stem), k.layers.GlobalMaxPooling2D(name="pooled")(stem)])


def _one_value_shown_twice(k: Any) -> Any:
    x = k.Input(IMAGE)
    stem = k.layers.Conv2D(4, 3, name="stem")(x)
    return k.Model(x, [stem, stem, k.layers.ReLU(name="relu")(stem)])


def _input_shown(k: Any) -> Any:
    x = k.Input(IMAGE, name="picture")
    return k.Model(x, [x, k.layers.Conv2D(4, 3, name="stem")(x)])


def _shared_backbone(k: Any) -> Any:
    """Siamese: one nested model for two inputs, with augmentation inside, and heads of several classes."""
    start = k.Input(IMAGE)
    augmented = k.layers.RandomContrast(0.2)(k.layers.RandomFlip()(start))
    features = k.layers.PReLU(shared_axes=[1, 2])(k.layers.Conv2D(4, 3, name="stem")(augmented))
    backbone = k.Model(start, [features, k.layers.GlobalMaxPooling2D()(features)], name="backbone")
    left, right = k.Input(IMAGE, name="left"), k.Input(IMAGE, name="right")
    (maps, first), (_, second) = backbone(left), backbone(right)
    embed = k.layers.Dense(5, name="embed")
    distance = k.layers.Dot(axes=1, normalize=True, name="similarity")([embed(first), embed(first - second)])
    mask = k.layers.Conv2DTranspose(2, 3, activation="softmax", name="mask")(maps)
    difference = k.layers.Dense(3, activation="mish", name="classes")(k.ops.abs(first - second))
    return k.Model([left, right], [mask, distance, difference])


def _shared_head(k: Any) -> Any:
    x = k.Input(IMAGE)
    rows = k.layers.Reshape((64, 4))(x)
    attention, norm = k.layers.MultiHeadAttention(2, 3), k.layers.LayerNormalization()
    for _ in range(2):
        rows = norm(rows + attention(rows, rows))
    return k.Model(x, k.layers.GlobalAveragePooling1D()(rows))


WHOLE = (
    _shared_backbone,
    _shared_head,
    _nested,
    _sequential,
    _two_inputs,
    _two_outputs,
    _one_value_shown_twice,
    _input_shown,
)


@pytest.mark.parametrize("make", WHOLE, ids=lambda make: make.__name__.strip("_"))
def test_whole_models_equal_keras(make, run_onnx, run_tflite, seeded):
    import keras

    model = seeded(make(keras))
    compare(model, run_onnx)
    values = inputs_for(model)
    found, _ = run_tflite(optimize(lower_model(model)), values)
    for one, expected in zip(found, expected_of(model, values), strict=True):
        assert relative_error(one, expected) <= FLOAT32_BOUND


def test_names_of_inputs_and_outputs():
    import keras

    assert [spec.name for spec in lower_model(_two_inputs(keras)).inputs] == ["left", "right"]
    assert list(lower_model(_two_outputs(keras)).outputs) == ["mask", "pooled"]
    graph = lower_model(_nested(keras))
    assert [spec.name for spec in graph.inputs] == ["input"]
    assert list(graph.outputs) == ["output"]
    assert {layer.split("/")[0] for node in graph for layer in node.layers if "/" in layer} == {"backbone"}


def _of_tensorflow(k: Any, x: Any) -> Any:
    import tensorflow as tf

    return k.layers.Lambda(tf.nn.relu, name="raw", output_shape=IMAGE)(x)


REFUSED: dict[str, tuple[Make, str]] = {
    "unknown class": (lambda k, x: k.layers.Solarization(name="bright")(x), r"'bright' is a keras\..*Solarization"),
    "softmax over the batch": (lambda k, x: k.layers.Softmax(axis=0, name="odd")(x), "'odd' .Softmax.*axis 0"),
    "sparsemax": (lambda k, x: k.layers.Conv2D(4, 1, activation="sparsemax", name="sparse")(x), "'sparse'.*sparsemax"),
    "gated unit": (lambda k, x: k.layers.Activation("glu", name="gated")(x), r"'gated'.*gives \(None, 8, 8, 2\)"),
    "reduction over the batch": (lambda k, x: k.ops.mean(x, axis=0), "reduction over the batch"),
    "reduction of everything": (lambda k, x: k.ops.sum(x), "reduction over the batch"),
    "transposed batch": (lambda k, x: k.ops.transpose(x, (1, 0, 2, 3)), "transposition of the batch"),
    "slice of the batch": (lambda k, x: x[0], "selects from the batch"),
    "enlarged by a crop": (lambda k, x: k.layers.CenterCrop(9, 9, name="crop")(x), "'crop' .CenterCrop.*8 x 8"),
    "cropped at random": (lambda k, x: k.layers.RandomCrop(4, 4, name="crop")(x), "'crop' .RandomCrop.*Keras states"),
    "group axis": (lambda k, x: k.layers.GroupNormalization(2, axis=1, name="odd")(x), "'odd'.*axis 1"),
    "unknown operation": (lambda k, x: k.ops.image.rgb_to_hsv(x[..., :3]), r"operation 'rgb_to_hsv.*RGBToHSV"),
    "a layer of TensorFlow's functions": (_of_tensorflow, r"'raw' is a keras\..*Lambda.*not made of keras.ops alone"),
    "sorted rows": (lambda k, x: k.ops.sort(x, axis=1), "axis 1"),
    "an axis mixed with the batch": (lambda k, x: k.ops.reshape(x, (-1, 24)), "becomes a fraction|parted"),
    "another batch": (lambda k, x: k.ops.reshape(x, (-1, 4)), "another batch than the input"),
    "batches that differ": (lambda k, x: k.ops.reshape(x, (-1, 8, 4)) @ x[:, 0, :4, :], "batches differ"),
    "small integers that wrap": (lambda k, x: k.ops.cast(x, "uint8") + 200, "computes in uint8"),
    "a mask": (
        lambda k, x: k.layers.LSTM(3, name="own")(k.layers.Masking()(k.layers.Reshape((8, 32))(x))),
        "'own' .LSTM.: a mask is not supported natively",
    ),
    "float16 in between": (lambda k, x: k.ops.cast(x, "float16") * 2, "float16"),
    "constant of higher rank": (lambda k, x: x * np.ones((1, 1, 1, 1, 4), np.float32), "constant of shape"),
    "half precision": (lambda k, x: k.layers.Conv2D(4, 1, dtype="mixed_float16", name="half")(x), "'half'.*float16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_graph_cannot_say_is_refused_by_name(name):
    import keras

    make, message = REFUSED[name]
    x = keras.Input(IMAGE)
    with pytest.raises(UnsupportedError, match=message):
        lower_model(keras.Model(x, make(keras, x)))


def test_a_subclassed_model_is_refused():
    import keras

    class Own(keras.Model):
        def call(self, x):
            return x * 2

    with pytest.raises(UnsupportedError, match="Own without a static graph"):
        lower_model(Own(name="own"))


def test_a_functional_model_with_its_own_call_is_refused():
    import keras

    class Own(keras.Model):
        def call(self, x, training=None, mask=None):
            return super().call(x, training=training, mask=mask) * 2

    x = keras.Input(IMAGE)
    model = Own(inputs=x, outputs=keras.layers.ReLU()(x), name="own")
    with pytest.raises(UnsupportedError, match="own"):
        lower_model(model)


def test_an_open_image_size_is_refused_with_the_cure():
    import keras

    x = keras.Input((None, None, 3))
    with pytest.raises(UnsupportedError, match="open size") as caught:
        lower_model(keras.Model(x, keras.layers.Conv2D(2, 1)(x)))
    assert caught.value.hint == "--input-shape 224,224,3"
