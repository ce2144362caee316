"""``--float16-biases``: biases in the type of their kernels, where that is float16, through the whole run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport.errors import UsageError
from kexport.formats.tflite import runtime_version
from kexport.options import ExportOptions
from kexport.pipeline import remedies, reproduce
from kexport.pipeline.requests import cells
from kexport.records import Record, Status
from kexport.sources.names import select
from kexport.specs import Cell, Format, Scheme

LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@pytest.fixture(scope="module")
def model() -> Any:
    """Every kind of layer with a kernel, with biases and without; pixels that are scaled each in its own way."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input((16, 16, 3))
    value = layers.Normalization(mean=[3.0, 50.0, 100.0], variance=[4.0, 900.0, 2500.0])(image)
    value = layers.Conv2D(8, 3, padding="same", activation="relu", bias_initializer="random_normal")(value)
    value = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(value)
    value = layers.Conv2DTranspose(8, 3, strides=2, padding="same", bias_initializer="random_normal")(value)
    value = layers.Conv2D(8, 1, bias_initializer="random_normal")(value)
    value = layers.GlobalAveragePooling2D()(value)
    return keras.Model(image, layers.Dense(5, bias_initializer="random_normal")(value), name="biased")


def export(model: Any, folder: Path, **more: Any) -> Record:
    (record,) = kexport.export(model, formats="tflite", schemes="float16", output=folder, **more)
    assert record.status is Status.PASS
    assert record.artifact is not None
    return record


def types(path: Path) -> list[tuple[str, str]]:
    """Of the kernel and the bias of every layer, as they are stored, in order."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    kinds = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    (graph,) = whole.subgraphs
    builtin = [names[each.builtinCode] for each in whole.operatorCodes]
    behind = {each.outputs[0]: each.inputs[0] for each in graph.operators if builtin[each.opcodeIndex] == "DEQUANTIZE"}
    found = []
    for each in graph.operators:
        if (name := builtin[each.opcodeIndex]) in LINEAR:
            bias = 3 if name == "TRANSPOSE_CONV" else 2
            both = (behind.get(each.inputs[place], each.inputs[place]) for place in (1, bias))
            kernel, added = (kinds[graph.tensors[place].type] for place in both)
            found.append((kernel, added))
    return found


def test_biases_have_the_type_of_their_kernels(model: Any, tmp_path: Path) -> None:
    usual, half = export(model, tmp_path / "usual"), export(model, tmp_path / "half", float16_biases=True)
    before, after = (types(path) for path in (place(usual, tmp_path / "usual"), place(half, tmp_path / "half")))
    assert ("FLOAT16", "FLOAT32") in before
    assert len(before) == len(after) >= 5
    assert {kernel == bias for kernel, bias in after} == {True}
    assert [kernel for kernel, _ in before] == [kernel for kernel, _ in after], "kernels are as before"
    assert half.artifact is not None
    assert half.artifact.float16_biases
    assert "float16_biases=True" in half.reproduce
    assert "float16_biases" not in usual.reproduce


def place(record: Record, folder: Path) -> Path:
    assert record.artifact is not None
    return folder / record.artifact.path


def test_the_delegate_still_takes_everything_and_the_runtime_is_no_newer(model: Any, tmp_path: Path) -> None:
    usual, half = export(model, tmp_path / "usual"), export(model, tmp_path / "half", float16_biases=True)
    assert usual.parity is not None
    assert half.parity is not None
    for record in (usual, half):
        assert re.search(r"XNNPACK \((\d+) of \1 operators\)", record.parity.effective)  # type: ignore[union-attr]
    assert runtime_version.NAME.encode() in place(half, tmp_path / "half").read_bytes()


def test_a_record_is_reproduced_with_it(model: Any, tmp_path: Path) -> None:
    made = export(model, tmp_path, float16_biases=True)
    assert reproduce.cell_of(made, built=False).float16_biases


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"formats": (Format.ONNX,), "schemes": (Scheme.FLOAT16,)}, "onnx float16"),
        ({"formats": (Format.TFLITE,)}, "tflite float32"),
        ({"target": ("portable",)}, "onnx float32"),
    ],
)
def test_it_is_refused_where_no_file_has_kernels_in_float16(more: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(float16_biases=True, **more)
    assert caught.value.message.startswith(f"--float16-biases with {named}")
    assert caught.value.message.endswith("expected tflite float16, whose kernels are float16 and biases float32")
    assert caught.value.hint == "--formats tflite --schemes float16"


def asked(**typed: Any) -> tuple[Cell, ...]:
    return cells(select(["MobileNet"]), ExportOptions(weights="random:0", **typed))


def test_only_those_files_have_it() -> None:
    formats, schemes = (Format.ONNX, Format.TFLITE), (Scheme.FLOAT32, Scheme.FLOAT16)
    made = asked(formats=formats, schemes=schemes, float16_biases=True)
    assert {(each.format, each.scheme) for each in made if each.float16_biases} == {(Format.TFLITE, Scheme.FLOAT16)}
    assert len(made) == 4


def test_a_file_that_loses_too_much_is_told_to_go_without() -> None:
    (cell,) = asked(formats=(Format.TFLITE,), schemes=(Scheme.FLOAT16,), float16_biases=True)
    assert remedies.of_accuracy(cell) == "the same without --float16-biases"


def test_a_bias_that_float16_cannot_hold(tmp_path: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3))
    large = keras.initializers.Constant(np.float32(1e5))
    value = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, bias_initializer=large)(image))
    (record,) = kexport.export(
        keras.Model(image, value, name="large"), formats="tflite", schemes="float16", output=tmp_path,
        float16_biases=True,
    )  # fmt: skip
    assert record.status is Status.UNSUPPORTED
    assert "float16 ends at 65504" in record.reason


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "SimpleRNN"])
def test_recurrent_layers_too(kind: str, tmp_path: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    steps = keras.Input((5, 4))
    value = getattr(layers, kind)(6, bias_initializer="random_normal")(steps)
    recurrent = keras.Model(steps, layers.Dense(3)(value), name=kind.lower())
    record = export(recurrent, tmp_path, float16_biases=True)
    found = types(place(record, tmp_path))
    assert len(found) > 1
    assert set(found) == {("FLOAT16", "FLOAT16")}
