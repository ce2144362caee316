"""`kexport bench` that is told to end: its child ends, and its folders go."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kexport import store
from tests.places import ROOT

SCRIPT = """
import sys
from kexport.cli import main
from kexport.pipeline import ask
ask.command = lambda *words: (sys.executable, "-c", "import time; time.sleep(60)")
sys.exit(main(["bench", sys.argv[1]]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_child_and_folders(tmp_path: Path, number: signal.Signals, code: int) -> None:
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    shutil.copytree(ROOT / "tests/data/artifacts-0.1", out)
    temporary.mkdir()
    words = [sys.executable, "-c", SCRIPT, str(out)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (children := sleeping(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children
    assert list(temporary.iterdir()) != []
    process.send_signal(number)
    assert process.wait(timeout=20) == code
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert list(temporary.iterdir()) == []
    assert [path.name for path in out.rglob(".kexport-*")] == []
    assert store.verify(out) == ()


def sleeping(pid: int) -> list[psutil.Process]:
    """The child that measures."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has ended since
            found += [child] if any("sleep(60)" in word for word in child.cmdline()) else []
    return found
