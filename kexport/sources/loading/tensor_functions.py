"""TensorFlow functions that tf.keras stored as layers, in terms of `keras.ops`.

A function of `TABLE` has the name under which tf.keras stored it, without ``compat.v1.``, and TensorFlow's own names
and defaults of arguments; its first argument is the layer's input. It computes what TensorFlow's does, with the same
epsilons, and is refused where Keras has no counterpart of an argument's value. Shapes of tensors are tuples with None
for the batch.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kexport.errors import SourceError

GREY = (0.2989, 0.587, 0.114)
_RESIZES = {"bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"}
_PADDINGS = {"CONSTANT": "constant", "REFLECT": "reflect", "SYMMETRIC": "symmetric"}
Function = Callable[..., Any]


class _Late:
    """`keras.ops`, imported when the first function is called."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("keras.ops"), name)


ops: Any = _Late()


def refused(what: str) -> SourceError:
    """An argument that Keras has no counterpart of; the caller names the layer."""
    return SourceError(what, hint="kexport export package.module:factory, which builds the model with Keras 3")


def _unary(name: str) -> Function:
    def call(x: Any) -> Any:
        return getattr(ops, name)(x)

    return call


def _binary(name: str) -> Function:
    return lambda x, y: getattr(ops, name)(constant(x), constant(y))


def _reduction(name: str) -> Function:
    return lambda input_tensor, axis=None, keepdims=False: getattr(ops, name)(
        input_tensor, axis=_axes(axis), keepdims=bool(keepdims)
    )


def constant(value: Any) -> Any:
    """A list of numbers as an array, in the precision that tf.keras computes with; anything else as it is."""
    return np.asarray(value, np.float32) if isinstance(value, (list, tuple)) else value


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


def _first(axis: Any) -> int:
    return int(axis[0] if isinstance(axis, (list, tuple)) else axis)


def _resize(
    images: Any, size: Any, method: str = "bilinear", preserve_aspect_ratio: bool = False, antialias: bool = False
) -> Any:
    if method not in _RESIZES or preserve_aspect_ratio:
        raise refused(f"method {method!r}, preserve_aspect_ratio={preserve_aspect_ratio}")
    return ops.image.resize(images, tuple(size), interpolation=method, antialias=antialias, data_format="channels_last")


def _reshape(tensor: Any, shape: Any) -> Any:
    """The batch is what `tf.shape` gave for it, or -1; where both stand, -1 follows from the other axes."""
    wanted = [None if size is None else int(size) for size in shape]
    if None in wanted and -1 in wanted:
        known = math.prod(size for size in wanted if size not in (None, -1))
        wanted[wanted.index(-1)] = math.prod(tensor.shape[1:]) // known
    return ops.reshape(tensor, [-1 if size is None else size for size in wanted])


def _split(value: Any, num_or_size_splits: Any, axis: int = 0, num: Any = None) -> Any:  # noqa: ARG001 - TensorFlow's
    if not isinstance(num_or_size_splits, (list, tuple)):
        return ops.split(value, num_or_size_splits, axis=axis)
    sizes = [int(size) for size in num_or_size_splits]
    if -1 in sizes:
        sizes[sizes.index(-1)] = value.shape[axis] - sum(size for size in sizes if size != -1)
    return ops.split(value, np.cumsum(sizes)[:-1].tolist(), axis=axis)


def _squeeze(input: Any, axis: Any = None, squeeze_dims: Any = None) -> Any:  # noqa: A002 - TensorFlow's names
    return ops.squeeze(input, axis=_axes(axis if axis is not None else squeeze_dims) or None)


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: float = 0) -> Any:
    own = {"constant_values": constant_values} if mode.upper() == "CONSTANT" else {}
    return ops.pad(tensor, [tuple(pair) for pair in paddings], mode=_PADDINGS[mode.upper()], **own)


def _gather(params: Any, indices: Any, axis: Any = None, batch_dims: int = 0) -> Any:
    if batch_dims:
        raise refused(f"batch_dims={batch_dims}")
    return ops.take(params, np.asarray(indices) if isinstance(indices, list) else indices, axis=axis or 0)


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    left, right = (ops.swapaxes(x, -1, -2) if flip else x for x, flip in ((a, transpose_a), (constant(b), transpose_b)))
    return ops.matmul(left, right)


