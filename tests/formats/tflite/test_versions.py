"""Versions of operators are as high as what they hold asks for, and as those of TensorFlow's converter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kexport
from kexport.formats.tflite import runtime_version
from kexport.records import Status
from tests.formats.tflite.test_runtime_version import read


def five(value: Any) -> Any:
    """Five axes, with that of the rows."""
    from keras import layers

    return layers.Reshape((4, 4, 2, 8))(value)


def mean(value: Any) -> Any:
    from keras import ops

    return ops.mean(value, axis=-1, keepdims=True)


def permuted(*axes: int) -> Callable[[Any], Any]:
    from keras import layers

    permute: Callable[[Any], Any] = layers.Permute(axes)
    return permute


def six(value: Any) -> Any:
    from keras import layers

    return layers.Reshape((4, 4, 2, 4, 2))(value)


def of(name: str) -> Any:
    """A network with one operator of interest."""
    import keras
    from keras import layers, ops

    bodies: dict[str, tuple[tuple[int, ...], str, Callable[[Any], Any]]] = {
        "transposed, 4": ((4, 4, 16), "float32", permuted(2, 3, 1)),
        "transposed, 5": ((4, 4, 16), "float32", lambda value: permuted(2, 1, 4, 3)(five(value))),
        "transposed, 6": ((4, 4, 16), "float32", lambda value: permuted(2, 1, 4, 3, 5)(six(value))),
        "sliced, 4": ((4, 4, 16), "float32", lambda value: value[:, 1:3, :, 2:5]),
        "sliced, 5": ((4, 4, 16), "float32", lambda value: five(value)[:, 1:3, :, :, 2:5]),
        "strided, 5": ((4, 4, 16), "float32", lambda value: five(value)[:, ::2, :, :, ::3]),
        "subtracted, 4": ((4, 4, 16), "float32", lambda value: value - mean(value)),
        "subtracted, 5": ((4, 4, 16), "float32", lambda value: five(value) - mean(five(value))),
        "subtracted alike, 5": ((4, 4, 16), "float32", lambda value: five(value) - ops.square(five(value))),
        "divided, 5": ((4, 4, 16), "float32", lambda value: five(value) / (1 + mean(ops.abs(five(value))))),
        "larger of two, 5": ((4, 4, 16), "float32", lambda value: ops.maximum(five(value), mean(five(value)))),
        "pooled in three": ((4, 4, 4, 2), "float32", layers.AveragePooling3D(2)),
        "padded, 5": ((4, 4, 4, 2), "float32", layers.ZeroPadding3D(1)),
        "int8 to float": ((8,), "int8", lambda value: ops.cast(value, "float32") * 0.5),
        "float64 to float": ((8,), "float64", lambda value: ops.cast(value, "float32") * 0.5),
    }
    shape, dtype, body = bodies[name]
    given = keras.Input(shape, dtype=dtype)
    return keras.Model(given, layers.Flatten()(body(given)), name="net")


WANTED = {
    "transposed, 4": ("TRANSPOSE", 1), "transposed, 5": ("TRANSPOSE", 4), "transposed, 6": ("TRANSPOSE", 6),
    "sliced, 4": ("SLICE", 1), "sliced, 5": ("SLICE", 5), "strided, 5": ("STRIDED_SLICE", 4),
    "subtracted, 4": ("SUB", 1), "subtracted, 5": ("SUB", 3), "subtracted alike, 5": ("SUB", 1),
    "divided, 5": ("DIV", 2), "larger of two, 5": ("MAXIMUM", 3), "pooled in three": ("TRANSPOSE", 4),
    "int8 to float": ("CAST", 3), "float64 to float": ("CAST", 5),
}  # fmt: skip


@pytest.mark.parametrize("name", WANTED)
def test_as_high_as_needed_and_no_higher(name: str, tmp_path: Path) -> None:
    (record,) = kexport.export(of(name), formats="tflite", output=tmp_path)
    assert record.status is Status.PASS
    assert record.artifact is not None
    operators, told, _ = read((tmp_path / record.artifact.path).read_bytes())
    builtin, version = WANTED[name]
    assert dict(operators)[builtin] == version
    assert told == runtime_version.needed(operators)


@pytest.mark.parametrize("name", [*(name for name in WANTED if name != "pooled in three"), "padded, 5"])
def test_no_lower_than_the_converters(name: str, tmp_path: Path) -> None:
    """An independent judge, where both write the operator."""
    import tensorflow as tf

    model = of(name)
    (record,) = kexport.export(model, formats="tflite", output=tmp_path)
    assert record.artifact is not None
    ours, told, _ = read((tmp_path / record.artifact.path).read_bytes())
    theirs, _, _ = read(bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert()))
    versions = dict(ours)
    both = {builtin: version for builtin, version in theirs if builtin in versions}
    assert both != {}
    assert {builtin: versions[builtin] for builtin in both} == both
    assert tuple(map(int, told.split("."))) >= tuple(map(int, runtime_version.needed(set(both.items())).split(".")))
