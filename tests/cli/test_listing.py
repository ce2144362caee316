"""``kexport list``."""

from __future__ import annotations

import json

import pytest

from kexport.catalog import APPLICATIONS


def test_models_as_a_table(call) -> None:  # type: ignore[no-untyped-def]
    ended = call("list")
    lines = ended.out.splitlines()
    assert (ended.code, ended.err, len(lines)) == (0, "", 41)
    assert lines[0].split()[:4] == ["name", "family", "input", "pixels"]
    assert lines[4].split() == [
        "ResNet50",
        "resnet",
        "caffe",
        "224",
        "25,636,712",
        "107",
        "74.9",
        "92.1",
        "98.0",
        "58.2",
        "4.6",
    ]
    assert lines[-1].split()[-4:] == ["-", "-", "-", "-"]  # MobileNetV3Large is not in the published table


def test_models_as_json(call) -> None:  # type: ignore[no-untyped-def]
    rows = json.loads(call("list", "models", "--json").out)
    assert [row["name"] for row in rows] == [row.name for row in APPLICATIONS]
    assert rows[0]["parameters"] == 22910480


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("formats", "savedmodel  float32"),
        ("schemes", "float16  onnx,tflite"),
        ("engines", "tf2onnx"),
        ("targets", "android"),
        ("runtimes", "onnxruntime"),
    ],
)
def test_the_other_lists(call, kind: str, some: str) -> None:  # type: ignore[no-untyped-def]
    ended = call("list", kind)
    assert ended.code == 0
    assert some in ended.out
    assert json.loads(call("list", kind, "--json").out)


def test_unknown_list(call) -> None:  # type: ignore[no-untyped-def]
    ended = call("list", "model")
    assert (ended.code, ended.err) == (
        2,
        "error: unknown list 'model': did you mean models?\nhint: kexport list --help\n",
    )
