"""What the container allows is read from cgroup files of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kexport import machine


def cgroup(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("-", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu-max": "150000 100000"}, 1.5),
        ({"cpu-max": "max 100000"}, None),
        ({"cpu__cpu-cfs_quota_us": "400000", "cpu__cpu-cfs_period_us": "100000"}, 4.0),
        ({"cpu__cpu-cfs_quota_us": "-1", "cpu__cpu-cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cpu_quota(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert machine.cpu_quota(cgroup=cgroup(tmp_path, **files)) == quota


def test_cores_never_exceed_quota_and_never_reach_zero(tmp_path: Path) -> None:
    assert machine.cores(cgroup=cgroup(tmp_path, **{"cpu-max": "50000 100000"})) == 1
    assert machine.cores(cgroup=tmp_path / "absent") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("name", ["memory-max", "memory__memory-limit_in_bytes"])
def test_memory_limit(tmp_path: Path, name: str) -> None:
    assert machine.memory_bytes(cgroup=cgroup(tmp_path, **{name: "1048576"})) == 1048576


def test_memory_without_limit_is_the_machine(tmp_path: Path) -> None:
    total = machine.memory_bytes(cgroup=tmp_path)
    assert total > 2**28
    assert machine.memory_bytes(cgroup=cgroup(tmp_path, **{"memory-max": "max"})) == total


def test_processor_and_instructions(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 avx512_vnni\n", encoding="utf-8")
    assert machine.processor(cpu_info=info) == "Some CPU"
    assert machine.instructions(cpu_info=info) == ("avx2", "avx512_vnni")


def test_peak_memory_grows_with_use() -> None:
    before = machine.peak_memory_bytes()
    block = bytearray(before + 2**27)  # larger than anything before it
    block[::4096] = b"x" * len(block[::4096])
    assert machine.peak_memory_bytes() >= before + 2**26


def test_describe_names_versions_and_cores() -> None:
    described = machine.describe()
    assert described["cores"] == str(machine.cores())
    assert "version numpy" in described
    assert "version python" in described
