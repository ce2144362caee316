"""A page in headless Chromium that runs a file on WebAssembly: what both browser runtimes have in common.

``KEXPORT_NODE_MODULES`` names the folder of installed packages; ``browser.mjs`` drives the page.
"""

import http.server
import json
import os
import subprocess
import tempfile
import threading
from functools import partial
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
MODULES = Path(os.environ["KEXPORT_NODE_MODULES"])
LIMIT_SECONDS = 150


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 - as the base class has it
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
    }

    def log_message(self, *arguments):
        """Nothing is logged."""


def version(package):
    return json.loads((MODULES / package / "package.json").read_text())["version"]


def answers(page, file, rows):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "modules").symlink_to(MODULES.resolve())
        (folder / "model").symlink_to(Path(file).resolve())
        (folder / "index.html").write_bytes((HERE / "web" / page).read_bytes())
        (folder / "rows.bin").write_bytes(rows.astype("<f4").tobytes())
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=name)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            shape = ",".join(map(str, rows.shape))
            said = driven(f"http://localhost:{server.server_port}/?shape={shape}")
            server.shutdown()
    if said.get("state") != "ready":
        raise RuntimeError(said.get("status") or str(said))
    return np.array(json.loads(said["status"]), np.float32).reshape(len(rows), -1)


def driven(url):
    words = ["node", "--experimental-websocket", str(HERE.parent / "browser.mjs"), url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    if not done.stdout.strip():
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)
