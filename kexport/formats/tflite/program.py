"""A TFLite model before it is bytes: tensors, constants that are not materialised yet, and instructions.

Built-in operators and their options are named as in the TFLite schema, so that only the module which
writes the flatbuffer meets the schema's generated classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.errors import UnsupportedError

Array = npt.NDArray[Any]
Sizes = tuple[int, ...]
FLOAT16_MAX = 65504.0
SMALL_BYTES = 4096  # constants up to here are compared by content, larger ones by identity

BLOCK_ROWS = 64
NON_NEGATIVE = frozenset({"RELU", "RELU6", "LOGISTIC", "SOFTMAX"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """Numbers of a file: ``array``, with its last axis first if so asked, cast to ``dtype`` while it is written."""

    name: str
    array: Array
    dtype: str
    last_first: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes in the file, without the length word."""
        return int(self.array.size) * np.dtype(self.dtype).itemsize

    def materialise(self) -> Array:
        """The numbers in file order: contiguous, little-endian. No copy where the source already is that.

        Raises UnsupportedError where a finite number has no finite float16.
        """
        if self.dtype == "float16":
            self._check_half_range()
        dtype = np.dtype(self.dtype).newbyteorder("<")
        if self.last_first:
            return _transposed(self.array.reshape(-1, self.array.shape[-1]), dtype)
        return np.ascontiguousarray(self.array, dtype=dtype)

    def _check_half_range(self) -> None:
        largest = max(float(self.array.max(initial=0.0)), -float(self.array.min(initial=0.0)))
        if np.isfinite(largest) and largest > FLOAT16_MAX:
            raise UnsupportedError(
                f"weights of {self.name!r} reach {largest:g}, float16 ends at {FLOAT16_MAX:g}",
                hint="export with --schemes float32",
            )


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """``real = scale * (stored - zero_point)``: one scale, or one for each index of ``axis``, each a float32."""

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of the subgraph. ``buffer`` 0 means computed at run time; buffer n is constant n - 1."""

    name: str
    shape: Sizes
    dtype: str = "float32"
    buffer: int = 0
    quantization: Quantization | None = None


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One built-in operator. ``options`` are fields of the schema table ``options_kind``; ``more`` further outputs."""

    builtin: str
    inputs: Sizes
    output: int
    version: int = 1
    options_kind: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    more: Sizes = ()


