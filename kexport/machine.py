"""The machine as this process may use it: cores, memory, processor, installed packages.

A container may see 64 processors and be allowed two: affinity and the quotas of its control groups count, and so do
their limits of memory (`kexport.cgroups`).
"""

from __future__ import annotations

import os
import platform
import re
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from kexport import cgroups
from kexport.version import __version__

if TYPE_CHECKING:
    import psutil

CPU_INFO = Path("/proc/cpuinfo")
SELF_STATUS = Path("/proc/self/status")
INSTRUCTIONS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")
SUMS_OF_EIGHT_BITS = frozenset({"avx_vnni", "avx512_vnni", "asimddp", "i8mm"})
"""Those that add products of eight bits up in 32 bits: without them, x86 CPUs add pairs in saturating int16."""
KERAS = ("keras", "tensorflow", "tensorflow-cpu", "jax", "openvino")
"""Keras and what computes for it, by the names of their distributions."""
PACKAGES = (
    *KERAS, "jaxlib", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tf2onnx", "ai-edge-litert", "flatbuffers",
)  # fmt: skip


def cores(*, cgroup: Path = cgroups.ROOT, own: Path = cgroups.SELF) -> int:
    """How many cores this process can really use: affinity and quota, rounded down, at least one."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 1)
    quota = cgroups.cpu_quota(root=cgroup, own=own)
    return usable if quota is None else max(1, min(usable, int(quota)))


def memory_bytes(*, cgroup: Path = cgroups.ROOT, own: Path = cgroups.SELF) -> int:
    """The memory that this process may use: the machine's, or the strictest group's limit where that is less."""
    import psutil

    limit = cgroups.memory_limit(root=cgroup, own=own)
    total = int(psutil.virtual_memory().total)
    return total if limit is None else min(total, limit)


def available_bytes(*, cgroup: Path = cgroups.ROOT, own: Path = cgroups.SELF) -> int:
    """How much of it nobody uses now: free or easily freed on the machine, and left in each group with a limit."""
    import psutil

    left, free = cgroups.memory_left(root=cgroup, own=own), int(psutil.virtual_memory().available)
    return free if left is None else min(free, left)


def resident_bytes(process_id: int) -> int:
    """What a process and all that it started hold in memory now; 0 if it has ended.

    Linux: the proportional share (PSS), so that pages of a forked process and of the one it was forked from count once.
    """
    import psutil

    total = 0
    for process in _tree(process_id):
        share = _SHARE.search(_read(Path(f"/proc/{process.pid}/smaps_rollup")))
        with suppress(psutil.Error):  # it ended meanwhile
            total += int(share[1]) * 1024 if share else int(process.memory_info().rss)
    return total


_SHARE = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)


def alive(process_id: int) -> bool:
    """Whether a process of that id runs, whoever owns it."""
    import psutil

    return bool(psutil.pid_exists(process_id))


def kill_tree(process_id: int) -> None:
    """End a process, its group and all that it started, also what has left the group."""
    import psutil

    tree = _tree(process_id)
    with suppress(ProcessLookupError):
        os.killpg(process_id, signal.SIGKILL)
    for process in tree:
        with suppress(psutil.Error):  # it has ended
            process.kill()


def _tree(process_id: int) -> list[psutil.Process]:
    import psutil

    try:
        root = psutil.Process(process_id)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


PARENT = "KEXPORT_PARENT"


QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
"""Read by ONNX Runtime while it is imported: else two threads start that report (microsoft/onnxruntime#27379)."""


def no_telemetry() -> None:
    """To be called before ONNX Runtime is imported in this process; who has set the variable otherwise is heard."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def as_parent() -> dict[str, str]:
    """What a child finds in its environment, so that it knows its parent from whoever takes it over."""
    return {PARENT: str(os.getpid())}


def end_with_parent(parent: int | None = None) -> None:
    """Let this process be killed as soon as its parent ends, also where that was killed. Linux only: elsewhere nothing.

    Source: prctl(2), PR_SET_PDEATHSIG; a parent that ended before, while this process was starting, has left it to
    another: it is told by its id, or in the environment (`as_parent`).
    """
    if sys.platform != "linux":
        return
    import ctypes

    told = os.environ.get(PARENT, "")
    if parent is None:
        parent = int(told) if told.isdecimal() else os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def limit_memory(size: int) -> None:
    """Let this process's own data not grow above ``size``: beyond, allocations fail instead of the whole machine."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def peak_memory_bytes() -> int:
    """The largest resident size that this process ever had.

    Linux: VmHWM, which belongs to this program alone; `ru_maxrss` survives exec and would report the parent's peak,
    and psutil knows no peak there.
    """
    for line in _read(SELF_STATUS).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processor(*, cpu_info: Path = CPU_INFO) -> str:
    """The processor's model name."""
    return _cpu_field("model name", cpu_info=cpu_info) or platform.processor() or platform.machine()


def instructions(*, cpu_info: Path = CPU_INFO) -> tuple[str, ...]:
    """Those of `INSTRUCTIONS` that decide int8 and float speed and that this processor has."""
    flags = (_cpu_field("flags", cpu_info=cpu_info) or _cpu_field("Features", cpu_info=cpu_info)).split()
    return tuple(name for name in INSTRUCTIONS if name in flags)


def saturates() -> bool:
    """Whether this processor saturates sums of int8 products; false where nothing is known of it."""
    found = instructions()
    return bool(found) and SUMS_OF_EIGHT_BITS.isdisjoint(found)


def versions() -> dict[str, str]:
    """Installed version of every package that matters here; absent packages are left out. Nothing is imported.

    kexport's own is that of the code that runs: what an installation noted may be older, where it is editable.
    """
    return {"python": platform.python_version(), "kexport": __version__} | _installed()


@cache
def _installed() -> dict[str, str]:
    """Read once: every record of a folder asks."""
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def today() -> str:
    """The day by UTC, as ``2026-01-31``."""
    return datetime.now(UTC).date().isoformat()


def describe() -> dict[str, str]:
    """The machine for records and for `kexport doctor`: text only, no host name."""
    return hardware() | {f"version {name}": version for name, version in versions().items()}


def hardware() -> dict[str, str]:
    """What computes: text only, no host name."""
    return {
        "processor": processor(),
        "instructions": " ".join(instructions()) or "none of interest",
        "cores": str(cores()),
        "memory_gib": f"{memory_bytes() / 2**30:.1f}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _cpu_field(name: str, *, cpu_info: Path) -> str:
    for line in _read(cpu_info).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:  # no such file on this system: the caller knows another source or none
        return ""
