"""What helps a file that was not published, where the same command again would not."""

from __future__ import annotations

from collections.abc import Iterator

from kexport.specs import Boundary, Cell, Scheme

_FINER = {Scheme.FLOAT32: None, Scheme.FLOAT16: Scheme.FLOAT32}
"""The scheme that loses less than one; of those that are quantized it is float16."""


def of_accuracy(cell: Cell) -> str:
    """Options in which a file keeps what this one lost; empty where no scheme loses less."""
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
