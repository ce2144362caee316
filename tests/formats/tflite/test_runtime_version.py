"""The oldest runtime of a file: as TensorFlow's converter tells it of its own, and known for all that we write."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport.formats.tflite import runtime_version
from kexport.images.seeded import seeded_images
from kexport.records import Record, Status
from tests.places import ROOT

FOLDER = ROOT / "kexport" / "formats" / "tflite"


def builtins() -> dict[str, int]:
    from ai_edge_litert import schema_py_generated as schema

    return {name: code for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def read(content: bytes) -> tuple[set[tuple[str, int]], str, int]:
    """Operators with their versions, the entry's text, and its size in bytes."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    names = {code: name for name, code in builtins().items()}
    operators = {(names[each.builtinCode], each.version) for each in model.operatorCodes}
    found = [
        bytes(model.buffers[each.buffer].data)
        for each in model.metadata
        if each.name.decode() == runtime_version.NAME  # bytes, as the schema's reader gives them
    ]
    assert len(found) == 1
    return operators, found[0].rstrip(b"\0").decode(), len(found[0])


def test_every_operator_that_is_written_is_known() -> None:
    """Whatever name of an operator stands in the writer's sources, a version behind it too where one is beside it."""
    known, named = set(runtime_version.SINCE), set()
    for path in FOLDER.rglob("*.py"):
        if path.parent.name in ("check", "engines") or path.name in ("runtime_version.py", "delegation.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in builtins():
                named.add(str(node.value))
    assert len(named) > 50
    assert named - known <= {"CUSTOM"}, "which is read in files of others, and written in none"
    assert known - set(builtins()) == set()


@pytest.mark.parametrize("place", ["operators", "int16"])
def test_versions_of_quantized_operators_are_known(place: str) -> None:
    import importlib

    module = importlib.import_module(f"kexport.formats.tflite.quantized.{place}")
    pairs = {*module.VERSIONS.items(), *getattr(module, "DYNAMIC_VERSIONS", {}).items()}
    assert all(runtime_version.needed({pair}) for pair in pairs)


@pytest.mark.parametrize(
    ("operators", "release"),
    [
        ({("CONV_2D", 1)}, "1.5.0"),
        ({("CONV_2D", 3), ("MEAN", 2)}, "1.14.0"),
        ({("CONV_2D", 5), ("RELU", 1)}, "2.4.0"),
        ({("CONV_2D", 1), ("PACK", 1)}, "1.11.0"),
        ({("DEQUANTIZE", 1)}, "1.13.1"),
        ({("TRANSPOSE", 7), ("TRANSPOSE", 6)}, "2.14.4"),
        ({("CONV_2D", 9)}, ""),
        ({("CONV_2D", 0)}, ""),
        ({("BROADCAST_TO", 1)}, ""),
        ({("CUSTOM", 1), ("CONV_2D", 1)}, ""),
        (set(), ""),
    ],
    ids=range(11),
)
def test_the_newest_of_all(operators: set[tuple[str, int]], release: str) -> None:
    assert runtime_version.needed(operators) == release


def network(activation: str) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    image = keras.Input((16, 16, 3))
    value = layers.Conv2D(8, 3, padding="same", activation=activation)(image)
    value = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(value)
    value = layers.UpSampling2D(2, interpolation="bilinear")(value)
    value = layers.Concatenate()([layers.MaxPooling2D(2)(value), layers.AveragePooling2D(2)(value)])
    value = layers.GlobalAveragePooling2D()(value)
    return keras.Model(image, layers.Dense(5, activation="softmax")(value), name=f"net_{activation}")


IMAGES = seeded_images(8, (16, 16, 3), seed=1).astype(np.float32)


def converted(model: Any, scheme: str) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme == "int8":
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def representative() -> Iterator[list[Any]]:
    yield from ([image[None]] for image in IMAGES)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")
@pytest.mark.parametrize(
    ("activation", "scheme"), [("relu6", "float32"), ("gelu", "float16"), ("hard_swish", "int8"), ("silu", "dynamic")]
)
def test_as_the_converter_tells_of_its_own_files(activation: str, scheme: str) -> None:
    """An independent judge: its table is compiled into TensorFlow."""
    operators, told, size = read(converted(network(activation), scheme))
    assert runtime_version.needed(operators) == told
    assert size == runtime_version.SIZE_BYTES


@pytest.mark.parametrize("activation", ["relu6", "gelu", "hard_swish", "silu"])
def test_in_our_files_of_every_scheme(activation: str, tmp_path: Path) -> None:
    schemes = ("float32", "float16", "dynamic", "int8", "int16x8")
    made = kexport.export(
        network(activation), formats="tflite", schemes=schemes, calibration=IMAGES, output=tmp_path,
        skip_unsupported=True,
    )  # fmt: skip
    found = [each for each in made if each.artifact is not None]
    assert len(found) >= 4
    assert {each.status for each in found} == {Status.PASS}
    for record in found:
        check(record, lambda path: tmp_path / path)


def check(record: Record, place: Callable[[str], Path]) -> None:
    assert record.artifact is not None
    operators, told, size = read(place(record.artifact.path).read_bytes())
    assert told == runtime_version.needed(operators) != ""
    assert size == runtime_version.SIZE_BYTES


def test_inspect_tells_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kexport.cli import main

    kexport.export(network("gelu"), formats="tflite", output=tmp_path)
    (path,) = tmp_path.rglob("*.tflite")
    assert main(["inspect", str(path)]) == 0
    assert "min_runtime_version" in (out := capsys.readouterr().out)
    assert "2.9.0" in out
