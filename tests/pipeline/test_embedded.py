"""``--embed-preprocessing`` from the request to the record: parity feeds pixels, the name and the record say it."""

from __future__ import annotations

from pathlib import Path

import pytest

import kexport
from kexport import api
from kexport.errors import UsageError
from kexport.options import ExportOptions
from kexport.pipeline import requests
from kexport.records import Status
from kexport.sources.names import select


def cells(**options: object) -> object:
    return requests.cells(select(["MobileNet"]), ExportOptions(embed_preprocessing=True, weights="random:0", **options))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"formats": ("savedmodel",)}, "does not write the graph of savedmodel"),
        ({"formats": ("onnx",), "engine": "tf2onnx"}, "does not write the graph of tf2onnx"),
        (
            {"formats": ("tflite",), "schemes": ("int8",), "calibration": "synthetic:0", "io": "int8"},
            "the input is uint8 pixels",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_work(options: dict[str, object], told: str) -> None:
    from kexport.specs import Boundary, Format, Scheme

    typed = {
        "formats": lambda names: tuple(map(Format, names)),
        "schemes": lambda names: tuple(map(Scheme, names)),
        "io": Boundary,
    }
    with pytest.raises(UsageError, match=told):
        cells(**{name: typed.get(name, lambda value: value)(value) for name, value in options.items()})  # type: ignore[operator]


def test_both_formats_float_and_int8(tmp_path: Path) -> None:
    records = kexport.export(
        "MobileNet", alpha=0.25, input_shape=(64, 64, 3), classes=7, weights="random:0", formats="onnx,tflite",
        schemes="float32,int8", calibration="synthetic:0", embed_preprocessing=True, output=tmp_path,
    )  # fmt: skip
    assert [(record.status, record.reason) for record in records] == [(Status.PASS, "")] * 4
    for record in records:
        assert record.artifact is not None
        assert record.source is not None
        assert record.source.preprocessing is not None
        assert "-embedded" in record.artifact.path
        assert record.artifact.inputs[0].dtype == "uint8"
        assert record.source.options["embed_preprocessing"] is True
        assert (record.source.preprocessing.mode, record.source.preprocessing.basis.split(";")[0]) == (
            "raw",
            "in the graph: tf, RGB",
        )
        assert not any("no standard TFLite metadata" in note for note in record.artifact.notes)
        assert "--embed-preprocessing" in record.reproduce
        inside = api.inspect(tmp_path / record.artifact.path)
        assert inside.contract == record.source.preprocessing
    assert [record.status for record in kexport.parity(tmp_path)] == [Status.PASS] * 4
