"""A full disk, as one process meets it: recognised in anybody's words, told with bytes, and some space held back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kexport import disk, files
from kexport.errors import StoreError, UsageError


def no_space(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def chained() -> BaseException:
    try:
        try:
            no_space()
        except OSError as error:
            raise StoreError("cannot write") from error
    except StoreError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        RuntimeError("Can't write data (errno = 28, error message = 'No space left on device')"),  # HDF5
        ValueError("RESOURCE_EXHAUSTED: /x/variables; No space left on device"),  # TensorFlow
        chained(),
    ],
)
def test_is_full(error: BaseException) -> None:
    assert disk.is_full(error)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "x"), OSError(errno.EFBIG, "x"), ValueError("space"), None])
def test_is_something_else(error: BaseException | None) -> None:
    assert not disk.is_full(error or RuntimeError())


def test_a_file_that_does_not_fit_is_told_with_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StoreError, match=r"no space left: [\d,]+ bytes \(.* MiB\) free, 5 bytes \(0.0 MiB\) needed"):
        files.write(tmp_path / "x.json", "12345")
    assert list(tmp_path.iterdir()) == []


def test_the_reserve_is_spent_once(tmp_path: Path) -> None:
    reserve = disk.Reserve(tmp_path)
    assert (tmp_path / "reserve").stat().st_size == disk.RESERVE_BYTES
    calls = []

    def write() -> str:
        calls.append((tmp_path / "reserve").exists())
        if calls[-1]:
            no_space()
        return "written"

    assert reserve.spend(write) == "written"
    assert calls == [True, False]
    with pytest.raises(OSError, match="No space left"):
        reserve.spend(no_space)  # type: ignore[arg-type]


def test_other_refusals_leave_the_reserve(tmp_path: Path) -> None:
    reserve = disk.Reserve(tmp_path)
    with pytest.raises(ZeroDivisionError):
        reserve.spend(lambda: 1 // 0)
    assert (tmp_path / "reserve").exists()


def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the folder is gone: it was removed while"):
        files.write(tmp_path / "out" / "Model" / "x.json", "{}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [300, 5000])
def test_a_directory_whose_name_is_too_long(tmp_path: Path, length: int) -> None:
    with pytest.raises((StoreError, UsageError)) as caught:
        files.prepare(tmp_path / ("x" * length))
    assert "too long" in caught.value.message
    assert len(caught.value.message) < 700
