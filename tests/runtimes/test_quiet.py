"""Nothing is reported: ONNX Runtime has no threads but its own when this package has imported it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

AVAILABLE = "from kexport.runtimes import ort; ort._check_available(ort.CPU_PROVIDER, device='cpu')"
FINDINGS = "from kexport.cli import doctor; doctor._providers(gpu=False)"
THREADS = "import os; print(len(os.listdir('/proc/self/task')), os.environ['ORT_DISABLE_TELEMETRY'])"


def threads(code: str, **variables: str) -> str:
    """How many threads a new program has after that code, and what the variable says then."""
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {**kept, "OPENBLAS_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-c", f"{code}; {THREADS}"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("code", [AVAILABLE, FINDINGS], ids=["a session", "kexport doctor"])
def test_no_thread_reports(code: str) -> None:
    assert threads(code) == "1 1"


def test_who_wants_it_otherwise_is_heard() -> None:
    assert threads(AVAILABLE, ORT_DISABLE_TELEMETRY="0").split()[1] == "0"
