"""The demo: what the package carries for it, and its command on two cells."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from kexport.cli import group
from kexport.errors import UsageError
from kexport.images import similarity
from kexport.pipeline import demo
from kexport.pipeline.demo import digits
from kexport.registry import Format, Scheme
from kexport.store.directory import read_file
from tests.demonstrated import COUNT, Demonstrated
from tests.places import ROOT

FOLDER = Path(digits.__file__).parent
MOST_BYTES = 2.5e6


def stored() -> dict[str, np.ndarray]:
    with np.load(FOLDER / digits.IMAGES, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def test_the_package_carries_a_small_network_and_the_images() -> None:
    assert (FOLDER / digits.MODEL).stat().st_size <= MOST_BYTES
    found = stored()
    assert found["images"].shape == (540, 8, 8)
    assert found["calibration"].shape[1:] == (8, 8)
    assert sorted(np.unique(found["classes"])) == list(range(10))
    assert np.bincount(found["classes"]).min() >= 40, "every class is held out"
    assert len(found["calibration"]) >= 80


def test_no_image_is_both_held_out_and_calibration() -> None:
    found = stored()
    looks = [[similarity.look(image) for image in digits.enlarged(found[name])] for name in ("images", "calibration")]
    assert list(similarity.near_pairs(*looks)) == []


def test_every_scheme_of_every_format_is_planned(tmp_path: Path) -> None:
    prepared = demo.prepare(tmp_path / "demo", count=5)
    planned = {(str(cell.format), cell.scheme) for cell in prepared.cells}
    assert planned == {(str(form), scheme) for form in Format for scheme in demo.SCHEMES if scheme in form.schemes}
    assert set(Scheme) - set(demo.SCHEMES) == {Scheme.INT16X8}, demo.LEFT_OUT
    assert len(prepared.int8) == 2
    with pytest.raises(UsageError, match="is there already, expected a new or empty folder"):
        demo.prepare(tmp_path / "demo")


def test_what_can_be_typed_next_can(tmp_path: Path) -> None:
    prepared = demo.prepare(tmp_path / "a demo", count=5)
    for artifact in prepared.int8:
        artifact.parent.mkdir(parents=True, exist_ok=True)
        artifact.touch()
    for line in prepared.commands:
        program, name, *words = shlex.split(line)
        assert program == "kexport"
        group.commands[name].make_context(name, words)


def test_the_command_ends_with_names(demonstrated: Demonstrated) -> None:
    assert demonstrated.code == 0, demonstrated.err
    assert "5 cells: 5 PASS" in demonstrated.err
    name = digits.NAMES[int(stored()["classes"][0])]
    for artifact in ("digits-int8.onnx", "digits-int8.tflite"):
        lines = demonstrated.out.partition(f"{artifact}:\n")[2].splitlines()
        assert lines[0].split()[1] == name
        assert float(lines[0].split()[0]) > 0.5
    assert "kexport bundle" in demonstrated.out
    assert "int8" in (demonstrated.demo.directory / demo.REPORT).read_text()


def test_the_readme_shows_the_digit_that_is_named(demonstrated: Demonstrated) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    place, best, *others = readme.partition("<!-- example: digit -->\n```text\n")[2].partition("```")[0].splitlines()
    assert len(others) == demo.TOP - 1
    told = demonstrated.out.replace(str(demonstrated.demo.directory), "kexport-demo").splitlines()
    assert told[told.index(place) + 1].split()[1] == best.split()[1]


def test_the_network_is_right_and_int8_keeps_it(demonstrated: Demonstrated) -> None:
    for name in ("float32.onnx", "float32.tflite", "int8.onnx", "int8.tflite"):
        scored = read_file(demonstrated.artifact(f"{name}.json")).accuracy
        assert scored is not None
        assert scored.images == COUNT
        assert scored.top1 is not None
        assert scored.top1 >= 0.97
        assert scored.keras_top1 is not None
        assert scored.keras_top1 - scored.top1 <= 1 / COUNT
