"""A quantization plan on disk: made once per model, read by the cells of every format.

A folder with the plan's graph (`graph_file`), ``numbers.npz`` (int8 kernels, scales, int32 biases) and ``plan.json``,
written last, so that its presence means that all is there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.documents import decode_as
from kexport.graph import file as graph_file
from kexport.quantization.plan import Affine, Kernel, Precision, QuantPlan

PLAN, NUMBERS = "plan.json", "numbers.npz"


@dataclass(frozen=True, kw_only=True)
class _Document:
    """What ``plan.json`` holds: scale and zero point of every value, and which nodes have int8 kernels."""

    values: dict[str, tuple[float, int]]
    kernels: tuple[str, ...]
    precisions: dict[str, Precision]
    notes: tuple[str, ...]


def save(plan: QuantPlan, folder: Path) -> None:
    """Write ``plan`` into an existing folder."""
    graph_file.save(plan.graph, folder)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, kernel in plan.kernels.items():
        arrays |= {f"numbers:{name}": kernel.numbers, f"scales:{name}": kernel.scales}
        if kernel.bias is not None:
            arrays[f"bias:{name}"] = kernel.bias
    with (folder / NUMBERS).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    document = {
        "values": {name: (affine.scale, affine.zero_point) for name, affine in plan.values.items()},
        "kernels": list(plan.kernels),
        "precisions": dict(plan.precisions),
        "notes": plan.notes,
    }
    (folder / PLAN).write_text(json.dumps(document))


def exists(folder: Path) -> bool:
    """Whether a whole plan lies in the folder."""
    return (folder / PLAN).is_file()


def load(folder: Path) -> QuantPlan:
    """Read a plan back; it is checked as when it was made. StoreError where the file is damaged."""
    path = folder / PLAN
    document: _Document = decode_as(_Document, path.read_bytes(), told=f"plan {path}")
    with np.load(folder / NUMBERS, allow_pickle=False) as arrays:
        kernels = {
            name: Kernel(
                numbers=arrays[f"numbers:{name}"],
                scales=arrays[f"scales:{name}"],
                bias=arrays.get(f"bias:{name}"),
            )
            for name in document.kernels
        }
    return QuantPlan(
        graph=graph_file.load(folder),
        values={name: Affine(scale=scale, zero_point=zero) for name, (scale, zero) in document.values.items()},
        kernels=kernels,
        precisions=document.precisions,
        notes=document.notes,
    )
