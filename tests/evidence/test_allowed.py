"""Operators that a target does not allow are refused, by the Keras layer that they came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from kexport import targets
from kexport.errors import UnsupportedError
from kexport.evidence import allowed
from kexport.registry import Format
from tests.evidence.small_files import colours, write

MICRO = targets.load("microcontroller-int8").values["operators"]


@pytest.mark.parametrize("name", ["a.onnx", "a.tflite"])
def test_what_is_not_allowed_is_told_with_its_layer(tmp_path: Path, name: str) -> None:
    graph, form = colours(), Format(name.split(".")[1])
    path = write(tmp_path / name, graph)
    places = form.contents(path).places  # type: ignore[misc]
    allowed.check(path, form, (), graph)
    allowed.check(path, form, tuple(places), graph)
    softmax = next(each for each in places if each.lower() == "softmax")
    with pytest.raises(UnsupportedError) as error:
        allowed.check(path, form, tuple(each for each in places if each != softmax), graph)
    assert error.value.message.startswith(f"operators that are not allowed: {softmax} of layer 'last'; allowed are ")


def test_every_operator_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tflite", colours())
    with pytest.raises(UnsupportedError, match="MEAN of layer 'pool', SOFTMAX of layer 'last'"):
        allowed.check(path, Format("tflite"), ("FULLY_CONNECTED",), colours())


def test_a_scale_for_each_channel_is_not_for_microcontrollers(tmp_path: Path) -> None:
    from kexport.formats.tflite.quantized import writer
    from kexport.quantization.quantize import weights_only

    writer.write(weights_only(colours()), tmp_path / "a.tflite")
    with pytest.raises(UnsupportedError, match="DEQUANTIZE_PER_CHANNEL of layer 'dense'"):
        allowed.check(tmp_path / "a.tflite", Format("tflite"), MICRO, colours())
    allowed.check(write(tmp_path / "b.tflite", colours(), io="int8"), Format("tflite"), MICRO, colours())
