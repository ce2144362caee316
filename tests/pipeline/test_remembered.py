"""The user's cache folder: entries are whole or not there, the folder is the user's own and stays small."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import kexport
from kexport import disk
from kexport.pipeline import remembered
from kexport.pipeline.remembered import OnDisk
from tests.own_models import saved

ARRAYS = {"numbers": np.arange(6, dtype=np.int8).reshape(2, 3), "scales": np.float32([0.5, 1.0, 2.0])}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(disk.MEMORY_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_put_is_found_by_its_key_and_maker(place):
    memory = remembered.memory(2)
    memory.put("key", ARRAYS)
    found = memory.get("key")
    assert sorted(found) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert memory.get("other") is None
    assert remembered.memory(1).get("key") is None
    assert OnDisk(folder=memory.folder, maker="another version").get("key") is None


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1], lambda content: content[:-9] + bytes(9), lambda _: b""]
)
def test_a_damaged_entry_is_not_there(place, damage):
    memory = remembered.memory(2)
    memory.put("key", ARRAYS)
    (path,) = memory.folder.glob("*/*")
    path.write_bytes(damage(path.read_bytes()))
    assert memory.get("key") is None
    assert not path.exists()


def test_an_entry_with_code_in_it_is_not_run(place):
    memory = remembered.memory(2)
    memory.put("key", {"numbers": np.array([print], dtype=object)})
    assert memory.get("key") is None


def test_a_folder_that_others_may_write_to_is_not_used(place):
    (place / "int8").mkdir(parents=True)
    (place / "int8").chmod(0o777)
    assert remembered.folder() is None
    assert remembered.memory(2) is None


@pytest.mark.parametrize("told", ["", "FILE/below"])
def test_no_folder_is_no_mistake(tmp_path, monkeypatch, told):
    (tmp_path / "FILE").touch()
    monkeypatch.setenv(disk.MEMORY_VARIABLE, told and str(tmp_path / told))
    assert remembered.memory(2) is None
    remembered.trim()


def test_the_usual_folder_is_that_of_the_user(tmp_path, monkeypatch):
    monkeypatch.delenv(disk.MEMORY_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert remembered.folder() == tmp_path / "kexport" / "int8"
    assert (tmp_path / "kexport" / "int8").stat().st_mode & 0o077 == 0


def test_a_user_without_a_home_remembers_nothing(monkeypatch):
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(disk.MEMORY_VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert remembered.memory(2) is None
    remembered.trim()


def test_what_was_used_longest_ago_goes_first(place, monkeypatch):
    memory = remembered.memory(2)
    for number in range(4):
        memory.put(str(number), ARRAYS)
        (path,) = [each for each in memory.folder.glob("*/*") if each.stat().st_mtime > 1e9]
        os.utime(path, (number, number))
    size = path.stat().st_size
    memory.get("0")
    monkeypatch.setattr(remembered, "MOST_BYTES", 4 * size)
    remembered.trim()
    assert len(list(memory.folder.glob("*/*"))) == 4
    monkeypatch.setattr(remembered, "MOST_BYTES", 4 * size - 1)
    remembered.trim()
    assert [str(number) for number in range(4) if memory.get(str(number)) is not None] == ["0", "3"]


def test_a_run_finds_its_kernels_again_and_force_does_without(place, tmp_path):
    """An entry that is found is as if it were written now (`OnDisk.get`)."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input((24, 24, 3))
    value = layers.Conv2D(16, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    value = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, activation="relu")(value))
    model, shas = saved(keras.Model(image, layers.Dense(4)(value)), tmp_path).file, set()

    def found(**options: bool) -> int:
        for path in place.rglob("*.npz"):
            os.utime(path, (1, 1))
        (record,) = kexport.export(
            model, formats="onnx", schemes="int8", calibration="synthetic:0", directory=tmp_path / "out", **options
        )
        assert record.artifact is not None, record.reason
        shas.add(record.artifact.sha256)
        return sum(path.stat().st_mtime > 1 for path in place.rglob("*.npz"))

    assert found() > 0
    written = {path: path.stat().st_ino for path in place.rglob("*.npz")}
    (tmp_path / "out").rename(tmp_path / "first")
    assert found() > 0
    assert {path: path.stat().st_ino for path in place.rglob("*.npz")} == written, "nothing was found out again"
    assert found(force=True) == 0
    assert len(shas) == 1
