"""What helps a file that was not published, where the same command again would not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kexport import machine
from kexport.quantization.kernels.pairs import LARGEST_SUM
from kexport.records import QuantizationRecord
from kexport.records.recipe import LayerKernels, Recipe
from kexport.specs import Boundary, Cell, Kernels, Scheme

_FINER = {Scheme.FLOAT32: None, Scheme.FLOAT16: Scheme.FLOAT32}
"""The scheme that loses less than one; of those that are quantized it is float16."""

_SATURATING = "onnxruntime"


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Why a file fails beyond what was measured of it, and what to type instead; empty where nothing is known."""

    why: tuple[str, ...] = ()
    hint: str = ""


def of(cell: Cell, quantized: QuantizationRecord | None, *, runtime: str, differs: bool, loses: bool) -> Remedy:
    """For a file that ``differs`` from Keras in ``runtime``, or ``loses`` more than its bounds on evaluation data."""
    portable = _portable(cell, quantized) if runtime == _SATURATING else ""
    if portable and (differs or loses):
        return Remedy(why=(_saturated(quantized),), hint=portable)
    return Remedy(hint=of_accuracy(cell)) if differs or loses else Remedy()


def _portable(cell: Cell, quantized: QuantizationRecord | None) -> str:
    """What gives kernels that this processor computes as others do; empty where it does, or they are such."""
    if quantized is None or not machine.saturates():
        return ""
    if max(quantized.largest_pair_sums.values(), default=0) <= LARGEST_SUM:
        return ""
    used = quantized.recipe or Recipe()
    if any(rule.kernels is LayerKernels.FULL for rule in used.rules):
        return f'kernels = "portable" in the rules of {cell.recipe}'
    full = cell.kernels is Kernels.FULL or used.kernels is LayerKernels.FULL
    return f"--kernels {Kernels.PORTABLE}" if full else ""


def _saturated(quantized: QuantizationRecord | None) -> str:
    """The note of `kexport.quantization.quantize.noted`, in short."""
    assert quantized is not None
    most = max(quantized.largest_pair_sums.values())
    return (
        "this CPU has no VNNI and saturates in ONNX Runtime: neighbours in a sum add up to "
        f"{most}, at most {LARGEST_SUM} would fit"
    )


def of_accuracy(cell: Cell) -> str:
    """Options in which a file keeps what this one lost; empty where no scheme loses less."""
    if cell.float16_biases:
        return "the same without --float16-biases"
    finer = _FINER.get(cell.scheme, Scheme.FLOAT16)
    if finer is None:
        return ""
    measured = "" if cell.max_latency_ratio is None or finer is Scheme.FLOAT32 else f"{Scheme.FLOAT32},"
    without = ", ".join(_of_int8(cell))
    return f"--schemes {measured}{finer}" + (f", without {without}" if without else "")


def _of_int8(cell: Cell) -> Iterator[str]:
    """Options of a cell that are refused where no file is in int8."""
    given = {
        "--keep-float": bool(cell.keep_float),
        "--recipe": cell.recipe is not None,
        "--kernels": cell.kernels is not None,
        "--integer-head": cell.integer_head,
        "--io": cell.io is not Boundary.FLOAT32,
    }
    yield from (flag for flag, is_given in given.items() if is_given)
