"""The client in Python: it needs nothing of kexport, it finds what kexport finds, and its self-test can fail."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kexport import bundles, runtimes
from kexport.images import photographs
from kexport.records import Resize
from tests.bundles.conftest import Made, alone, photograph
from tests.evidence.small_files import contract

CLIENT = Path(bundles.__file__).parent / "clients" / "classify.py"


def test_the_client_imports_nothing_of_kexport() -> None:
    tree = ast.parse(CLIENT.read_text(encoding="utf-8"))
    found = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in ast.walk(tree)
             if isinstance(node, (ast.Import, ast.ImportFrom))}  # fmt: skip
    outside = {"numpy", "PIL", "onnxruntime", "ai_edge_litert.interpreter"}
    assert found - outside == {"__future__", "argparse", "json", "sys", "pathlib", "typing"}


@pytest.mark.parametrize(
    ("name", "mode"), [("a.onnx", "tf"), ("a.tflite", "caffe"), ("int8.tflite", "tf"), ("uint8.tflite", "caffe")]
)
def test_inputs_of_every_type(name: str, mode: str, small: Callable[..., Path], made: Made, tmp_path: Path) -> None:
    folder = made(small(name, mode), "python")
    done = alone(folder, "classify.py", "--self-test")
    assert (done.returncode, done.stdout) == (0, "self-test passed\n"), done.stderr
    Image.new("RGB", (30, 20), (20, 40, 220)).save(tmp_path / "sky.png")
    said = alone(folder, "classify.py", str(tmp_path / "sky.png"), "--top", "1").stdout.splitlines()
    assert said[1].split()[1] == "blue"


def test_a_photograph_becomes_what_kexport_makes_of_it(small: Callable[..., Path], made: Made, tmp_path: Path) -> None:
    """Resized by every rule; one with an EXIF orientation as a viewer shows it."""
    folder = made(small("a.onnx"), "python")
    pixels = np.asarray(Image.open(photograph(tmp_path / "plain.png")))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.rot90(pixels, 3)).save(tmp_path / "upright.png")
    script = (
        "import sys; sys.path.insert(0, '.'); import numpy; from classify import Classifier; c = Classifier()\n"
        f"for rule in {[str(rule) for rule in Resize]}:\n"
        "    c.contract['preprocessing']['resize'] = rule\n"
        f"    for name in ('plain', 'turned'): numpy.save(f'{{rule}}-{{name}}.npy', c.as_input("
        f"c.pixels({str(tmp_path)!r} + f'/{{name}}.png')[None]))"
    )
    done = alone(folder, "-c", script)
    assert done.returncode == 0, done.stderr
    for resize in Resize:
        rule = replace(contract(), resize=resize)
        for name, upright in (("plain", "plain"), ("turned", "upright")):
            expected = photographs.prepare(photographs.read(tmp_path / f"{upright}.png", rule)[1], rule)
            np.testing.assert_array_equal(np.load(folder / f"{resize}-{name}.npy")[0], expected)


def test_the_self_test_can_fail(small: Callable[..., Path], made: Made) -> None:
    folder = made(small("a.onnx"), "python")
    golden = folder / "golden" / "outputs-0.bin"
    golden.write_bytes(np.roll(np.fromfile(golden, np.float32), 1).tobytes())
    done = alone(folder, "classify.py", "--self-test")
    assert done.returncode == 1
    assert "differs by" in done.stdout
    assert "another class is the likeliest" in done.stdout
    inputs = folder / "golden" / "inputs.bin"
    inputs.write_bytes(np.full_like(np.fromfile(inputs, np.float32), np.nan).tobytes())
    assert "inputs: differs by nan" in alone(folder, "classify.py", "--self-test").stdout


@pytest.mark.parametrize("name", ["uint8.tflite"])
def test_golden_outputs_are_those_of_the_artifact(name: str, small: Callable[..., Path], made: Made) -> None:
    artifact = small(name)
    folder = made(artifact, "python")
    kind = np.uint8 if name.startswith("uint8") else np.float32
    inputs = np.fromfile(folder / "golden" / "inputs.bin", kind).reshape(3, 8, 8, 3)
    images = np.fromfile(folder / "golden" / "images.bin", np.uint8).reshape(3, 8, 8, 3)
    assert len({image.tobytes() for image in images}) == 3, "images that differ"
    session = runtimes.open_session(runtimes.for_format(artifact.suffix[1:]), artifact)
    real = photographs.prepare(images, contract())
    np.testing.assert_array_equal(inputs, session.stored(session.signature[0][0].name, real))
    [found] = session.run({session.signature[0][0].name: inputs}).values()
    golden = np.fromfile(folder / "golden" / "outputs-0.bin", kind).reshape(3, 3)
    np.testing.assert_allclose(golden, found, atol=1e-6)
