"""Photographs are read once in a run, and again as soon as anything about them is another."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.errors import SourceError, StoreError
from kexport.images import decoded, photographs
from kexport.images.calibration import CalibrationSet, open_calibration
from kexport.records import Signature
from kexport.sources import catalog
from tests.images.test_calibration import folder, pictures

SIZE = (28, 28)
INPUT = (Signature(name="input", shape=(None, *SIZE, 3), dtype="float32"),)
APPLICATION = catalog.application("ResNet50")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder(tmp_path / "photos", pictures(5))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    place = tmp_path / "run"
    place.mkdir()
    return place


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded."""
    found: list[Path] = []
    read = photographs.read

    def counted(path: Path, *args: Any, **kwargs: Any) -> Any:
        found.append(path)
        return read(path, *args, **kwargs)

    monkeypatch.setattr(photographs, "read", counted)
    return found


def opened(photos: Path, run: Path | None, **changes: Any) -> CalibrationSet:
    contract = replace(catalog.preprocessing(APPLICATION, SIZE), **changes)
    return open_calibration(str(photos), contract, INPUT, catalog.input_range(APPLICATION), folder=run)


def shown(found: CalibrationSet) -> np.ndarray:
    return np.concatenate([batch["input"] for batch in found.batches(2)])


def told(found: CalibrationSet) -> CalibrationSet:
    return replace(found, blocks=None)  # type: ignore[arg-type]


def test_each_is_read_once_in_a_run(photos: Path, run: Path, reads: list[Path]) -> None:
    first = opened(photos, run)
    images = shown(first)
    second = opened(photos, run)
    again = shown(second)
    assert len(reads) == 5
    assert told(first) == told(second)
    np.testing.assert_array_equal(images, again)
    alone = opened(photos, None)
    assert told(alone) == told(second)
    np.testing.assert_array_equal(images, shown(alone))
    assert len(reads) == 15, "no folder: judged once, and read for every pass"
    assert not list(run.glob("*.part"))


@pytest.mark.parametrize("change", ["content", "name", "more", "fewer", "contract"])
def test_what_is_another_set_is_read(photos: Path, run: Path, reads: list[Path], change: str) -> None:
    before = shown(opened(photos, run))
    reads.clear()
    first = min(photos.iterdir())
    changes: dict[str, Any] = {}
    if change == "content":
        folder(photos, pictures(1, seed=9))
        os.utime(first, (1, 1))
    elif change == "name":
        first.rename(photos / "zzz.png")
    elif change == "more":
        folder(photos, pictures(1, seed=9), name="{:03}_y.png")
    elif change == "fewer":
        first.unlink()
    else:
        changes = {"resize_shorter_side": 28}
    found = opened(photos, run, **changes)
    assert len(reads) == found.count
    after = shown(found)
    assert before.shape != after.shape or not np.array_equal(before, after)
    np.testing.assert_array_equal(after, shown(opened(photos, None, **changes)))


def test_the_scale_is_that_of_the_contract(photos: Path, run: Path) -> None:
    """The same pixels, made into what another network takes."""
    for mean in ((0.0, 0.0, 0.0), (1.0, 2.0, 3.0)):
        np.testing.assert_array_equal(shown(opened(photos, run, mean=mean)), shown(opened(photos, None, mean=mean)))


def test_a_damaged_file_leaves_nothing(photos: Path, run: Path, reads: list[Path]) -> None:
    damaged = photos / "002_x.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:60])
    with pytest.raises(SourceError, match=r"002_x\.png"):
        opened(photos, run)
    assert not list(run.iterdir())
    damaged.write_bytes(whole)
    assert opened(photos, run).count == 5


def test_large_sets_are_read_each_time(
    photos: Path, run: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "MOST_BYTES", 5 * 28 * 28 * 3 - 1)
    shown(opened(photos, run))
    assert not list(run.iterdir())
    assert len(reads) == 10


def test_a_full_disk_is_told(photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_: Any) -> None:
        raise full

    monkeypatch.setattr(decoded, "_write_header", refuse)
    with pytest.raises(StoreError, match="no space left"):
        opened(photos, run)
    assert not list(run.iterdir())


def test_a_file_that_is_gone_is_told(photos: Path, run: Path) -> None:
    names = {path.name: path for path in sorted(photos.iterdir())}
    (photos / "001_x.png").unlink()
    with pytest.raises(SourceError, match=r"001_x\.png"):
        decoded.read(names, catalog.preprocessing(APPLICATION, SIZE), run)
    assert not list(run.iterdir())


def test_half_of_what_is_kept_is_not_used(photos: Path, run: Path, reads: list[Path]) -> None:
    shown(opened(photos, run))
    (marks,) = run.glob("*.json")
    marks.unlink()
    shown(opened(photos, run))
    assert len(reads) == 10
