"""TFLite Micro as a consumer: the arena that a file takes, measured, and whether its answers are the golden ones.

In an environment of its own, since it pins its own packages::

    python -m venv /tmp/micro && /tmp/micro/bin/pip install tflite-micro
    python tests/consumers/micro.py /tmp/micro/bin/python artifacts/*/*-float32.tflite artifacts/*/*-int8.tflite

Each artifact is bundled for ``mcu`` and its ``measure.py`` is run with that Python; a file that the bundle refuses is
measured all the same, and told. The result is parity/micro.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kexport.bundles import common, contract, deployment, find, golden
from kexport.errors import UsageError

PLACE = Path(__file__).resolve().parents[2] / "parity" / "micro.json"


def main(python: str, artifacts: list[str]) -> int:
    """Measure each artifact, write the file."""
    found = [measured(python, Path(artifact)) for artifact in artifacts]
    about = {"tflite_micro": version(python), "host": "64-bit; pointers of a 32-bit controller are half as large"}
    PLACE.write_text(json.dumps({**about, "files": found}, indent=2) + "\n")
    return 0


def version(python: str) -> str:
    """Of the package in that environment."""
    code = "import importlib.metadata as m; print(m.version('tflite-micro'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def measured(python: str, artifact: Path) -> dict[str, Any]:
    """What measure.py says of the file, and why the bundle refuses it, if it does."""
    what = deployment.read(artifact)
    refused = ""
    try:
        find("mcu").require(what)
    except UsageError as error:
        refused = error.message
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = golden.of(what)
        files = {
            **common.model(what),
            **golden.files(arrays),
            "contract.json": contract.text(contract.of(what)),
            "golden/golden.json": contract.text(golden.described(arrays, what)),
            "measure.py": common.client("measure.py"),
        }
        for each, content in files.items():
            (folder / each).parent.mkdir(exist_ok=True)
            (folder / each).write_bytes(content)
        done = subprocess.run([python, folder / "measure.py"], capture_output=True, text=True, check=False)
    said = json.loads(done.stdout) if done.stdout else {"failed": done.stderr.strip().splitlines()[-1]}
    size = {"file": artifact.name, "size_bytes": what.file.size_bytes, "input": list(what.image.shape)}
    line = {**size, **said, "refused": refused}
    sys.stdout.write(f"{json.dumps(line)}\n")
    return line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
