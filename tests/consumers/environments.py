"""An environment for each consumer, under a folder of the caller's: what is installed once stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.consumers.consumer import Consumer

NODE_PACKAGES = ("onnxruntime-web@1.30.0", "@litertjs/core@2.5.3")
CLIENTS = Path(__file__).with_name("clients")


def command(consumer: Consumer, cache: Path) -> list[str]:
    """What starts the consumer's client."""
    return [str(_python(consumer, cache)), str(CLIENTS / "loop.py"), consumer.client]


def variables(cache: Path) -> dict[str, str]:
    """The environment variables of a client: few threads, no words on what it does."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "GLOG_minloglevel": "2", "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, **quiet, "KEXPORT_NODE_MODULES": str(cache / "node" / "node_modules")}


def ready(consumer: Consumer, cache: Path) -> str:
    """Install what is missing; why that failed, or nothing."""
    if consumer.node:
        return _node(cache / "node")
    if not consumer.packages or _python(consumer, cache).exists():
        return ""
    folder = cache / "environments" / consumer.folder
    made = _run([sys.executable, "-m", "venv", str(folder)])
    failed = made or _run([str(folder / "bin" / "pip"), "install", "-q", *consumer.packages])
    if failed:
        _python(consumer, cache).unlink(missing_ok=True)
    return failed


def _python(consumer: Consumer, cache: Path) -> Path:
    return cache / "environments" / consumer.folder / "bin" / "python" if consumer.packages else Path(sys.executable)


def _node(folder: Path) -> str:
    if (folder / "node_modules").is_dir():
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    return _run(["npm", "install", "--silent", "--prefix", str(folder), *NODE_PACKAGES])


def _run(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return "" if done.returncode == 0 else (said[-1] if said else f"{words[0]} ended with {done.returncode}")
