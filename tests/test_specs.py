"""Requests that exist are legal; messages name the field, the value and what is right."""

from __future__ import annotations

import pytest

from kexport.errors import KexportError, UnknownNameError, UsageError
from kexport.specs import Cell, Format, ModelSpec, Scheme, WeightsSpec


@pytest.mark.parametrize("text", ["imagenet", "random:0", "random:123456789", "some/file.h5"])
def test_weights_are_written_as_they_are_read(text):
    assert str(WeightsSpec.parse(text)) == text


@pytest.mark.parametrize("text", ["random", "random:", "random:-1", "random:x", "random:1234567890", "random:1 "])
def test_a_seed_is_a_whole_number(text):
    with pytest.raises(UsageError, match="expected a whole number") as caught:
        WeightsSpec.parse(text)
    assert caught.value.hint == "--weights random:0"


@pytest.mark.parametrize(
    "fields",
    [{"kind": "imagenet", "seed": 1}, {"kind": "random"}, {"kind": "random", "seed": -1}, {"kind": "file"},
     {"kind": "file", "path": "a", "seed": 0}, {"kind": "other"}],
)  # fmt: skip
def test_weights_that_contradict_themselves_are_refused(fields):
    with pytest.raises(UsageError, match=r"weights '\w+' \(seed"):
        WeightsSpec(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": 0.0}, "alpha 0.0: expected a number above 0"),
        ({"alpha": float("nan")}, "alpha nan: expected a number above 0"),
        ({"classes": 0}, "classes 0: expected 1 or more"),
        ({"pooling": "mean"}, "pooling 'mean': expected avg or max"),
        ({"input_shape": (224, 0, 3)}, r"input shape \(224, 0, 3\): expected sizes of 1 or more"),
    ],
)
def test_illegal_model_options(fields, message):
    with pytest.raises(UsageError, match=message) as caught:
        ModelSpec(application="MobileNet", **fields)
    assert caught.value.hint


MODEL = ModelSpec(application="MobileNet")


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"opset": 12}, UsageError, "opset 12: kexport writes 13 to 22"),
        ({"opset": 23}, UsageError, "opset 23: kexport writes 13 to 22"),
        ({"batch": 0}, UsageError, "batch 0: expected 1 or more, or dynamic"),
        ({"engine": "tflite-converter"}, UnknownNameError, "unknown engine for onnx 'tflite-converter'"),
        (
            {"engine": "tf2onnx", "scheme": Scheme.FLOAT16},
            UsageError,
            "tf2onnx cannot write onnx float16, expected float32",
        ),
        (
            {"engine": "tf2onnx", "scheme": Scheme.DYNAMIC},
            UsageError,
            "tf2onnx cannot write onnx dynamic, expected float32",
        ),
    ],
)
def test_illegal_cells(fields, kind, message):
    with pytest.raises(KexportError, match=message) as caught:
        Cell(model=MODEL, format=Format.ONNX, **fields)
    assert type(caught.value) is kind


@pytest.mark.parametrize("kind", Format)
def test_every_format_has_engines_and_schemes_and_a_file_name(kind):
    for engine in kind.engine_names:
        for scheme in kind.schemes:
            if kind.refusal(engine, scheme):
                continue
            cell = Cell(model=MODEL, format=kind, engine=engine, scheme=scheme, calibration="synthetic:0")
            suffix = {"savedmodel": "-savedmodel"}.get(str(kind), f".{kind}")
            assert cell.file_name == f"MobileNet-{scheme}{suffix}"
            assert cell.label == f"MobileNet {kind} {scheme}"
