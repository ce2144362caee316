"""What quantized files must say of their tensors: sound ones pass, each damage is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kexport.errors import ArtifactError
from kexport.formats.tflite import writer as tflite
from kexport.formats.tflite.program import Program, Quantization, Tensor
from kexport.formats.tflite.quantized import writer as tflite_int8
from tests.formats.tflite.quantized.test_writer import block_plan

Change = Callable[[Tensor], Tensor]


def scales(tensor: Tensor, **changes: object) -> Tensor:
    assert tensor.quantization is not None
    return replace(tensor, quantization=replace(tensor.quantization, **changes))


def changed(name: str, change: Change) -> Program:
    program = tflite_int8.program(block_plan())
    assert any(tensor.name == name for tensor in program.tensors)
    tensors = tuple(change(tensor) if tensor.name == name else tensor for tensor in program.tensors)
    return replace(program, tensors=tensors)


DAMAGE: dict[str, tuple[str, Change, str]] = {
    "no scale": ("swish", lambda t: replace(t, quantization=None), "numbers of 8 bits without a scale"),
    "scale of zero": ("swish", lambda t: scales(t, scales=(0.0,)), "tensor 'swish': scale 0.0, expected a positive"),
    "infinite scale": ("swish", lambda t: scales(t, scales=(float("inf"),)), "tensor 'swish': scale inf"),
    "NaN scale": ("swish", lambda t: scales(t, scales=(float("nan"),)), "tensor 'swish': scale nan"),
    "zero point": ("swish", lambda t: scales(t, zero_point=128), "zero point 128, expected -128 to 127"),
    "a channel's zero point": ("wide/kernel/int8", lambda t: scales(t, zero_point=1), "zero point 1, expected 0 to 0"),
    "too few scales": ("wide/kernel/int8", lambda t: scales(t, scales=(1.0, 1.0)), "2 scales for 16 channels"),
    "kernel axis": ("wide/kernel/int8", lambda t: scales(t, axis=3), "16 scales for 4 channels"),
    "no such axis": ("wide/kernel/int8", lambda t: scales(t, axis=4), "scales along axis 4 of (16, 1, 1, 4)"),
    "bias scales": ("wide/bias", lambda t: scales(t, scales=(1.0,) * 16), "the bias is not at input scale * kernel"),
    "bias of one scale": ("wide/bias", lambda t: scales(t, scales=(1.0,)), "the bias is not at input scale"),
    "probabilities": ("excite", lambda t: scales(t, scales=(0.5,)), "probabilities at scale 0.5 from -128"),
    "types mixed": (
        "moved", lambda t: replace(t, dtype="uint8", quantization=Quantization(scales=(1.0,))),
        "inputs and output of types [3, 9]",
    ),
    "an output of float": ("deep", lambda t: replace(t, dtype="float32", quantization=None), "an int8 kernel with"),
    "dequantized to int8": (
        "pooled/float32", lambda t: replace(t, dtype="int8", quantization=Quantization(scales=(1.0,))), "DEQUANTIZE"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage: str, tmp_path: Path) -> None:
    name, change, message = DAMAGE[damage]
    with pytest.raises(ArtifactError) as caught:
        tflite.save(changed(name, change), tmp_path / "m.tflite")
    assert message in str(caught.value)


def test_the_same_file_without_damage_is_sound(tmp_path: Path) -> None:
    tflite.save(changed("swish", lambda tensor: tensor), tmp_path / "m.tflite")


def test_equal_vectors_are_stored_once(tmp_path: Path) -> None:
    """Sixteen zero points are 128 bytes of zeros for each kernel and bias of sixteen channels."""
    tflite_int8.write(block_plan(), tmp_path / "m")
    assert (tmp_path / "m").read_bytes().count(bytes(16 * 8)) <= 2
