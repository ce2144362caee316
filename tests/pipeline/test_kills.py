"""kill -9 at any moment, in small: `tests.pipeline.kills` does the same fifty times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.pipeline import kills
from tests.pipeline.kills import Kill

Undisturbed = tuple[dict[str, str], float]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, saved: Path) -> Undisturbed:
    return kills.undisturbed(tmp_path_factory.mktemp("undisturbed"), saved)


@pytest.mark.parametrize(
    ("who", "part"),
    [
        pytest.param("all", 0.85, marks=pytest.mark.long),
        ("parent", 0.6),
        ("worker", 0.7),
        ("server", 0.75),
        ("worker, fresh", 0.7),
    ],
)
def test_a_killed_run_leaves_whole_files_and_goes_on(
    tmp_path: Path, saved: Path, usual: Undisturbed, who: str, part: float
) -> None:
    wanted, seconds = usual
    assert {Path(name).suffix for name in wanted} == {".onnx", ".tflite", ".npz"}
    who, _, fresh = who.partition(", ")
    kill = Kill(who=who, after_seconds=part * seconds)
    assert kills.killed(tmp_path / "out", saved, kill, wanted, isolate=bool(fresh)) == []


def test_half_files_and_orphans_would_be_seen(tmp_path: Path, usual: Undisturbed) -> None:
    wanted, _ = usual
    model = tmp_path / "out" / "MobileNet-a0.25-64x64"
    model.mkdir(parents=True)
    (model / next(iter(wanted))).write_bytes(b"half")
    (model / "x.tmp").write_bytes(b"x")
    told = kills._half(tmp_path / "out", wanted)
    assert [line.rpartition(" is ")[2] for line in told] == ["half written", "left"]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path)]) as other:
        assert kills._orphans(tmp_path, []) == [f"process {other.pid} is still there"]
        assert kills._orphans(tmp_path / "x", [psutil.Process(other.pid)]) == [f"process {other.pid} is still there"]
        other.kill()
