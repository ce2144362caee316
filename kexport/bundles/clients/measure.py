"""The golden inputs through TFLite Micro, and its arena: ``pip install tflite-micro``, Linux on x86-64."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


def measure(folder: Path) -> dict[str, Any]:
    """Arena in bytes, the largest difference from the golden outputs, the share of equal decisions."""
    from tflite_micro import runtime

    contract = json.loads((folder / "contract.json").read_text("utf-8"))
    golden = json.loads((folder / "golden" / "golden.json").read_text("utf-8"))
    interpreter = runtime.Interpreter.from_file(str(folder / contract["model_file"]))
    inputs = _stored(folder, next(iter(golden["inputs"].values())))
    rows = []
    for row in inputs:
        interpreter.set_input(row[None], 0)
        interpreter.invoke()
        rows.append([interpreter.get_output(place)[0] for place in range(len(golden["outputs"]))])
    found = [_compared(_stored(folder, spec), [row[place] for row in rows])
             for place, spec in enumerate(golden["outputs"].values())]  # fmt: skip
    passed = all(each["difference"] <= golden["tolerance"]["relative_to_largest"] for each in found)
    return {"arena_bytes": _arena(interpreter), "outputs": found, "passed": passed}


def _compared(wanted: Any, rows: list[Any]) -> dict[str, float]:
    found = np.stack(rows).astype(np.float64)
    largest = max(float(np.abs(wanted.astype(np.float64)).max()), 1e-30)
    agreement = float((found.argmax(-1) == wanted.argmax(-1)).mean())
    return {"difference": float(np.abs(found - wanted).max()) / largest, "top1_agreement": agreement}


def _stored(folder: Path, spec: dict[str, Any]) -> Any:
    kind = np.dtype(spec["dtype"]).newbyteorder("<")
    return np.fromfile(folder / "golden" / spec["file"], kind).reshape(spec["shape"])


def _arena(interpreter: Any) -> int:
    """TFLite Micro writes it to the process's own streams, nowhere else."""
    with tempfile.TemporaryFile() as file, _redirected(file.fileno()):
        interpreter.print_allocations()
        file.seek(0)
        found = TOTAL.search(file.read().decode("utf-8", "replace"))
    if found is None:
        raise SystemExit("TFLite Micro told no arena")
    return int(found[1])


@contextlib.contextmanager
def _redirected(descriptor: int) -> Iterator[None]:
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    try:
        for stream in kept:
            os.dup2(descriptor, stream)
        yield
    finally:
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)


def main() -> int:
    """One JSON document; exit 1 where the golden outputs are missed."""
    found = measure(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
