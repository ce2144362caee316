"""The same request in other surroundings: the same bytes, or one message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kexport import files, store
from tests.pipeline import kills
from tests.places import ROOT

KEPT = ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
BARE = {name: os.environ[name] for name in KEPT if name in os.environ} | {"PYTHONPATH": str(ROOT)}
CLOCK = "import sys, time; time.time = lambda: {now}; from kexport.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, saved: Path) -> dict[str, str]:
    return kills.undisturbed(tmp_path_factory.mktemp("usual"), saved)[0]


def run(out: Path, saved: Path, *, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A run of `kills.CELLS` in a shell, with nothing in its environment but what is given."""
    script = f'{before} exec "$0" -m tests.pipeline.kills --run "$1" "$2"'
    return subprocess.run(
        ["bash", "-c", script, sys.executable, str(out), str(saved)],
        env={**BARE, **environment}, cwd=out.parent, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def test_no_home_another_seed_zone_language_and_thread_count(
    tmp_path: Path, saved: Path, wanted: dict[str, str]
) -> None:
    other = {"PYTHONHASHSEED": "77", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    done = run(tmp_path / "out", saved, before="umask 077;", **other)
    assert done.returncode == 0, done.stderr
    assert kills.hashes(tmp_path / "out") == wanted
    assert store.verify(tmp_path / "out") == ()


def test_few_descriptors(tmp_path: Path, saved: Path, wanted: dict[str, str]) -> None:
    done = run(tmp_path / "out", saved, before="ulimit -n 64;", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert kills.hashes(tmp_path / "out") == wanted


@pytest.mark.parametrize("mode", [(), ("--isolate",)], ids=["forked", "fresh"])
def test_nothing_is_left_in_the_folder_of_temporary_files(tmp_path: Path, mode: tuple[str, ...]) -> None:
    """TensorFlow writes the source of what it compiles into it, and removes that where a process ends as usual."""
    import keras

    layers = [keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 3, groups=4), keras.layers.GlobalAveragePooling2D()]
    keras.Sequential([*layers, keras.layers.Dense(3)]).save(tmp_path / "grouped.keras")
    (tmp_path / "temporary").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "kexport", "export", "grouped.keras", "--formats", "onnx", "-o", "out", *mode],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")}, cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []


def test_more_jobs_than_cores_and_cells(tmp_path: Path, saved: Path, wanted: dict[str, str]) -> None:
    done = run(tmp_path / "out", saved, KILLS_JOBS="64")
    assert done.returncode == 0, done.stderr
    assert kills.hashes(tmp_path / "out") == wanted


@pytest.mark.parametrize("name", ["with space", "ümläut", "-leading", "new\nline", "a" * 200])
def test_odd_names_of_the_folder(tmp_path: Path, saved: Path, wanted: dict[str, str], name: str) -> None:
    out = tmp_path / name
    if name != "with space":  # the others are told apart by what the program does with the name, not by a run
        files.prepare(out)
        assert store.verify(out) == ("manifest.json: missing: the last run did not end",)
        return
    done = run(out, saved)
    assert done.returncode == 0, done.stderr
    assert kills.hashes(out) == wanted


@pytest.mark.parametrize("now", ["0.0", "2.3e9", "-1.0"])
def test_a_clock_that_is_wrong(now: str) -> None:
    folder = str(ROOT / "tests/data/artifacts-0.1")
    for arguments in (["list"], ["report", folder], ["verify", folder]):
        code = CLOCK.format(now=now)
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr


def test_a_lock_whose_owner_is_dead_or_elsewhere(tmp_path: Path) -> None:
    (tmp_path / store.LOCK).write_text("")
    for left in ("999999 here\n", "1 other-host\n", "x\n"):
        (tmp_path / store.HOLDER).write_text(left)
        with store.lock(tmp_path, timeout_seconds=1):
            pass  # the lock is the system's: a file that is left says nothing


def test_the_holder_on_another_host_is_told(tmp_path: Path) -> None:
    with store.lock(tmp_path):
        (tmp_path / store.HOLDER).write_text("17 other-host\n")
        assert "is in use by process 17 on other-host; waited 0.1 s" in _refused(tmp_path)
        (tmp_path / store.HOLDER).unlink()
        os.mkfifo(tmp_path / store.HOLDER)
        assert "is in use by another process; waited 0.1 s" in _refused(tmp_path)


def _refused(folder: Path) -> str:
    """What a second process says that wants the lock."""
    code = (
        "import sys; from pathlib import Path; from kexport import store\n"
        "with store.lock(Path(sys.argv[1]), timeout_seconds=0.1): pass"
    )
    words = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stderr
