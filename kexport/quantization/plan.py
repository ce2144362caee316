"""The quantization plan: which numbers an int8 file holds. One plan serves every format.

Activations are affine int8 per tensor, ``real = scale * (q - zero_point)`` with q in [-128, 127]; kernels
are symmetric int8 per output channel, in [-127, 127]; biases are int32 at ``input scale * kernel scale``
(the scheme of Jacob et al. 2018 as LiteRT's quantization specification fixes it). A file may store ``q + 128``
instead: ONNX Runtime's integer kernels for x86 take unsigned activations.

Saturation does the clipping: a value behind relu or relu6 has, unless it shares its scale with others, a range
inside [0, inf) or [0, 6], so that no operator is needed for the activation. A node computes in int8, or in float32
between conversions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from kexport.errors import GraphError
from kexport.graph import Graph, Node
from kexport.operations import (
    Activate,
    Activation,
    Add,
    Clip,
    Concat,
    Conv,
    Crop,
    Dense,
    GlobalPool,
    Multiply,
    Operation,
    Pad,
    Pool,
    PoolKind,
    Reshape,
    ScaleShift,
)

LOWEST, HIGHEST, KERNEL_LARGEST = -128, 127, 127


class Precision(StrEnum):
    """How a node computes."""

    INT8 = "int8"  # int8 inputs, int8 output
    WEIGHTS = "int8-weights"  # Conv or Dense: an int8 kernel; inputs, bias, arithmetic and output are float32
    FLOAT32 = "float32"


@dataclass(frozen=True, kw_only=True)
class Affine:
    """How a value is stored in int8: ``real = scale * (q - zero_point)``."""

    scale: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0 and np.float32(self.scale) == self.scale):
            raise GraphError(f"scale {self.scale!r}: expected a positive float32")
        if not LOWEST <= self.zero_point <= HIGHEST:
            raise GraphError(f"zero point {self.zero_point}: expected {LOWEST} to {HIGHEST}")

    @property
    def low(self) -> float:
        """The smallest real number that can be stored."""
        return self.scale * (LOWEST - self.zero_point)

    @property
    def high(self) -> float:
        """The largest real number that can be stored."""
        return self.scale * (HIGHEST - self.zero_point)

    def quantize(self, real: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
        """Round half to even, saturate (as ONNX QuantizeLinear)."""
        numbers: npt.NDArray[np.float32] = np.asarray(np.asarray(real, np.float32) / np.float32(self.scale))
        np.rint(numbers, out=numbers)
        numbers += np.float32(self.zero_point)
        stored: npt.NDArray[np.int8] = np.clip(numbers, LOWEST, HIGHEST, out=numbers).astype(np.int8)
        return stored

    def dequantize(self, stored: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """The real numbers."""
        real = np.asarray(stored.astype(np.float32))
        real -= np.float32(self.zero_point)
        real *= np.float32(self.scale)
        return real


PROBABILITY = Affine(scale=1 / 256, zero_point=LOWEST)  # [0, 255/256]: what LiteRT fixes for LOGISTIC and SOFTMAX


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernel:
    """The int8 weights of a Conv or Dense.

    ``numbers`` has the shape of the float kernel, ``scales`` is float32 ``(out,)``; ``bias`` is int32
    ``(out,)`` at ``input scale * scales`` for an INT8 node, None for a WEIGHTS node (whose bias stays float).
    """

    numbers: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.numbers.dtype != np.int8 or int(np.abs(self.numbers.astype(np.int16)).max(initial=0)) > KERNEL_LARGEST:
            raise GraphError(f"an int8 kernel holds -127 to 127, got {self.numbers.dtype}")
        if self.scales.shape != self.numbers.shape[-1:] or not np.all(np.isfinite(self.scales) & (self.scales > 0)):
            raise GraphError("the kernel needs one positive scale per output channel")
        if self.bias is not None and (self.bias.dtype != np.int32 or self.bias.shape != self.scales.shape):
            raise GraphError("the bias needs one int32 per output channel")

    def dequantize(self) -> npt.NDArray[np.float32]:
        """The real kernel, float32, in the float kernel's shape."""
        real: npt.NDArray[np.float32] = self.numbers.astype(np.float32) * self.scales
        return real


SAME_SCALE = (Pool, Pad, Crop, Reshape, Concat, Clip)
"""Operations that move or compare stored numbers: inputs and output share one `Affine` (as LiteRT demands)."""

INT8_OPERATIONS = (Conv, Dense, GlobalPool, Add, Multiply, ScaleShift, Activate, *SAME_SCALE)
ACTIVATIONS = frozenset({Activation.SIGMOID, Activation.RELU, Activation.RELU6})


