"""What the container allows is read from cgroup files of both versions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kexport import cgroups, machine
from kexport.version import __version__


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
    assert cgroups.cpu_quota(root=cgroup(tmp_path, **files), own=tmp_path / "absent") == quota


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


V2 = {"memory-max": str(2**30), "memory-current": str(2**29), "memory-stat": f"anon 5\ninactive_file {2**28}"}
V1 = {
    "memory__memory-limit_in_bytes": str(2**30),
    "memory__memory-usage_in_bytes": str(2**29),
    "memory__memory-stat": f"inactive_file 1\ntotal_inactive_file {2**28}",
}


@pytest.mark.parametrize("files", [V2, V1])
def test_what_is_left_of_a_container_s_limit_counts_file_pages_as_free(tmp_path: Path, files: dict[str, str]) -> None:
    assert machine.available_bytes(cgroup=cgroup(tmp_path, **files)) == 2**30 - 2**29 + 2**28


def test_a_container_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    assert machine.available_bytes(cgroup=cgroup(tmp_path, **{**V2, "memory-max": str(2**27)})) == 0


def nested(folder: Path, version: int, limits: dict[str, tuple[str, int]]) -> Path:
    """Groups by path, each with its limit and use of memory."""
    limit, usage = ("memory.max", "memory.current") if version == 2 else ("limit_in_bytes", "usage_in_bytes")
    prefix = "" if version == 2 else "memory."
    for path, (most, used) in limits.items():
        group = folder / ("" if version == 2 else "memory") / path
        group.mkdir(parents=True, exist_ok=True)
        (group / f"{prefix}{limit}").write_text(f"{most}\n")
        (group / f"{prefix}{usage}").write_text(f"{used}\n")
    own = folder / "own"
    own.write_text("0::/pod/box\n" if version == 2 else "9:name=systemd:/\n4:cpu,memory:/pod/box\n0::/\n")
    return own


GROUPS = [
    ({"pod": ("max", 0), "pod/box": (str(2**26), 2**20)}, 2**26, 2**26 - 2**20),
    ({"pod": (str(2**25), 2**24), "pod/box": (str(2**26), 2**20)}, 2**25, 2**24),  # the pod allows less than the box
    ({"pod": (str(2**27), 2**27 - 5), "pod/box": (str(2**26), 2**20)}, 2**26, 5),  # its neighbours fill the pod
    ({"pod": (str(2**25), 2**26), "pod/box": ("max", 0)}, 2**25, 0),
    ({"pod": (str(2**25), 0)}, 2**25, 2**25),  # its own group is not to be seen from here
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("limits", "limit", "left"), GROUPS)
def test_the_strictest_of_nested_groups_counts(
    tmp_path: Path, version: int, limits: dict[str, tuple[str, int]], limit: int, left: int
) -> None:
    own = nested(tmp_path, version, limits)
    assert machine.memory_bytes(cgroup=tmp_path, own=own) == limit
    assert machine.available_bytes(cgroup=tmp_path, own=own) == left


def test_groups_of_others_do_not_count(tmp_path: Path) -> None:
    own = nested(tmp_path, 2, {"pod/box/inner": ("5", 1), "pod/other": ("5", 1)})
    assert cgroups.memory_limit(root=tmp_path, own=own) is None
    own.write_text("0::/../../pod\n")  # outside of this namespace
    assert cgroups.memory_limit(root=tmp_path, own=own) is None


def test_the_strictest_of_nested_quotas_counts(tmp_path: Path) -> None:
    own = nested(tmp_path, 2, {"pod/box": ("max", 0)})
    (tmp_path / "pod" / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "pod" / "box" / "cpu.max").write_text("max 100000\n")
    assert cgroups.cpu_quota(root=tmp_path, own=own) == 1.5
    assert machine.cores(cgroup=tmp_path, own=own) == 1


def test_version_2_beside_version_1(tmp_path: Path) -> None:
    own = nested(tmp_path / "unified", 2, {"pod/box": (str(2**26), 1)})
    assert cgroups.memory_limit(root=tmp_path, own=own) == 2**26


@pytest.mark.parametrize("text", ["", "0", "junk\n::\n0::", "4:memory:relative/a"])
def test_an_odd_list_of_groups_limits_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "own").write_text(text)
    assert cgroups.memory_left(root=tmp_path, own=tmp_path / "own") is None


def test_without_a_limit_the_machine_s_available_memory_counts(tmp_path: Path) -> None:
    free = machine.available_bytes(cgroup=tmp_path)
    assert 0 < free < machine.memory_bytes(cgroup=tmp_path)
    assert free == pytest.approx(psutil.virtual_memory().available, rel=0.25)


TREE = (
    "import subprocess, sys, time\n"
    "p = subprocess.Popen([sys.executable, '-S', '-c', 'x = bytearray(b\"x\") * 2**26; print(1, flush=True); "
    "import time; time.sleep(60)'], start_new_session=True)\n"
    "print(p.pid, flush=True)\ntime.sleep(60)"
)


def test_a_tree_is_counted_and_ended_with_what_left_the_group() -> None:
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", TREE], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout is not None
    lines = [child.stdout.readline(), child.stdout.readline()]
    grandchild = psutil.Process(max(int(line) for line in lines))
    held, own = machine.resident_bytes(child.pid), grandchild.memory_info().rss
    machine.kill_tree(child.pid)
    assert child.wait(10) == -9
    psutil.wait_procs([grandchild], timeout=5)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    child.stdout.close()
    assert machine.resident_bytes(child.pid) == 0
    assert held > 2**26, "what it has written to is its own, whatever else it shares with other processes"
    assert own > 2**26


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


def test_the_version_of_kexport_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    machine._installed.cache_clear()
    monkeypatch.setattr(machine.metadata, "version", lambda name: "0.0.1")
    assert machine.versions()["kexport"] == __version__
    assert machine.versions()["keras"] == "0.0.1"
    machine._installed.cache_clear()


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("flags : avx2", True),
        ("flags : avx2 avx512f", True),
        ("flags : avx2 avx_vnni", False),
        ("flags : avx2 avx512f avx512_vnni", False),
        ("Features : asimd asimddp", False),
        ("", False),
    ],
)
def test_processors_that_saturate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, found: bool) -> None:
    (tmp_path / "cpuinfo").write_text(flags)
    known = machine.instructions(cpu_info=tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "instructions", lambda: known)
    assert machine.saturates() is found
