"""The demo's command, run once for all tests that need a trained network: float32 and int8, 60 held-out images."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from kexport.cli import main
from kexport.pipeline import demo
from kexport.registry import Format, Scheme

COUNT = 60


@dataclass(frozen=True)
class Demonstrated:
    """What was asked for, and what the command wrote."""

    demo: demo.Demo
    code: int
    out: str
    err: str

    def artifact(self, name: str) -> Path:
        """By a name like ``int8.onnx``."""
        return self.demo.artifacts / "digits" / f"digits-{name}"


def _shown(place: Path) -> Demonstrated:
    whole, hook = demo.prepare, sys.excepthook
    kept: list[demo.Demo] = []

    def limited(directory: Path) -> demo.Demo:
        kept.append(whole(directory, schemes=(Scheme.FLOAT32, Scheme.INT8), count=COUNT))
        return kept[0]

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(demo, "prepare", limited)
        code = main(["demo", "-o", str(place)])
    sys.excepthook = hook
    return Demonstrated(kept[0], code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> Demonstrated:
    """Formats that are made unless said, and SavedModel; once for all of pytest's processes."""
    assert {"onnx", "tflite", "savedmodel"} <= set(map(str, Format))
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _shown(tmp_path_factory.getbasetemp() / "demonstrated")
    shared = tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "demonstrated.lock"):
        kept = shared / "demonstrated.pickle"
        if not kept.exists():
            kept.write_bytes(pickle.dumps(_shown(shared / "demonstrated")))
        return pickle.loads(kept.read_bytes())  # type: ignore[no-any-return]
