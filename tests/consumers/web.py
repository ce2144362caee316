"""Chromium as a consumer of web bundles: the golden page passes, and a photograph has the classes of the Python client.

Needs ``chromium``, Node 20 and, once, ``npm install onnxruntime-web@1.30.0 @litertjs/core@2.5.3``::

    python tests/consumers/web.py NODE_MODULES PHOTOGRAPH SHOTS artifacts/*/*-int8.onnx artifacts/*/*-int8.tflite

A screenshot of each page lies in SHOTS afterwards, to be looked at.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kexport.bundles.write import bundle

DRIVER = Path(__file__).with_name("browser.mjs")
LARGEST = 1e-3


def main(modules: Path, photograph: Path, shots: Path, artifacts: list[Path]) -> int:
    """Exit 1 where a page fails, or names other classes than the client in Python."""
    shots.mkdir(parents=True, exist_ok=True)
    results = [checked(modules, photograph, shots, artifact) for artifact in artifacts]
    return 0 if all(results) else 1


def checked(modules: Path, photograph: Path, shots: Path, artifact: Path) -> bool:
    """One artifact's page: the self-test, then the photograph."""
    with tempfile.TemporaryDirectory() as name:
        page = bundle(artifact, "web", Path(name) / "web", runtime_files=modules)
        client = bundle(artifact, "python", Path(name) / "python")
        shutil.copyfile(photograph, page / "photograph")
        words = [sys.executable, "-I", "classify.py", "--json", str(photograph)]
        said = subprocess.run(words, cwd=client, capture_output=True, text=True, check=True).stdout
        [expected] = json.loads(said).values()
        server = subprocess.Popen([sys.executable, "-u", "serve.py", "0"], cwd=page, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.DEVNULL)  # fmt: skip
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            test = driven(f"{address}/?self-test")
            named = driven(f"{address}/?image=photograph", shots / f"{artifact.name}.png")
        finally:
            server.terminate()
            server.wait()
    same = agree(named["classes"], expected)
    right = test["state"] == "passed" and same and not named["problems"]
    sys.stdout.write(f"{'right' if right else 'WRONG'} {artifact.name}: {test['status']}; {named['classes'][:2]}\n")
    return right


def agree(found: list[list[str]], expected: list[list[Any]]) -> bool:
    """The same classes in the same order, with nearly the same numbers."""
    pairs = list(zip(found, expected, strict=True))
    return all(one == two and abs(float(number) - value) <= LARGEST for (one, number), (two, value) in pairs)


def driven(url: str, shot: Path | None = None) -> dict[str, Any]:
    """What the page shows when it has come to rest."""
    words = ["node", "--experimental-websocket", str(DRIVER), url, *([str(shot)] if shot else [])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), [Path(name) for name in sys.argv[4:]]))
