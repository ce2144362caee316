"""What the check reads of the TFLite schema, by the schema's own names: tests compare each with the installed one.

The numbers are written down, so that reading a file needs no generated code. Those of a table are its slots: the
order of its fields, deprecated ones counted, which a flatbuffer's field list has at byte ``4 + 2 * slot``.
"""

from __future__ import annotations

from enum import IntEnum


class Model(IntEnum):
    """Slots of the root table."""

    VERSION = 0
    OPERATOR_CODES = 1
    SUBGRAPHS = 2
    BUFFERS = 4
    METADATA = 6
    SIGNATURE_DEFS = 7


class OperatorCode(IntEnum):
    """Slots of an operator's number and version."""

    DEPRECATED_BUILTIN_CODE = 0
    VERSION = 2
    BUILTIN_CODE = 3


class Buffer(IntEnum):
    """Slots of a constant's bytes."""

    DATA = 0
    OFFSET = 1
    SIZE = 2


class SubGraph(IntEnum):
    """Slots of a network."""

    TENSORS = 0
    INPUTS = 1
    OUTPUTS = 2
    OPERATORS = 3


class Tensor(IntEnum):
    """Slots of a value or constant."""

    SHAPE = 0
    TYPE = 1
    BUFFER = 2
    NAME = 3
    QUANTIZATION = 4
    EXTERNAL_BUFFER = 10


class QuantizationParameters(IntEnum):
    """Slots of a tensor's scales."""

    SCALE = 2
    ZERO_POINT = 3
    QUANTIZED_DIMENSION = 6


class Operator(IntEnum):
    """Slots of one computation."""

    OPCODE_INDEX = 0
    INPUTS = 1
    OUTPUTS = 2
    BUILTIN_OPTIONS = 4


class Metadata(IntEnum):
    """Slots of a named buffer."""

    NAME = 0
    BUFFER = 1


class SignatureDef(IntEnum):
    """Slots of a signature."""

    INPUTS = 0
    OUTPUTS = 1
    SIGNATURE_KEY = 2
    SUBGRAPH_INDEX = 4


class TensorMap(IntEnum):
    """Slots of a signature's input or output."""

    NAME = 0
    TENSOR_INDEX = 1


class Conv2DOptions(IntEnum):
    """Slots of a convolution's options."""

    PADDING = 0
    STRIDE_W = 1
    STRIDE_H = 2
    DILATION_W_FACTOR = 4
    DILATION_H_FACTOR = 5


class DepthwiseConv2DOptions(IntEnum):
    """Slots of a depthwise convolution's options."""

    PADDING = 0
    STRIDE_W = 1
    STRIDE_H = 2
    DEPTH_MULTIPLIER = 3
    DILATION_W_FACTOR = 5
    DILATION_H_FACTOR = 6


class Pool2DOptions(IntEnum):
    """Slots of a pool's options."""

    PADDING = 0
    STRIDE_W = 1
    STRIDE_H = 2
    FILTER_WIDTH = 3
    FILTER_HEIGHT = 4


class FullyConnectedOptions(IntEnum):
    """Slots of a dense layer's options."""

    KEEP_NUM_DIMS = 2


class ConcatenationOptions(IntEnum):
    """Slots of a join's options."""

    AXIS = 0


class ReducerOptions(IntEnum):
    """Slots of the options of sums, means and extremes along axes."""

    KEEP_DIMS = 0


class Padding(IntEnum):
    """TensorFlow's two ways to pad."""

    SAME = 0
    VALID = 1


class TensorType(IntEnum):
    """The types that kexport or the converter writes."""

    FLOAT32 = 0
    FLOAT16 = 1
    INT32 = 2
    UINT8 = 3
    INT64 = 4
    BOOL = 6
    INT16 = 7
    INT8 = 9
    FLOAT64 = 10


class BuiltinOperator(IntEnum):
    """The operators that kexport writes or looks for."""

    ADD = 0
    AVERAGE_POOL_2D = 1
    CONCATENATION = 2
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    DEQUANTIZE = 6
    FLOOR = 8
    FULLY_CONNECTED = 9
    LOGISTIC = 14
    MAX_POOL_2D = 17
    MUL = 18
    RELU = 19
    RELU_N1_TO_1 = 20
    RELU6 = 21
    RESHAPE = 22
    RESIZE_BILINEAR = 23
    SOFTMAX = 25
    TANH = 28
    PAD = 34
    TRANSPOSE = 39
    MEAN = 40
    SUB = 41
    DIV = 42
    SQUEEZE = 43
    EXP = 47
    CAST = 53
    PRELU = 54
    MAXIMUM = 55
    MINIMUM = 57
    LESS = 58
    NEG = 59
    PADV2 = 60
    GREATER = 61
    GREATER_EQUAL = 62
    LESS_EQUAL = 63
    SLICE = 65
    SIN = 66
    TRANSPOSE_CONV = 67
    EXPAND_DIMS = 70
    EQUAL = 71
    NOT_EQUAL = 72
    LOG = 73
    SUM = 74
    SQRT = 75
    RSQRT = 76
    POW = 78
    REDUCE_PROD = 81
    REDUCE_MAX = 82
    REDUCE_MIN = 89
    SQUARE = 92
    RESIZE_NEAREST_NEIGHBOR = 97
    LEAKY_RELU = 98
    ABS = 101
    CEIL = 104
    COS = 108
    ELU = 111
    QUANTIZE = 114
    ROUND = 116
    HARD_SWISH = 117
    SELECT_V2 = 123
    BATCH_MATMUL = 126
    GELU = 150
    SIGN = 158
