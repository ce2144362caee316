"""What one consumer made of one file: right, wrong, refused, crashed or slow, by kexport's bounds against Keras."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kexport.evidence import parity, tolerances
from kexport.sources import catalog
from kexport.sources.answered import Reference
from tests.consumers.artifacts import HEAD, File
from tests.consumers.consumer import Consumer


@dataclass(frozen=True, kw_only=True)
class Cell:
    """``state`` is right, wrong, refused, crashed or slow; ``told`` what the consumer said or by how much it is off."""

    consumer: str
    version: str
    network: str
    format: str
    scheme: str
    sha256: str
    state: str
    told: str = ""
    sqnr_db: float | None = None
    agreement: float | None = None
    seconds: float | None = None


def judged(file: File, reference: Reference, answers: np.ndarray) -> dict[str, Any]:
    """Right where every bound holds that the file itself was held to in its own runtime."""
    [(name, expected)] = reference.outputs.items()
    if answers.size != expected.size:
        return {"state": "wrong", "told": f"answers of shape {list(answers.shape)}, Keras gives {list(expected.shape)}"}
    assert file.record.source is not None
    outputs = {name: answers.reshape(expected.shape).astype(np.float32)}
    found = parity.compare(reference, outputs, activations=file.record.source.activations)
    family = catalog.application(file.network.application).family
    scheme = "int8" if file.scheme == HEAD else file.scheme
    checks = parity.judge(found, tolerances.load(file.format, scheme, family=family))
    told = "; ".join((*parity.failures(checks), *parity.unproven(found)))
    (one,) = found
    state = "right" if not told else "wrong"
    return {"state": state, "told": told, "sqnr_db": _number(one.sqnr_db), "agreement": _number(one.top1_agreement)}


def _number(value: float) -> float | None:
    return round(value, 2) if np.isfinite(value) else None


def made(file: File, consumer: Consumer, version: str, found: dict[str, Any]) -> Cell:
    """The cell of a file of kexport's and what was found of it."""
    assert file.record.artifact is not None
    return Cell(
        consumer=consumer.name,
        version=version,
        network=file.network.name,
        format=file.format,
        scheme=file.scheme,
        sha256=file.record.artifact.sha256,
        **found,
    )


def place(cache: Path, consumer: Consumer, file: File) -> Path:
    """Where the cell is kept, so that a later start goes on."""
    name = f"{file.format}-{file.scheme.replace(', ', '-').replace(' ', '-')}.json"
    return cache / "cells" / consumer.folder / file.network.name / name


def keep(cell: Cell, path: Path) -> None:
    """Written whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(json.dumps(asdict(cell), indent=1) + "\n")
    path.with_suffix(".new").rename(path)


def kept(path: Path, file: File) -> Cell | None:
    """What is kept of this very file."""
    if not path.exists():
        return None
    cell = Cell(**json.loads(path.read_text()))
    return cell if file.record.artifact and cell.sha256 == file.record.artifact.sha256 else None
