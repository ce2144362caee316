"""The report step needs nothing heavy: reading reports works without Keras, runtimes, pydantic or rich."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("keras", "tensorflow", "onnxruntime", "onnx", "ai_edge_litert", "pydantic", "rich")


def test_rendering_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom kexport.records import Record, Status\nfrom kexport.reports import formats, render\n"
        "one = Record(model='M', format='onnx', scheme='float32', status=Status.PASS)\n"
        "texts = [render([one], name) for name in formats()]\nassert len(texts) == 7\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
