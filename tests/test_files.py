"""Data of the package, found in a checkout and in an installed wheel by one rule."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import tracemalloc
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


def test_a_small_file_takes_little_memory_whatever_the_limit(tmp_path: Path) -> None:
    """Python reserves all that `read` is asked for: two gigabytes for any ONNX file, where there may not be as many."""
    (tmp_path / "a").write_bytes(b"12345")
    tracemalloc.start()
    assert files.read(tmp_path / "a", limit_bytes=2**31) == b"12345"
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read(tmp_path / "a", limit_bytes=5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, expected at most 4"):
        files.read(tmp_path / "a", limit_bytes=4)


def test_a_file_that_grows_while_it_is_read_is_told() -> None:
    """The system says that its own figures have no bytes, and gives some."""
    with pytest.raises(OSError, match="it had 0 bytes and is being written to"):
        files.read(Path("/proc/self/status"), limit_bytes=100)
