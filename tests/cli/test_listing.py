"""``kexport list``."""

from __future__ import annotations

import json

import pytest

from kexport.sources.catalog import APPLICATIONS


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
        ("recipes", "float-gates"),
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


def test_layers_of_an_application(call) -> None:  # type: ignore[no-untyped-def]
    ended = call("list", "layers", "MobileNet")
    lines = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert lines[0].split() == ["layer", "class", "output", "parameters"]
    assert lines[1].split() == ["conv1", "Conv2D", "112x112x32", "864"]
    assert lines[-1].split() == ["predictions", "Activation", "1000", "0"]


def test_layers_of_a_nested_model_as_json(call, tmp_path) -> None:  # type: ignore[no-untyped-def]
    import keras

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="deep")], name="inner")
    keras.Sequential([keras.Input((4,)), inner], name="outer").save(tmp_path / "mine.keras")
    rows = json.loads(call("list", "layers", str(tmp_path / "mine.keras"), "--json").out)
    assert rows == [
        {"layer": "inner", "class": "Sequential", "output": "3", "parameters": 15, **shapes()},
        {"layer": "inner/deep", "class": "Dense", "output": "3", "parameters": 15, **shapes()},
    ]


def shapes() -> dict[str, object]:
    return {"input_shapes": [[None, 4]], "output_shapes": [[None, 3]]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["layers"], "kexport list layers takes one SOURCE, whose layers are listed"),
        (["formats", "VGG16"], "kexport list formats takes no SOURCE"),
        (["layers", "vgg"], "'vgg' names 2 models: VGG16, VGG19; expected one"),
        (["layers", "missing.keras"], "missing.keras does not exist; expected a .keras file"),
        (["layer", "VGG16"], "unknown list 'layer': did you mean layers?"),
    ],
)
def test_layers_of_what_is_not_there(call, arguments, message) -> None:  # type: ignore[no-untyped-def]
    ended = call("list", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {message}")


def test_layers_of_a_damaged_file(call, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.keras").write_bytes(b"nothing")
    ended = call("list", "layers", str(tmp_path / "mine.keras"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: model {tmp_path / 'mine.keras'}: neither a .keras archive nor an HDF5 file")
