"""What tests of models of one's own share: a source through the worker's tasks, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kexport.errors import KexportError
from kexport.pipeline.cells import failed
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Failure
from kexport.pipeline.tasks.cell import CellRequest, make_cell
from kexport.pipeline.tasks.prepare import PrepareRequest, prepare, prepare_live
from kexport.records import Record, Status
from kexport.specs import Cell, Engine, Format, ModelSpec, WeightsSpec

ALL = (Format.ONNX, Format.TFLITE, Format.SAVEDMODEL)
OWN = WeightsSpec(kind="model")


def of_file(path: Path, **options: Any) -> ModelSpec:
    return ModelSpec(file=str(path), weights=OWN, **options)


def saved(model: Any, folder: Path, **options: Any) -> ModelSpec:
    model.save(folder / "mine.keras")
    return of_file(folder / "mine.keras", **options)


def exported(
    spec: ModelSpec, folder: Path, formats: tuple[Format, ...] = ALL, *, live: Any = None, **options: Any
) -> list[Record]:
    """One record per format: the tasks of the worker, without processes of their own. ``live`` is the model itself."""
    work, out = folder / "work", folder / "out"
    work.mkdir()
    out.mkdir(exist_ok=True)
    cells = tuple(Cell(model=spec, format=form, **options) for form in formats)
    images = options.get("calibration")
    request = PrepareRequest(
        model=spec, folder=str(work), cells=cells, calibration=images, calibrated=images is not None
    )
    if live is None:
        prepare(request, Clock())
    else:
        prepare_live(live, request, Clock())
    return [_cell(cell, work, out) for cell in cells]


def _cell(cell: Cell, work: Path, out: Path) -> Record:
    request = CellRequest(cell=cell, folder=str(work), directory=str(out), reproduce="again")
    try:
        return make_cell(request, Clock())
    except KexportError as error:
        return failed(cell, Failure(kind=type(error).__name__, message=error.message, hint=error.hint), out)


def passed(records: list[Record], *, engine: Engine = Engine.NATIVE) -> None:
    """Parity holds, and the native writers made ONNX and TFLite unless another engine is said."""
    assert [(record.format, record.status, record.reason) for record in records] == [
        (record.format, Status.PASS, "") for record in records
    ]
    for record in records:
        assert record.artifact is not None
        if record.format != Format.SAVEDMODEL:
            assert record.artifact.engine == engine, record.artifact.engine_reason
