"""Operations that walk along a sequence, and convolutions of volumes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kexport.operations.base import Activation, Operation, Pair, Shape, Weights, count, require, static


class Cell(StrEnum):
    """What is computed at each step, and how many gates lie side by side in its kernels."""

    LSTM = "lstm"  # input, forget, cell, output (Hochreiter and Schmidhuber 1997)
    GRU = "gru"  # update, reset, candidate (Cho et al. 2014)
    SIMPLE = "simple"

    @property
    def gates(self) -> int:
        """How many."""
        return {Cell.LSTM: 4, Cell.GRU: 3, Cell.SIMPLE: 1}[self]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recurrent(Operation):
    """A recurrent layer over ``(N, T, C)``: its output at every step, ``(N, T, units)``.

    Kernels are ``(C, gates * units)`` and ``(units, gates * units)``, gates in the order of `Cell`; ``inner_bias``
    belongs to the recurrent product. A GRU with ``reset_after`` applies its reset gate behind that product.
    ``backwards`` begins at the last step; the results stay in the order of the input. States begin at zero, or
    as further inputs ``(N, units)`` say: the output, then the cell of an LSTM. ``cells`` gives the cell of an LSTM
    behind its last step, ``(N, 1, units)``, instead of its outputs.
    """

    cell: Cell
    kernel: Weights
    recurrent: Weights
    bias: Weights
    inner_bias: Weights
    activation: Activation | None = Activation.TANH
    gate: Activation | None = Activation.SIGMOID
    backwards: bool = False
    reset_after: bool = False
    cells: bool = False

    @property
    def units(self) -> int:
        """Length of the output and of each state."""
        return int(self.recurrent.shape[0])

    def infer(self, *inputs: Shape) -> Shape:
        value, *states = inputs
        wide = self.cell.gates * self.units
        require(len(value) == 3, f"takes sequences (N, T, C), got shape {value}")
        require(self.kernel.shape == (static(value[2]), wide), f"kernel {self.kernel.shape} for {value}")
        require(self.recurrent.shape == (self.units, wide), f"recurrent kernel {self.recurrent.shape}")
        require(self.bias.shape == self.inner_bias.shape == (wide,), f"biases must be ({wide},)")
        wanted = 2 if self.cell is Cell.LSTM else 1
        require(len(states) in (0, wanted), f"takes no or {wanted} states, got {len(states)}")
        require(all(state == (value[0], self.units) for state in states), f"states {states} of {self.units} units")
        return (value[0], 1 if self.cells else value[1], self.units)


Triple = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv3d(Operation):
    """3-D cross-correlation over ``(N, D, H, W, C)``; the kernel is ``(depth, height, width, in, out)``."""

    kernel: Weights
    bias: Weights | None = None
    strides: Triple = (1, 1, 1)
    padding: tuple[Pair, Pair, Pair] = ((0, 0), (0, 0), (0, 0))
    dilation: Triple = (1, 1, 1)

    def infer(self, *inputs: Shape) -> Shape:
        (value,) = count(inputs, 1)
        require(len(value) == 5, f"takes volumes (N, D, H, W, C), got shape {value}")
        require(value[4] == self.kernel.shape[3], f"{value[4]} channels, kernel wants {self.kernel.shape[3]}")
        require(self.bias is None or self.bias.shape == self.kernel.shape[4:], "bias and kernel differ in length")
        extent = []
        for axis in range(3):
            window = (self.kernel.shape[axis] - 1) * self.dilation[axis] + 1
            free = static(value[1 + axis]) + sum(self.padding[axis]) - window
            require(free >= 0, f"kernel {self.kernel.shape} is larger than the padded volume {value}")
            extent.append(free // self.strides[axis] + 1)
        return (value[0], *extent, int(self.kernel.shape[4]))
