"""Bundles of a trained MobileNetV3Small with labels of its own, float32 and int8: each client decides as Keras did."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kexport.bundles.micro import several_scales
from kexport.bundles.write import bundle
from kexport.errors import UsageError
from kexport.pipeline import demo
from kexport.store.directory import read_file
from tests.bundles.conftest import Made, alone, guesses
from tests.bundles.test_cpp import built, litert, needs_tools, run
from tests.bundles.test_mcu import check_bytes, needs_gcc
from tests.demonstrated import Demonstrated

Digits = Callable[[str], Path]


@pytest.fixture
def prepared(demonstrated: Demonstrated) -> demo.Demo:
    """What the demo was asked for."""
    return demonstrated.demo


@pytest.fixture
def digits(demonstrated: Demonstrated) -> Digits:
    """The demo's artifacts, by a name like ``int8.onnx``."""
    return demonstrated.artifact


@pytest.mark.parametrize("name", ["float32.onnx", "float32.tflite", "int8.onnx", "int8.tflite"])
def test_the_self_test_of_a_trained_network(name: str, prepared: demo.Demo, digits: Digits, made: Made) -> None:
    """MobileNetV3Small with labels of its own, in both precisions and formats."""
    folder = made(digits(name), "python")
    done = alone(folder, "classify.py", "--self-test")
    assert (done.returncode, done.stdout) == (0, "self-test passed\n"), done.stderr
    found = guesses(alone(folder, "classify.py", "--json", str(prepared.source.shown)))
    assert found[0][0] == prepared.source.shown.parent.name
    assert len(found) == 5


def test_the_card_has_the_figures_of_the_record(digits: Digits, made: Made) -> None:
    artifact = digits("int8.onnx")
    record = read_file(artifact.with_name(f"{artifact.name}.json"))
    assert record.accuracy is not None
    assert record.accuracy.top1 is not None
    folder = made(artifact, "python")
    assert read_file(folder / "record.json") == record
    text = (folder / "MODEL_CARD.md").read_text()
    assert f"top-1 {100 * record.accuracy.top1:.2f} % on 60 images" in text
    assert f"95 % interval {record.accuracy.low_points:+.2f} to {record.accuracy.high_points:+.2f}" in text
    assert "not measured: kexport bench ARTIFACT" in text
    assert "layers are int8" in text
    assert "resize: squash (stated)" in text
    for line in ("calibration: 89 images (images)\n", "status in its record: PASS\n"):
        assert line in text


@needs_gcc
def test_a_compiler_reads_the_very_bytes_of_a_trained_network(digits: Digits, made: Made) -> None:
    check_bytes(made(digits("float32.tflite"), "mcu"))


def test_a_head_that_micro_reads_wrongly_is_refused(digits: Digits, tmp_path: Path) -> None:
    """A float classifier with int8 kernels has a scale per channel, of which TFLite Micro reads the first."""
    artifact = digits("int8.tflite")
    scaled = several_scales(artifact.read_bytes())
    assert scaled
    with pytest.raises(UsageError, match=f"DEQUANTIZE of {scaled[0]}"):
        bundle(artifact, "mcu", tmp_path / "x")


@needs_tools
@pytest.mark.parametrize("name", [pytest.param("float32.tflite", marks=pytest.mark.long), "int8.tflite"])
def test_it_is_built_and_run(name: str, prepared: demo.Demo, digits: Digits, made: Made, tmp_path: Path) -> None:
    folder, python = made(digits(name), "cpp"), made(digits(name), "python")
    program = built(folder, litert())
    done = run(program, "--self-test")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "self-test passed"), done.stdout + done.stderr
    wide = Image.open(prepared.source.shown).resize((97, 150))
    wide.save(tmp_path / "photo.ppm")
    wide.save(tmp_path / "photo.png")
    lines = run(program, str(tmp_path / "photo.ppm")).stdout.splitlines()[1:]
    ours = [(float(line.split()[0]), line.split()[1]) for line in lines]
    theirs = guesses(alone(python, "classify.py", "--json", str(tmp_path / "photo.png")))
    assert ours[0][1] == theirs[0][0] == prepared.source.shown.parent.name
    assert ours[0][0] == pytest.approx(theirs[0][1], abs=0.02)

    golden = folder / "golden" / "outputs-0.bin"
    golden.write_bytes(np.roll(np.fromfile(golden, np.float32), 1).tobytes())
    failed = run(program, "--self-test")
    assert (failed.returncode, failed.stdout.splitlines()[-1]) == (1, "self-test FAILED")
    broken = run(program, "--self-test", folder=tmp_path)
    assert broken.returncode == 2
    assert broken.stderr.splitlines()[-1].startswith("error: LiteRT: ")
    (tmp_path / "bad.ppm").write_bytes(b"P6 900 900 255\nshort")
    assert re.search("bad.ppm: ends too early", run(program, str(tmp_path / "bad.ppm")).stderr)
