"""The built-in operators that kexport writes: arity, and the output shape that inputs and options imply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

from kexport.errors import ArtifactError
from kexport.formats.tflite.check.reader import Table
from kexport.formats.tflite.check.schema import (
    BuiltinOperator,
    ConcatenationOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    Operator,
    Padding,
    Pool2DOptions,
    ReducerOptions,
)

Sizes = tuple[int, ...]
Sliding = type[Conv2DOptions] | type[DepthwiseConv2DOptions] | type[Pool2DOptions]


@dataclass(frozen=True)
class Facts:
    """What an operator may know of a tensor: shape, type, and the values of a small int32 constant."""

    shape: Sizes
    kind: int
    values: Sizes | None


Rule = Callable[["Options", Sequence[Facts]], Sizes]


@dataclass(frozen=True)
class Options:
    """The options table of an operator; absent means that every field has its default."""

    table: Table | None

    def number(self, slot: int, code: str, default: int = 0) -> int:
        """A scalar option."""
        return default if self.table is None else self.table.number(slot, code, default)


@dataclass(frozen=True, kw_only=True)
class Builtin:
    """A built-in operator: fewest and most inputs, and its shape rule."""

    inputs: tuple[int, int]
    rule: Rule


def check_operator(code: BuiltinOperator, table: Table, inputs: Sequence[Facts], outputs: Sequence[Facts]) -> None:
    """Raise ArtifactError if arity, or the stated output shape, is not what the operator implies."""
    builtin, name = BUILTINS[code], f"{code.name} ({table.where})"
    fewest, most = builtin.inputs
    _require(fewest <= len(inputs) <= most, f"{name} has {len(inputs)} inputs")
    _require(len(outputs) == 1, f"{name} has {len(outputs)} outputs, expected 1")
    implied = builtin.rule(Options(table.child(Operator.BUILTIN_OPTIONS, "options")), inputs)
    stated = outputs[0].shape
    _require(implied == stated, f"{name} states shape {stated}, its inputs give {implied}")


def _same_shape(_: Options, inputs: Sequence[Facts]) -> Sizes:
    return inputs[0].shape


def _broadcast(_: Options, inputs: Sequence[Facts]) -> Sizes:
    return reduce(_common, (each.shape for each in inputs))


def _common(left: Sizes, right: Sizes) -> Sizes:
    rank = max(len(left), len(right))
    left, right = (1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right
    pairs = list(zip(left, right, strict=True))
    _require(all(a == b or 1 in (a, b) for a, b in pairs), f"shapes {left} and {right} cannot be broadcast")
    return tuple(max(pair) for pair in pairs)


def _conv(options: Options, inputs: Sequence[Facts]) -> Sizes:
    image, kernel, bias = _image(inputs[0]), _image(inputs[1]), inputs[2].shape
    _require(image[3] % kernel[3] == 0, f"{image[3]} channels, kernel {kernel} wants {kernel[3]}")
    _require(bias == (kernel[0],), f"bias {bias} for {kernel[0]} filters")
    slots = Conv2DOptions
    dilation = options.number(slots.DILATION_H_FACTOR, "i", 1), options.number(slots.DILATION_W_FACTOR, "i", 1)
    return (image[0], *_slide(options, slots, image, kernel[1:3], dilation), kernel[0])


def _depthwise(options: Options, inputs: Sequence[Facts]) -> Sizes:
    image, kernel, bias = _image(inputs[0]), _image(inputs[1]), inputs[2].shape
    slots = DepthwiseConv2DOptions
    multiplier = options.number(slots.DEPTH_MULTIPLIER, "i")
    _require(
        kernel[0] == 1 and kernel[3] == image[3] * multiplier,
        f"depthwise kernel {kernel} for {image[3]} channels times {multiplier}",
    )
    _require(bias == (kernel[3],), f"bias {bias} for {kernel[3]} filters")
    dilation = options.number(slots.DILATION_H_FACTOR, "i", 1), options.number(slots.DILATION_W_FACTOR, "i", 1)
    return (image[0], *_slide(options, slots, image, kernel[1:3], dilation), kernel[3])


def _pool(options: Options, inputs: Sequence[Facts]) -> Sizes:
    image, slots = _image(inputs[0]), Pool2DOptions
    window = options.number(slots.FILTER_HEIGHT, "i"), options.number(slots.FILTER_WIDTH, "i")
    return (image[0], *_slide(options, slots, image, window, (1, 1)), image[3])


def _slide(options: Options, slots: Sliding, image: Sizes, window: Sequence[int], dilation: tuple[int, int]) -> Sizes:
    """TensorFlow's output size for both ways of padding."""
    scheme = options.number(slots.PADDING, "b")
    strides = [options.number(slot, "i") for slot in (slots.STRIDE_H, slots.STRIDE_W)]
    _require(min(*strides, *window, *dilation) >= 1, f"strides {strides}, window {window}, dilation {dilation}")
    _require(scheme in tuple(Padding), f"padding scheme {scheme}, expected 0 (SAME) or 1 (VALID)")
    reach = [0 if scheme == Padding.SAME else (size - 1) * step for size, step in zip(window, dilation, strict=True)]
    sizes = tuple(-(-(image[1 + axis] - reach[axis]) // strides[axis]) for axis in (0, 1))
    _require(min(sizes) >= 1, f"the window {window} is larger than the image {image}")
    return sizes


def _dense(options: Options, inputs: Sequence[Facts]) -> Sizes:
    value, kernel, *biases = (each.shape for each in inputs)
    _require(len(kernel) == 2 and all(bias == kernel[:1] for bias in biases), f"kernel {kernel} with bias {biases}")
    _require(prod(value) % kernel[1] == 0, f"{value} does not divide into rows of {kernel[1]}")
    if options.number(FullyConnectedOptions.KEEP_NUM_DIMS, "b"):
        _require(value[-1:] == kernel[1:], f"{value[-1:]} features, kernel {kernel} wants {kernel[1]}")
        return (*value[:-1], kernel[0])
    return (prod(value) // kernel[1], kernel[0])


def _concat(options: Options, inputs: Sequence[Facts]) -> Sizes:
    first = inputs[0].shape
    axis = options.number(ConcatenationOptions.AXIS, "i") % max(len(first), 1)
    for each in inputs:
        rest = each.shape[:axis] + each.shape[axis + 1 :]
        _require(rest == first[:axis] + first[axis + 1 :], f"{first} and {each.shape} cannot be joined on axis {axis}")
    return (*first[:axis], sum(each.shape[axis] for each in inputs), *first[axis + 1 :])


def _reduce(options: Options, inputs: Sequence[Facts]) -> Sizes:
    shape = inputs[0].shape
    axes = {axis % len(shape) for axis in _values(inputs[1]) if -len(shape) <= axis < len(shape)}
    _require(len(axes) == len(_values(inputs[1])), f"axes {_values(inputs[1])} of {shape}")
    if options.number(ReducerOptions.KEEP_DIMS, "b"):
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _pad(_: Options, inputs: Sequence[Facts]) -> Sizes:
    shape, amounts = inputs[0].shape, _values(inputs[1])
    _require(len(amounts) == 2 * len(shape) and min(amounts) >= 0, f"padding {amounts} for shape {shape}")
    return tuple(size + amounts[2 * axis] + amounts[2 * axis + 1] for axis, size in enumerate(shape))


def _slice(_: Options, inputs: Sequence[Facts]) -> Sizes:
    shape, begin, size = inputs[0].shape, _values(inputs[1]), _values(inputs[2])
    _require(len(begin) == len(size) == len(shape), f"slice {begin} {size} of {shape}")
    ends = [
        start + (length if length >= 0 else whole - start)
        for start, length, whole in zip(begin, size, shape, strict=True)
    ]
    _require(
        all(0 <= start < end <= whole for start, end, whole in zip(begin, ends, shape, strict=True)),
        f"slice {begin} {size} lies outside of {shape}",
    )
    return tuple(end - start for start, end in zip(begin, ends, strict=True))


def _reshape(_: Options, inputs: Sequence[Facts]) -> Sizes:
    shape = _values(inputs[1])
    _require(prod(shape) == prod(inputs[0].shape), f"{inputs[0].shape} cannot become {shape}")
    return shape


def _transpose(_: Options, inputs: Sequence[Facts]) -> Sizes:
    shape, order = inputs[0].shape, _values(inputs[1])
    _require(sorted(order) == list(range(len(shape))), f"order {order} of {shape}")
    return tuple(shape[axis] for axis in order)


def _matmul(_: Options, inputs: Sequence[Facts]) -> Sizes:
    left, right = inputs[0].shape, inputs[1].shape
    _require(len(left) >= 2 and len(right) >= 2 and left[-1] == right[-2], f"{left} and {right} cannot be multiplied")
    return (*_common(left[:-2], right[:-2]), left[-2], right[-1])


def _resize(_: Options, inputs: Sequence[Facts]) -> Sizes:
    image, size = _image(inputs[0]), _values(inputs[1])
    _require(len(size) == 2 and min(size) >= 1, f"size {size} for an image")
    return (image[0], *size, image[3])


def _transposed_conv(_: Options, inputs: Sequence[Facts]) -> Sizes:
    """The shape is an input; where its pixels come from is checked by the runtime."""
    shape, kernel, image, bias = _values(inputs[0]), _image(inputs[1]), _image(inputs[2]), inputs[3].shape
    _require(len(shape) == 4 and min(shape) >= 1, f"output shape {shape}, expected four axes")
    _require(image[3] == kernel[3], f"{image[3]} channels, kernel {kernel} wants {kernel[3]}")
    _require(bias == (kernel[0],) == shape[3:], f"bias {bias} and {shape[3]} channels for {kernel[0]} filters")
    _require(shape[0] == image[0], f"{shape[0]} images from {image[0]}")
    return shape


def _image(facts: Facts) -> Sizes:
    _require(len(facts.shape) == 4, f"shape {facts.shape}, expected four axes")
    return facts.shape


def _values(facts: Facts) -> Sizes:
    if facts.values is None:
        raise ArtifactError("axes, paddings or a shape are not a constant of int32")
    return facts.values


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ArtifactError(message)


_UNARY = (
    BuiltinOperator.DEQUANTIZE,
    BuiltinOperator.FLOOR,
    BuiltinOperator.LOGISTIC,
    BuiltinOperator.RELU,
    BuiltinOperator.RELU_N1_TO_1,
    BuiltinOperator.RELU6,
    BuiltinOperator.SOFTMAX,
    BuiltinOperator.TANH,
    BuiltinOperator.EXP,
    BuiltinOperator.CAST,
    BuiltinOperator.NEG,
    BuiltinOperator.SIN,
    BuiltinOperator.LOG,
    BuiltinOperator.SQRT,
    BuiltinOperator.RSQRT,
    BuiltinOperator.SQUARE,
    BuiltinOperator.LEAKY_RELU,
    BuiltinOperator.ABS,
    BuiltinOperator.CEIL,
    BuiltinOperator.COS,
    BuiltinOperator.ELU,
    BuiltinOperator.QUANTIZE,
    BuiltinOperator.ROUND,
    BuiltinOperator.HARD_SWISH,
    BuiltinOperator.GELU,
    BuiltinOperator.SIGN,
)
_BINARY = (
    BuiltinOperator.ADD,
    BuiltinOperator.MUL,
    BuiltinOperator.SUB,
    BuiltinOperator.DIV,
    BuiltinOperator.PRELU,
    BuiltinOperator.MAXIMUM,
    BuiltinOperator.MINIMUM,
    BuiltinOperator.LESS,
    BuiltinOperator.GREATER,
    BuiltinOperator.GREATER_EQUAL,
    BuiltinOperator.LESS_EQUAL,
    BuiltinOperator.EQUAL,
    BuiltinOperator.NOT_EQUAL,
    BuiltinOperator.POW,
)
BUILTINS: dict[BuiltinOperator, Builtin] = {
    **dict.fromkeys(_UNARY, Builtin(inputs=(1, 1), rule=_same_shape)),
    **dict.fromkeys(_BINARY, Builtin(inputs=(2, 2), rule=_broadcast)),
    BuiltinOperator.AVERAGE_POOL_2D: Builtin(inputs=(1, 1), rule=_pool),
    BuiltinOperator.CONCATENATION: Builtin(inputs=(1, 1 << 16), rule=_concat),
    BuiltinOperator.CONV_2D: Builtin(inputs=(3, 3), rule=_conv),
    BuiltinOperator.DEPTHWISE_CONV_2D: Builtin(inputs=(3, 3), rule=_depthwise),
    BuiltinOperator.FULLY_CONNECTED: Builtin(inputs=(2, 3), rule=_dense),
    BuiltinOperator.MAX_POOL_2D: Builtin(inputs=(1, 1), rule=_pool),
    BuiltinOperator.RESHAPE: Builtin(inputs=(2, 2), rule=_reshape),
    BuiltinOperator.RESIZE_BILINEAR: Builtin(inputs=(2, 2), rule=_resize),
    BuiltinOperator.PAD: Builtin(inputs=(2, 2), rule=_pad),
    BuiltinOperator.TRANSPOSE: Builtin(inputs=(2, 2), rule=_transpose),
    BuiltinOperator.MEAN: Builtin(inputs=(2, 2), rule=_reduce),
    BuiltinOperator.PADV2: Builtin(inputs=(3, 3), rule=_pad),
    BuiltinOperator.SLICE: Builtin(inputs=(3, 3), rule=_slice),
    BuiltinOperator.TRANSPOSE_CONV: Builtin(inputs=(4, 4), rule=_transposed_conv),
    BuiltinOperator.SUM: Builtin(inputs=(2, 2), rule=_reduce),
    BuiltinOperator.REDUCE_PROD: Builtin(inputs=(2, 2), rule=_reduce),
    BuiltinOperator.REDUCE_MAX: Builtin(inputs=(2, 2), rule=_reduce),
    BuiltinOperator.REDUCE_MIN: Builtin(inputs=(2, 2), rule=_reduce),
    BuiltinOperator.RESIZE_NEAREST_NEIGHBOR: Builtin(inputs=(2, 2), rule=_resize),
    BuiltinOperator.SELECT_V2: Builtin(inputs=(3, 3), rule=_broadcast),
    BuiltinOperator.BATCH_MATMUL: Builtin(inputs=(2, 2), rule=_matmul),
}
