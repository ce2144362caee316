"""Files from elsewhere, looked at before a runtime maps them: in a process of its own, which may crash.

``python -m kexport.runtimes.precheck RUNTIME PATH [run]`` exits 0 for a sound file; 1 with the reason as JSON, 3 with
the package that is absent. With ``run`` the file is opened and run once there as well: a runtime that it crashes does
not take the caller along.
Reading a hostile file is bounded in time and in memory here; what its operators compute is not kexport's to make safe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from kexport import files, machine, runtimes
from kexport.errors import ArtifactError, KexportError, MissingDependencyError

SECONDS = 60.0
BYTES_PER_SECOND = 2**22
"""What a file may take longer for each of these bytes."""
MEMORY_BYTES, MEMORY_TIMES = 4 * 2**30, 8
"""What looking at a file may take, and times its size more."""
_RUN = "run"
LACKING = 3
"""The exit code where a package that reads the file is not installed."""
_MOST_VALUES = 2**26
_HINT = "kexport verify DIR; kexport export ... --force makes it again"


def require_sound(
    runtime: type[runtimes.Session], path: Path, *, run: bool = False, seconds: float | None = None
) -> None:
    """Raise ArtifactError, with one line, unless ``path`` is a file that ``runtime`` may load, and ``run`` once.

    MissingDependencyError where a package is absent that reads it.
    """
    if runtime.require_sound.__func__ is runtimes.Session.require_sound.__func__ or not files.there(path):  # type: ignore[attr-defined]
        return
    seconds = SECONDS + _size(path) / BYTES_PER_SECOND if seconds is None else seconds
    argv = [sys.executable, "-m", "kexport.runtimes.precheck", runtime.name, str(path), *([_RUN] if run else [])]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=seconds,
            env={**os.environ, **machine.as_parent()},
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(f"{path}: looking at it took more than {seconds:.3g} s", hint=_HINT) from error
    if done.returncode == 1 and done.stdout:
        raise ArtifactError(str(json.loads(done.stdout)["message"]), hint=_HINT)
    if done.returncode == LACKING and done.stdout:
        raise MissingDependencyError(str(json.loads(done.stdout)["message"]), hint="pip install 'kexport[run]'")
    if done.returncode:
        what = "looking at it and running it" if run else "looking at it"
        raise ArtifactError(f"{path}: {what} ended its process ({_ending(done.returncode)})", hint=_HINT)


def _size(path: Path) -> int:
    try:
        return files.size_bytes(path)
    except OSError:  # it is told when the file is read
        return 0


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _tried(runtime: type[runtimes.Session], path: Path) -> None:
    """Open and run the file once, with zeros; what it refuses itself is told where it is really run."""
    machine.limit_memory(machine.memory_bytes())
    try:
        session = runtimes.open_session(runtime, path, options=runtime.limited(1))
        shapes = {spec.name: tuple(size or 1 for size in spec.shape) for spec in session.signature[0]}
        dtypes = {spec.name: spec.dtype for spec in session.signature[0]}
        if sum(map(np.prod, shapes.values())) <= _MOST_VALUES:
            session.run({name: np.zeros(shape, dtypes[name]) for name, shape in shapes.items()})
    except (KexportError, TypeError, ValueError):
        return


def main(arguments: list[str]) -> int:
    """Look at one file."""
    name, path, *more = arguments
    machine.end_with_parent()
    machine.limit_memory(min(machine.memory_bytes(), MEMORY_BYTES + MEMORY_TIMES * _size(Path(path))))
    try:
        runtime = runtimes.find(name)
        runtime.require_sound(Path(path))
        if more == [_RUN]:
            _tried(runtime, Path(path))
    except ArtifactError as error:
        sys.stdout.write(json.dumps({"message": error.message}))
        return 1
    except ModuleNotFoundError as error:
        sys.stdout.write(json.dumps({"message": f"{path}: looking at it needs the package {error.name}"}))
        return LACKING
    except MemoryError:
        sys.stdout.write(json.dumps({"message": f"{path}: looking at it takes more memory than it may"}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
