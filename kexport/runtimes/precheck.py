"""Files from elsewhere, looked at before a runtime maps them: in a process of its own, which may crash.

``python -m kexport.runtimes.precheck RUNTIME PATH`` exits 0 for a sound file; 1 with the reason as JSON.
Reading a hostile file is bounded in time and in memory here; running it is not kexport's to make safe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from kexport import machine, runtimes
from kexport.errors import ArtifactError

SECONDS = 300.0
_HINT = "kexport verify DIR; kexport export ... --force makes it again"


def require_sound(runtime: type[runtimes.Session], path: Path, *, seconds: float = SECONDS) -> None:
    """Raise ArtifactError, with one line, unless ``path`` is a file that ``runtime`` may load."""
    if runtime.require_sound.__func__ is runtimes.Session.require_sound.__func__ or not path.exists():  # type: ignore[attr-defined]
        return
    argv = [sys.executable, "-m", "kexport.runtimes.precheck", runtime.name, str(path)]
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
        raise ArtifactError(f"{path}: looking at it took more than {seconds:g} s", hint=_HINT) from error
    if done.returncode == 1 and done.stdout:
        raise ArtifactError(str(json.loads(done.stdout)["message"]), hint=_HINT)
    if done.returncode:
        raise ArtifactError(f"{path}: looking at it ended its process ({_ending(done.returncode)})", hint=_HINT)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def main(arguments: list[str]) -> int:
    """Look at one file."""
    name, path = arguments
    machine.end_with_parent()
    machine.limit_memory(machine.memory_bytes())
    try:
        runtimes.find(name).require_sound(Path(path))
    except ArtifactError as error:
        sys.stdout.write(json.dumps({"message": error.message}))
        return 1
    except MemoryError:
        sys.stdout.write(json.dumps({"message": f"{path}: looking at it takes more memory than there is"}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