def _einsum(equation: Any) -> Any:
    raise refused(f"{equation!r} of tensors that tf.keras did not store in the file")


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, dim: Any = None) -> Any:
    square = ops.sum(ops.square(x), axis=_axes(axis if axis is not None else dim), keepdims=True)
    return ops.multiply(x, ops.rsqrt(ops.maximum(square, epsilon)))


def _norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None) -> Any:  # noqa: A002
    if ord not in ("euclidean", 2):
        raise refused(f"ord={ord!r}")
    return ops.sqrt(ops.sum(ops.square(tensor), axis=_axes(axis), keepdims=bool(keepdims)))


def _depth_to_space(input: Any, block_size: int, data_format: str = "NHWC") -> Any:  # noqa: A002
    _last(data_format)
    height, width, channels = input.shape[1:]
    blocks = ops.reshape(input, (-1, height, width, block_size, block_size, channels // block_size**2))
    moved = ops.transpose(blocks, (0, 1, 3, 2, 4, 5))
    return ops.reshape(moved, (-1, height * block_size, width * block_size, channels // block_size**2))


def _space_to_depth(input: Any, block_size: int, data_format: str = "NHWC") -> Any:  # noqa: A002
    _last(data_format)
    height, width, channels = input.shape[1] // block_size, input.shape[2] // block_size, input.shape[3]
    blocks = ops.reshape(input, (-1, height, block_size, width, block_size, channels))
    return ops.reshape(ops.transpose(blocks, (0, 1, 3, 2, 4, 5)), (-1, height, width, channels * block_size**2))


def _last(data_format: Any) -> None:
    if data_format not in (None, "NHWC"):
        raise refused(f"data_format={data_format!r}")


def _pool(name: str) -> Function:
    def pool(input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NHWC") -> Any:  # noqa: A002
        _last(data_format)
        sizes = [value[1:3] if isinstance(value, list) and len(value) == 4 else value for value in (ksize, strides)]
        size, stride = (tuple(value) if isinstance(value, list) else value for value in sizes)
        return getattr(ops, name)(input, size, strides=stride, padding=padding.lower())

    return pool


def _bias_add(value: Any, bias: Any, data_format: str = "NHWC") -> Any:
    _last(data_format)
    return ops.add(value, constant(bias))


def _standardized(image: Any) -> Any:
    places = tuple(range(len(image.shape) - 3, len(image.shape)))
    least = 1 / math.sqrt(math.prod(image.shape[-3:]))
    mean = ops.mean(image, axis=places, keepdims=True)
    return ops.divide(ops.subtract(image, mean), ops.maximum(ops.std(image, axis=places, keepdims=True), least))


def _grey(images: Any) -> Any:
    return ops.sum(ops.multiply(images, np.array(GREY, np.float32)), axis=-1, keepdims=True)


def _crop(image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int) -> Any:
    return image[:, offset_height : offset_height + target_height, offset_width : offset_width + target_width]


def _sliced(input_: Any, begin: Sequence[int], size: Sequence[int]) -> Any:
    ends = (None if length == -1 else start + length for start, length in zip(begin, size, strict=True))
    return input_[tuple(slice(start, end) for start, end in zip(begin, ends, strict=True))]


def _added(inputs: Sequence[Any]) -> Any:
    total = inputs[0]
    for value in inputs[1:]:
        total = ops.add(total, value)
    return total


def _silu(features: Any, beta: float = 1.0) -> Any:
    return ops.silu(features) if beta == 1 else ops.multiply(features, ops.sigmoid(ops.multiply(features, beta)))


def _argument(name: str) -> Function:
    return lambda input, axis=None, output_type="int64": ops.cast(  # noqa: A006 - TensorFlow's name
        getattr(ops, name)(input, axis=0 if axis is None else axis), output_type
    )


_SAME = (
    "abs", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "square", "sign", "floor", "ceil", "round", "sin", "cos",
    "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "erf", "reciprocal", "negative", "sigmoid", "softplus",
    "softsign", "is_nan", "is_finite", "logical_not",
)  # fmt: skip
_OTHER_WORDS = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "is_nan": "isnan", "is_finite": "isfinite",
}  # fmt: skip
_PAIRS = (
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "greater_equal", "less", "less_equal",
    "equal", "not_equal", "logical_and", "logical_or", "logical_xor",
)  # fmt: skip
_REDUCTIONS = {
    "sum": "sum", "mean": "mean", "max": "max", "min": "min", "prod": "prod", "all": "all", "any": "any",
    "std": "std", "variance": "var", "logsumexp": "logsumexp",
}  # fmt: skip

TABLE: dict[str, Function] = {
    **{f"math.{name}": _unary(_OTHER_WORDS.get(name, name)) for name in _SAME},
    **{f"math.{name}": _binary(name) for name in _PAIRS},
    **{f"math.reduce_{name}": _reduction(own) for name, own in _REDUCTIONS.items()},
    **{
        f"nn.{name}": _unary(name)
        for name in ("relu", "relu6", "elu", "selu", "sigmoid", "tanh", "softplus", "softsign")
    },
    "__operators__.add": _binary("add"),
    "math.truediv": _binary("true_divide"),
    "math.floordiv": _binary("floor_divide"),
    "math.floormod": _binary("mod"),
    "math.pow": _binary("power"),
    "math.squared_difference": lambda x, y: ops.square(ops.subtract(constant(x), constant(y))),
    "math.add_n": _added,
    "math.argmax": _argument("argmax"),
    "math.argmin": _argument("argmin"),
    "math.cumsum": lambda x, axis=0: ops.cumsum(x, axis=axis),
    "math.l2_normalize": _l2_normalize,
    "nn.l2_normalize": _l2_normalize,
    "norm": _norm,
    "nn.silu": _silu,
    "nn.swish": _silu,
    "nn.gelu": lambda features, approximate=False: ops.gelu(features, approximate=approximate),
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, negative_slope=alpha),
    "nn.softmax": lambda logits, axis=-1: ops.softmax(logits, axis=-1 if axis is None else axis),
    "nn.log_softmax": lambda logits, axis=-1: ops.log_softmax(logits, axis=-1 if axis is None else axis),
    "nn.bias_add": _bias_add,
    "nn.depth_to_space": _depth_to_space,
    "nn.space_to_depth": _space_to_depth,
    **{f"nn.avg_pool{end}": _pool("average_pool") for end in ("", "2d")},
    **{f"nn.max_pool{end}": _pool("max_pool") for end in ("", "2d")},
    "image.resize": _resize,
    "image.rgb_to_grayscale": _grey,
    "image.per_image_standardization": _standardized,
    "image.flip_left_right": lambda image: ops.flip(image, axis=-2),
    "image.flip_up_down": lambda image: ops.flip(image, axis=-3),
    "image.crop_to_bounding_box": _crop,
    "concat": lambda values, axis: ops.concatenate(list(values), axis=_first(axis)),
    "stack": lambda values, axis=0: ops.stack(list(values), axis=axis),
    "unstack": lambda value, num=None, axis=0: ops.unstack(value, num, axis=axis),
    "split": _split,
    "reshape": _reshape,
    "expand_dims": lambda input, axis: ops.expand_dims(input, axis=_first(axis)),  # noqa: A006
    "squeeze": _squeeze,
    "transpose": lambda a, perm=None: ops.transpose(a, perm),
    "reverse": lambda tensor, axis: ops.flip(tensor, axis=_axes(axis)),
    "roll": lambda input, shift, axis: ops.roll(input, _axes(shift), axis=_axes(axis)),  # noqa: A006
    "tile": lambda input, multiples: ops.tile(input, list(multiples)),  # noqa: A006
    "repeat": lambda input, repeats, axis=None: ops.repeat(input, repeats, axis=axis),  # noqa: A006
    "pad": _pad,
    "slice": _sliced,
    "gather": _gather,
    "where": lambda condition, x, y: ops.where(condition, constant(x), constant(y)),
    "cast": lambda x, dtype: ops.cast(constant(x), dtype),
    "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.clip(
        t, constant(clip_value_min), constant(clip_value_max)
    ),
    "linalg.matmul": _matmul,
    "linalg.matrix_transpose": lambda a: ops.swapaxes(a, -1, -2),
    "einsum": _einsum,
    "shape": lambda input, out_type=None: tuple(input.shape),  # noqa: A006, ARG005
    "identity": lambda input: input,  # noqa: A006
    "stop_gradient": lambda input: input,  # noqa: A006
    "zeros_like": _unary("zeros_like"),
    "ones_like": _unary("ones_like"),
    "__operators__.getitem": lambda tensor, slice_spec: tensor[slice_spec],
}