def has_int8_form(operation: Operation) -> bool:
    """Whether both runtimes compute the operation on int8 numbers.

    Add takes two inputs; ScaleShift adds one constant (scale 1, equal offsets); a global pool averages; the
    padding of an average pool never counts, which int8 averages do alike.
    """
    if isinstance(operation, Activate):
        return operation.function in ACTIVATIONS
    if isinstance(operation, GlobalPool):
        return operation.kind is PoolKind.AVERAGE
    if isinstance(operation, ScaleShift):
        return bool(np.all(operation.scale == 1.0)) and bool(np.all(operation.offset == operation.offset[0]))
    return isinstance(operation, INT8_OPERATIONS)


def shares_scale(operation: Operation) -> bool:
    """Whether inputs and output must have one `Affine`: moves, maxima, clips and rectifiers."""
    rectifier = isinstance(operation, Activate) and operation.function in (Activation.RELU, Activation.RELU6)
    return isinstance(operation, SAME_SCALE) or rectifier


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantPlan:
    """A graph and its numbers.

    ``graph`` is rewritten for int8, equal to the model in float32, and its float biases are the corrected ones.
    ``values`` gives the `Affine` of every value that an INT8 node reads or makes; ``kernels`` the weights of every
    INT8 and WEIGHTS Conv and Dense; ``precisions`` names each node that is not FLOAT32. A writer stores a value as
    int8 if its node is INT8; it converts a float value once for all INT8 readers, and an int8 value once for
    all float readers. ``notes`` are for the record.
    """

    graph: Graph
    values: Mapping[str, Affine]
    kernels: Mapping[str, Kernel]
    precisions: Mapping[str, Precision]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for node in self.graph:
            precision = self.precision(node.name)
            if precision is Precision.INT8:
                self._check_int8(node)
            if precision is not Precision.FLOAT32 and isinstance(node.operation, (Conv, Dense)):
                self._check_kernel(node, node.operation)

    def precision(self, name: str) -> Precision:
        """The precision of a node; of a graph input FLOAT32."""
        return self.precisions.get(name, Precision.FLOAT32)

    @property
    def float_layers(self) -> tuple[str, ...]:
        """The nodes with a kernel whose weights stay float32."""
        weighted = (node.name for node in self.graph if getattr(node.operation, "kernel", None) is not None)
        return tuple(name for name in weighted if name not in self.kernels)

    def stored_int8(self, value: str) -> bool:
        """Whether the value is int8 where it is made."""
        return self.precision(value) is Precision.INT8

    def _check_int8(self, node: Node) -> None:
        missing = [value for value in (*node.inputs, node.name) if value not in self.values]
        if missing:
            raise GraphError(f"int8 node {node.name!r}: value {missing[0]!r} has no scale")
        if not has_int8_form(node.operation) or (isinstance(node.operation, Add) and len(node.inputs) != 2):
            raise GraphError(f"node {node.name!r}: {type(node.operation).__name__} has no int8 form")
        made = self.values[node.name]
        if shares_scale(node.operation) and any(self.values[value] != made for value in node.inputs):
            raise GraphError(f"int8 node {node.name!r}: {type(node.operation).__name__} must keep its input's scale")
        if (
            isinstance(node.operation, Activate)
            and node.operation.function is Activation.SIGMOID
            and made != PROBABILITY
        ):
            raise GraphError(f"int8 node {node.name!r}: a sigmoid is stored at 1/256 from -128")

    def saturates(self, node: Node) -> bool:
        """Whether the stored range of an INT8 node ends where its activation clips, so that it costs nothing.

        Where it does not (the value shares its scale with others), the writer has to clip.
        """
        made, (low, high) = self.values[node.name], bounds_of(node.operation)
        slack = 1e-5 * max(abs(made.low), abs(made.high))
        return made.low >= low - slack and made.high <= high + slack

    def _check_kernel(self, node: Node, operation: Conv | Dense) -> None:
        kernel = self.kernels.get(node.name)
        if kernel is None or kernel.numbers.shape != operation.kernel.shape:
            raise GraphError(f"node {node.name!r}: no int8 kernel of shape {operation.kernel.shape}")
        if (kernel.bias is None) is (self.precision(node.name) is Precision.INT8):
            raise GraphError(f"node {node.name!r}: an int8 node has an int32 bias, a weights-only node has none")


def bounds_of(operation: Operation) -> tuple[float, float]:
    """The reals between which the operation's activation keeps its result."""
    if isinstance(operation, Clip):
        return operation.minimum, operation.maximum
    activation = operation.function if isinstance(operation, Activate) else getattr(operation, "activation", None)
    if activation is Activation.RELU6:
        return 0.0, 6.0
    if activation is not None and activation.non_negative:
        return 0.0, np.inf
    return -np.inf, np.inf
