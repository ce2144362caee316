"""Trained weights and photographs in int8: little is lost, and both files lose the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import kexport
from kexport.records import Record, Status
from kexport.specs import ModelSpec, WeightsSpec
from tests.test_real_data import (  # noqa: F401 - lab data, or skipped with the reason
    LAB,
    MODELS,
    classified,
    keras_top,
    pytestmark,
    ten,
)

MOST_POINTS = {"MobileNet": 0.5, "MobileNetV3Small": 1.0}
CHANCE_POINTS = 1.5
"""How far the drop on 400 photographs moves between equally good plans: twice its standard error."""
LEAST_DB = {"MobileNet": 20.0, "MobileNetV3Small": 12.0}


def photographs(folder: Path) -> tuple[Path, Path]:
    """The classes divisible by ten to calibrate with, and a table of the others with their classes."""
    paths = sorted((LAB / "images").glob("*.jpg"))
    (folder / "calibration").mkdir()
    for path in paths:
        if int(path.name[:4]) % 10 == 0:
            (folder / "calibration" / path.name).symlink_to(path.resolve())
    others = [path.resolve() for path in paths if int(path.name[:4]) % 10]
    (folder / "others.csv").write_text("".join(f"{path},{int(path.name[:4])}\n" for path in others))
    return folder / "calibration", folder / "others.csv"


@pytest.mark.parametrize("name", MODELS)
def test_int8_decides_as_keras_on_other_photographs(name: str, tmp_path: Path) -> None:
    file, alpha = MODELS[name]
    calibration, others = photographs(tmp_path)
    onnx, tflite = kexport.export(
        name, formats=("onnx", "tflite"), scheme="int8", weights=LAB / file, alpha=alpha, directory=tmp_path / "made",
        calibration=calibration, evaluation=others,
    )  # fmt: skip
    for record in (onnx, tflite):
        assert (record.status, record.reason) == (Status.PASS, "")
        assert record.accuracy is not None
        assert record.accuracy.images == 400
        assert record.accuracy.top1_agreement >= 0.9
        assert record.accuracy.top1_drop_points is not None
        assert record.accuracy.top1_drop_points <= MOST_POINTS[name] + CHANCE_POINTS
        assert record.accuracy.logits_sqnr_db is not None
        assert record.accuracy.logits_sqnr_db >= LEAST_DB[name]
        paths = ten(tmp_path)
        spec = ModelSpec(application=name, alpha=alpha, weights=WeightsSpec(kind="file", path=str(LAB / file)))
        assert record.artifact is not None
        seen, keras = classified(tmp_path / "made" / record.artifact.path, paths)[0], keras_top(spec, paths[:-1])
        assert sum(one[0] == two[0] for one, two in zip(seen, keras, strict=True)) >= 8, "of nine that can be read"
        assert all(one[0] in two for one, two in zip(seen, keras, strict=True))
    assert abs(_drop(onnx) - _drop(tflite)) <= 1.0
    assert tflite.artifact is not None
    assert not [note for note in tflite.artifact.notes if "built-in kernels run" in note], "the delegate takes all"


def _drop(record: Record) -> float:
    assert record.accuracy is not None
    assert record.accuracy.top1_drop_points is not None
    return record.accuracy.top1_drop_points
