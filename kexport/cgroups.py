"""What the control groups of this process allow: the smallest limit from its own group up to the root counts.

A process lies in a group of each hierarchy (`/proc/self/cgroup`, cgroups(7)), and every group above that may limit it
too: a pod around its container, a slice around its service. Version 2 (`cgroup-v2.rst` of the Linux kernel) has one
hierarchy, mounted at the root or, beside version 1, at ``unified``; version 1 has one for each controller. In
a container the path may be the host's and not be there: then those of its groups that are there count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")
SELF = Path("/proc/self/cgroup")


@dataclass(frozen=True, kw_only=True)
class _Names:
    """What the files of a hierarchy are called that limit memory."""

    limit: str
    usage: str
    cache: str


_V2 = _Names(limit="memory.max", usage="memory.current", cache="inactive_file")
_V1 = _Names(limit="memory.limit_in_bytes", usage="memory.usage_in_bytes", cache="total_inactive_file")


def cpu_quota(*, root: Path = ROOT, own: Path = SELF) -> float | None:
    """CPU time per wall time, in cores; None where no group limits it."""
    words = [_read(group / "cpu.max").split() for group, version in _groups("cpu", root, own) if version == 2]
    for group, version in _groups("cpu", root, own):
        if version == 1:
            words.append([_read(group / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")])
    quotas = (int(quota) / int(period) for quota, period in filter(_is_quota, words))
    return min(quotas, default=None)


def memory_limit(*, root: Path = ROOT, own: Path = SELF) -> int | None:
    """Bytes that the strictest group allows; None where none has a limit."""
    return min((limit for limit, _ in _memory(root, own)), default=None)


def memory_left(*, root: Path = ROOT, own: Path = SELF) -> int | None:
    """Bytes that are left in the group that has least of them; None where none has a limit.

    Pages of files that the kernel takes back first are left, too.
    """
    return min((max(0, limit - used) for limit, used in _memory(root, own)), default=None)


def _memory(root: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of every group that has a limit."""
    for group, version in _groups("memory", root, own):
        names = _V2 if version == 2 else _V1
        limit = _read(group / names.limit)
        if limit.isdecimal():
            yield int(limit), _used(group, names)


def _used(group: Path, names: _Names) -> int:
    used = _read(group / names.usage)
    if not used.isdecimal():
        return 0
    cache = re.search(rf"^{names.cache} (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
    return max(0, int(used) - (int(cache[1]) if cache else 0))


def _groups(controller: str, root: Path, own: Path) -> Iterator[tuple[Path, int]]:
    """The groups that this process is in, from its own to the root, and their version."""
    paths = _paths(own)
    for mount in (root, root / "unified"):
        yield from ((group, 2) for group in _upwards(mount, paths.get("", "/")))
    yield from ((group, 1) for group in _upwards(root / controller, paths.get(controller, "/")))


def _paths(own: Path) -> dict[str, str]:
    """The path in each hierarchy by controller; version 2's has no controller: ``""``."""
    found: dict[str, str] = {}
    for line in _read(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    parts = [part for part in PurePosixPath(path).parts if part not in {"/", ".."}]  # ".." leads out of the namespace
    for end in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:end])


def _is_quota(words: list[str]) -> bool:
    """Not "max", as version 2 says where there is no limit, nor "-1", as version 1 does."""
    return len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
