"""What all bundles share: presence registers one, equal files give equal archives, the card says what is known."""

from __future__ import annotations

import hashlib
import json
import pkgutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kexport import bundles
from kexport.bundles import deployment, golden
from kexport.bundles.write import bundle
from kexport.cli import main
from kexport.errors import UnknownNameError, UsageError
from kexport.operations import Dense
from tests.bundles.conftest import SMALL, Made
from tests.evidence.small_files import colours, write
from tests.formats.plans import Sketch

SHARED = {
    "MODEL_CARD.md", "LICENCES.md", "README.md", "SHA256SUMS", "contract.json", "labels.txt",
    "golden/golden.json", "golden/images.bin", "golden/inputs.bin", "golden/outputs-0.bin",
}  # fmt: skip


def test_presence_registers_a_bundle() -> None:
    names = {found.name for found in pkgutil.iter_modules(bundles.__path__)}
    assert set(bundles.registry()) <= names, "each is the module of its name"
    assert {"cpp", "mcu", "python"} <= set(bundles.registry())


def test_help_names_every_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in bundles.registry() if name not in text] == []


@pytest.mark.parametrize("name", ["android", "cpp", "mcu", "python", "web"])
def test_every_bundle_holds_what_all_share(name: str, small: Callable[..., Path], made: Made) -> None:
    folder = made(small("a.tflite"), name)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files >= SHARED
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == files - {"SHA256SUMS"}
    assert len((folder / "README.md").read_text().splitlines()) <= 40, "one screen"


def test_two_archives_are_equal(small: Callable[..., Path], tmp_path: Path) -> None:
    artifact = small("int8.tflite")
    paths = [bundle(artifact, "python", tmp_path / side / "client.tar.gz", archived=True) for side in "ab"]
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    assert first == second
    with tarfile.open(paths[0]) as archive:
        assert {name.split("/")[0] for name in archive.getnames()} == {"client"}
        archive.extractall(tmp_path, filter="data")
    assert (tmp_path / "client" / "model.tflite").read_bytes() == artifact.read_bytes()
    other = bundle(small("a.tflite"), "python", tmp_path / "c" / "client.tar.gz", archived=True)
    assert hashlib.sha256(other.read_bytes()).hexdigest() != first


@pytest.mark.parametrize("name", ["a.onnx", "uint8.tflite"])
def test_the_contract_is_that_of_the_file(name: str, small: Callable[..., Path], made: Made) -> None:
    found = json.loads((made(small(name), "python") / "contract.json").read_text())
    assert found["preprocessing"]["size"] == [8, 8]
    assert (found["preprocessing"]["scale"], found["preprocessing"]["mean"]) == (1 / 127.5, [1.0, 1.0, 1.0])
    assert (found["input"]["dtype"], found["input"]["shape"][1:]) == (SMALL[name] or "float32", [8, 8, 3])
    assert ("scale" in found["input"]) is bool(SMALL[name])
    assert (found["classes"], found["outputs"][0]["activation"]) == (3, "softmax")


def test_golden_rows_are_those_that_tell_most() -> None:
    same = [1.0, 0.0, 0.0]
    outputs = np.array([same, same, [0.4, 0.3, 0.3], same, [0.0, 1.0, 0.0], same, same, [0.0, 0.0, 1.0]])
    assert sorted(golden.telling(outputs)) in ([0, 2, 4], [2, 4, 7], [0, 4, 7])
    assert golden.telling(outputs)[0] == 2
    assert len(set(golden.telling(np.zeros((8, 3))))) == golden.COUNT


def test_a_lone_file_is_bundled_and_says_what_is_missing(small: Callable[..., Path], made: Made) -> None:
    folder = made(small("a.onnx"), "python")
    assert "no record lies beside the file" in (folder / "MODEL_CARD.md").read_text()
    assert not (folder / "record.json").exists()


def test_what_cannot_be_bundled_is_told(small: Callable[..., Path], tmp_path: Path) -> None:
    artifact = small("a.onnx")
    with pytest.raises(UnknownNameError, match="unknown bundle 'pyton': did you mean python"):
        bundle(artifact, "pyton", tmp_path / "x")
    with pytest.raises(UsageError, match=r"is onnx: a bundle for mcu takes tflite"):
        bundle(artifact, "mcu", tmp_path / "x")
    with pytest.raises(UsageError, match="does not exist"):
        bundle(tmp_path / "none.onnx", "python", tmp_path / "x")
    with pytest.raises(UsageError, match="--runtime-files: a bundle for python holds none"):
        bundle(artifact, "python", tmp_path / "x", runtime_files=tmp_path)
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="taken exists already"):
        bundle(artifact, "python", tmp_path / "taken")
    assert {path.name for path in tmp_path.iterdir()} == {"small", "taken"}, "nothing is left of what was refused"


def test_a_file_that_says_nothing_of_pixels_can_be_told(tmp_path: Path) -> None:
    artifact = write(tmp_path / "a.onnx", colours(), entries={})
    with pytest.raises(UsageError, match="what it makes of pixels must be said"):
        bundle(artifact, "python", tmp_path / "x")
    (tmp_path / "names.txt").write_text("rot\ngruen\nblau\n")
    found = bundle(artifact, "python", tmp_path / "x", preprocessing="tf", labels=tmp_path / "names.txt")
    assert (found / "labels.txt").read_text() == "rot\ngruen\nblau\n"
    assert json.loads((found / "contract.json").read_text())["preprocessing"]["range_basis"] == "stated"


def test_a_network_without_an_image_is_told(tmp_path: Path) -> None:
    sketch = Sketch((6,))
    sketch("dense", Dense(kernel=np.ones((6, 2), np.float32), bias=np.zeros(2, np.float32)), "in0")
    artifact = write(tmp_path / "a.onnx", sketch.graph())
    with pytest.raises(UsageError, match="expected one input that is an image"):
        deployment.read(artifact)


def test_the_command(small: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "deploy" / "colours"
    words = ["bundle", str(small("a.onnx")), "--for", "python", "-o", str(place)]
    assert main(words) == 0
    assert f"{place}: written" in capsys.readouterr().err
    assert (place / "classify.py").is_file()
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
