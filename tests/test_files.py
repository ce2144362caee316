"""Data of the package, found in a checkout and in an installed wheel by one rule."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kexport import files, targets
from kexport.errors import EnvironmentFailure
from kexport.evidence import tolerances
from tests.places import ROOT

DATA = ("targets", "parity/tolerances.toml")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip leaves one: the package, and in it what the wheel is told to carry along."""
    shutil.copytree(ROOT / "kexport", tmp_path / "kexport", ignore=shutil.ignore_patterns("__pycache__"))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for origin, place in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        copy = shutil.copytree if (ROOT / origin).is_dir() else shutil.copyfile
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / origin, tmp_path / place)
    (tmp_path / "targets").mkdir()  # another project's
    return tmp_path


@pytest.mark.parametrize("name", DATA)
def test_a_checkout_has_its_data_beside_the_package(name: str) -> None:
    assert files.package_data(name) == ROOT / name


def test_a_wheel_has_its_data_inside_and_never_takes_a_neighbour_s(site: Path) -> None:
    code = (
        "from kexport import files, targets\nfrom kexport.evidence import tolerances\n"
        "print(files.package_data('targets'), *targets.names(), tolerances.digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(site)},
        cwd=site,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(site / "kexport/data/targets"), *targets.names(), tolerances.digest()]


def test_an_installation_without_its_data_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PACKAGE", tmp_path / "kexport")
    with pytest.raises(EnvironmentFailure) as caught:
        tolerances.load("onnx", "float32")
    assert str(caught.value) == (
        "this installation has no parity/tolerances.toml\nhint: pip install --force-reinstall kexport"
    )