@dataclass(frozen=True, kw_only=True)
class Program:
    """A complete model. ``inputs`` and ``outputs`` map public names to tensor indices; ``metadata`` rides along.

    ``files`` follow the model as an archive.
    """

    name: str
    tensors: tuple[Tensor, ...]
    constants: tuple[Constant, ...]
    instructions: tuple[Instruction, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def buffers(self) -> tuple[Constant, ...]:
        """Everything that is streamed, in file order: the constants, then the metadata."""
        return self.constants + tuple(
            Constant(name=name, array=np.frombuffer(value, np.uint8), dtype="uint8")
            for name, value in self.metadata.items()
        )

    def operations(self) -> dict[str, int]:
        """How often each built-in operator occurs, by name."""
        names = [instruction.builtin for instruction in self.instructions]
        return {name: names.count(name) for name in sorted(set(names))}


class Assembler:
    """Collects tensors, constants and instructions; equal constants are kept once."""

    def __init__(self, *, half_weights: bool, half_biases: bool = False) -> None:
        self.half_weights, self.half_biases = half_weights, half_biases
        self.tensors: list[Tensor] = []
        self.constants: list[Constant] = []
        self.instructions: list[Instruction] = []
        self._buffers: dict[tuple[object, ...], int] = {}
        self._shared: dict[tuple[object, ...], int] = {}

    def tensor(
        self,
        name: str,
        *,
        shape: Sizes,
        dtype: str = "float32",
        buffer: int = 0,
        quantization: Quantization | None = None,
    ) -> int:
        """Adds a tensor and returns its index."""
        self.tensors.append(Tensor(name=name, shape=shape, dtype=dtype, buffer=buffer, quantization=quantization))
        return len(self.tensors) - 1

    def shape(self, tensor: int) -> Sizes:
        """The shape of a tensor that was added before."""
        return self.tensors[tensor].shape

    def non_negative(self, tensor: int) -> bool:
        """Whether the operator that makes ``tensor`` cannot give a number below zero."""
        makers = [each for each in self.instructions if each.output == tensor]
        return any(
            each.builtin in NON_NEGATIVE or each.options.get("fusedActivationFunction") in (1, 3) for each in makers
        )

    def emit(  # the schema's own names make the options: one keyword each
        self,
        builtin: str,
        inputs: Sizes,
        *,
        name: str,
        shape: Sizes,
        version: int = 1,
        kind: str = "",
        dtype: str = "float32",
        **options: object,
    ) -> int:
        """Adds an operator whose output is a new tensor ``name`` of ``shape``; returns that tensor."""
        output = self.tensor(name, shape=shape, dtype=dtype)
        self.instructions.append(
            Instruction(
                builtin=builtin, inputs=inputs, output=output, version=version, options_kind=kind, options=options
            )
        )
        return output

    def several(
        self, builtin: str, inputs: Sizes, outputs: Sequence[tuple[str, Sizes, str]], *, kind: str = ""
    ) -> tuple[int, ...]:
        """Adds an operator with more than one output, each a name, a shape and a type; returns those tensors."""
        made = tuple(self.tensor(name, shape=shape, dtype=dtype) for name, shape, dtype in outputs)
        self.instructions.append(
            Instruction(builtin=builtin, inputs=inputs, output=made[0], options_kind=kind, more=made[1:])
        )
        return made

    def declare(self, tensor: int, dtype: str, quantization: Quantization | None) -> int:
        """Gives a tensor, float32 when it was emitted, another type; returns it."""
        self.tensors[tensor] = replace(self.tensors[tensor], dtype=dtype, quantization=quantization)
        return tensor

    def constant(
        self,
        name: str,
        array: Array,
        *,
        shape: Sizes | None = None,
        last_first: bool = False,
        dtype: str = "float32",
        quantization: Quantization | None = None,
    ) -> int:
        """A constant tensor: ``array`` as `Constant` says, read as ``shape`` (default: its own)."""
        size = (array.shape[-1], *array.shape[:-1]) if last_first else tuple(array.shape)
        shown = size if shape is None else shape
        if prod(shown) != array.size:
            raise ValueError(f"constant {name!r} has {array.size} numbers, shape {shown} wants {prod(shown)}")
        buffer = self._buffer(Constant(name=name, array=array, dtype=dtype, last_first=last_first))
        key = (buffer, shown, dtype, quantization)
        if key not in self._shared:
            self._shared[key] = self.tensor(name, shape=shown, dtype=dtype, buffer=buffer, quantization=quantization)
        return self._shared[key]

    def indices(self, name: str, values: object) -> int:
        """A constant int32 tensor: axes, paddings, shapes."""
        return self.constant(name, np.asarray(values, dtype=np.int32), dtype="int32")

    def weights(self, name: str, array: Array, *, last_first: bool = False, shape: Sizes | None = None) -> int:
        """A kernel: float32, or float16 behind a DEQUANTIZE, which XNNPACK folds into the operator that reads it."""
        if not self.half_weights:
            return self.constant(name, array, last_first=last_first, shape=shape)
        stored = self.constant(f"{name}/float16", array, last_first=last_first, shape=shape, dtype="float16")
        key = ("dequantized", stored)
        if key not in self._shared:
            self._shared[key] = self.emit(
                "DEQUANTIZE", (stored,), name=name, shape=self.shape(stored), version=3, kind="DequantizeOptions"
            )
        return self._shared[key]

    def _buffer(self, constant: Constant) -> int:
        small = constant.size_bytes <= SMALL_BYTES
        key: tuple[object, ...] = (
            (constant.dtype, constant.materialise().tobytes())
            if small
            else (constant.dtype, id(constant.array), constant.last_first)
        )
        if key not in self._buffers:
            self.constants.append(constant)
            self._buffers[key] = len(self.constants)
        return self._buffers[key]


def _transposed(matrix: Array, dtype: np.dtype[Any]) -> Array:
    """The transpose, copied in blocks of rows that stay in cache: three times as fast as one strided copy."""
    result = np.empty(matrix.shape[::-1], dtype)
    for start in range(0, matrix.shape[0], BLOCK_ROWS):
        result[:, start : start + BLOCK_ROWS] = matrix[start : start + BLOCK_ROWS].astype(dtype, copy=False).T
    return result
