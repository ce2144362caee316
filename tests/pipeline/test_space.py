"""What a request writes at least, and whether its names fit, before any work."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kexport import disk, pipeline
from kexport.cli import main
from kexport.errors import StoreError, UsageError
from kexport.pipeline import Request, space
from kexport.registry import Scheme
from kexport.sources.catalog import APPLICATIONS
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.pipeline.test_faults import Silent

SEEDED = WeightsSpec(kind="random", seed=0)
VGG = ModelSpec(application="VGG16", weights=SEEDED)


def cell(model: ModelSpec = VGG, scheme: Scheme = Scheme.FLOAT32) -> Cell:
    return Cell(model=model, format=Format.ONNX, scheme=scheme)


@pytest.mark.parametrize("row", APPLICATIONS, ids=lambda row: row.name)
def test_of_an_application_it_is_about_its_file(row: object) -> None:
    name, parameters = row.name, row.parameters  # type: ignore[attr-defined]
    needed = space.cell_bytes(cell(ModelSpec(application=name, weights=SEEDED)))
    assert 0.85 * 4 * parameters < needed < 4 * parameters


# Parameters of Keras 3.15.1, counted on the built models.
@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (ModelSpec(application="VGG16", include_top=False, weights=SEEDED), 14_714_688),
        (ModelSpec(application="MobileNetV3Small", include_top=False, weights=SEEDED), 939_120),
        (ModelSpec(application="MobileNet", alpha=0.25, weights=SEEDED), 475_544),
        (ModelSpec(application="MobileNetV2", alpha=0.35, weights=SEEDED), 1_674_488),
        (ModelSpec(application="VGG16", classes=10, weights=SEEDED), 134_301_514),
        (ModelSpec(application="MobileNetV2", classes=10, weights=SEEDED), 2_270_794),
        (ModelSpec(factory="a.b:c", weights=WeightsSpec(kind="model")), 0),
    ],
)
def test_a_right_request_is_never_refused(model: ModelSpec, parameters: int) -> None:
    assert space.least_parameters(model) <= parameters


def test_schemes_and_files_that_are_replaced_count(tmp_path: Path) -> None:
    whole, eight = space.cell_bytes(cell()), space.cell_bytes(cell(scheme=Scheme.DYNAMIC))
    assert 3.9 < whole / eight < 4.1
    both = (cell(), cell(scheme=Scheme.DYNAMIC))
    assert space.needed_bytes(both, tmp_path) == whole + eight + space.prepared_bytes(VGG)
    old = tmp_path / "VGG16" / cell().file_name
    old.parent.mkdir()
    with old.open("wb") as file:
        file.truncate(10 * whole)
    assert space.needed_bytes(both, tmp_path) == space.prepared_bytes(VGG)


def test_too_little_is_told_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda _: 500_000_000)
    started = time.monotonic()
    with pytest.raises(StoreError) as caught:
        pipeline.run(Request(cells=(cell(),), directory=tmp_path / "out"), Silent())
    assert time.monotonic() - started < 5
    needed = space.needed_bytes((cell(),), tmp_path)
    assert caught.value.message == (
        f"{tmp_path / 'out'}: 500,000,000 bytes (476.8 MiB) free, at least {needed:,} bytes "
        f"({needed / 2**20:,.1f} MiB) needed for 1 file"
    )
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_too_long(tmp_path: Path) -> None:
    fits, longer = "x" * 220, "ü" * 120
    space.require_names([cell(ModelSpec(file=f"{fits}.keras", weights=WeightsSpec(kind="model")))], tmp_path)
    long = cell(ModelSpec(file=f"{longer}.keras", weights=WeightsSpec(kind="model")))
    with pytest.raises(UsageError, match="a name of 265 bytes, the file system takes 255") as caught:
        pipeline.run(Request(cells=(long,), directory=tmp_path / "out"), Silent())
    assert caught.value.hint == "rename the model file"
    with pytest.raises(UsageError, match=r"a path of \d+ bytes, the file system takes 4096"):
        space.require_names([cell()], tmp_path.joinpath(*["y" * 200] * 21))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [300, 5000])
def test_an_output_folder_whose_name_is_too_long(
    tmp_path: Path, length: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "MobileNet", "--weights", "random:0", "-o", str(tmp_path / ("x" * length))]
    assert main(arguments) in (2, 3)
    told = capsys.readouterr().err
    assert "too long" in told or "takes 4096" in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []
