"""The golden inputs through TensorFlow Serving's REST interface: ``client.py HOST:PORT``; needs numpy alone."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


def main(address: str) -> int:
    """Exit 1 where the server's outputs are not the golden ones."""
    golden = json.loads((HERE / "golden" / "golden.json").read_text("utf-8"))
    model = json.loads((HERE / "server.json").read_text("utf-8"))["model"]
    rows = json.loads((HERE / "contract.json").read_text("utf-8"))["input"]["shape"][0] or 1
    [(name, spec)] = golden["inputs"].items()
    passed = True
    for place, row in enumerate(_stored(spec)):
        body = json.dumps({"inputs": {name: np.repeat(row[None], rows, axis=0).tolist()}}).encode()
        request = urllib.request.Request(f"http://{address}/v1/models/{model}:predict", body)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            found = json.load(answer)["outputs"]
        for output, wanted in golden["outputs"].items():
            values = found[output] if isinstance(found, dict) else found
            passed &= _same(np.asarray(values[0]), _stored(wanted)[place], golden["tolerance"])
    sys.stdout.write(f"self-test {'passed' if passed else 'FAILED'}\n")
    return 0 if passed else 1


def _same(found: Any, wanted: Any, tolerance: dict[str, Any]) -> bool:
    limit = tolerance["relative_to_largest"] * max(float(np.abs(wanted.astype(np.float64)).max()), 1e-30)
    return bool(np.abs(found.astype(np.float64) - wanted).max() <= limit)


def _stored(spec: dict[str, Any]) -> Any:
    kind = np.dtype(spec["dtype"]).newbyteorder("<")
    return np.fromfile(HERE / "golden" / spec["file"], kind).reshape(spec["shape"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "localhost:8501"))
