"""A page for browsers: ONNX Runtime Web or LiteRT.js on WebAssembly, drag and drop, the golden files as its test.

The runtime's own files are not kexport's to carry: ``npm install`` fetches the pinned release, or
``--runtime-files DIR`` takes them from an installation that is there. Nothing is fetched when the page runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kexport.bundles import Bundle, Files, common, contract
from kexport.bundles.deployment import Deployment
from kexport.bundles.golden import Golden
from kexport.errors import UsageError

ORT, LITERT = "onnxruntime-web", "@litertjs/core"
PACKAGES = {"onnx": {ORT: "1.30.0"}, "tflite": {LITERT: "2.5.3", "@litertjs/wasm-utils": "2.5.3"}}
_WASM = ("litert_wasm_internal", "litert_wasm_compat_internal", "litert_wasm_threaded_internal")
RUNTIME = {
    "onnx": {
        f"{ORT}/dist/{name}": name
        for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
    },
    "tflite": {
        f"{LITERT}/dist/index.js": "litert.js",
        "@litertjs/wasm-utils/dist/index.js": "wasm-utils.js",
        **{f"{LITERT}/wasm/{name}.{ending}": f"wasm/{name}.{ending}" for name in _WASM for ending in ("js", "wasm")},
    },
}
"""By format: files of ``node_modules``, and what they are called in ``runtime/``."""
IMPORTS = {
    "onnx": {},
    "tflite": {LITERT: "./runtime/litert.js", "@litertjs/wasm-utils": "./runtime/wasm-utils.js"},
}
TYPES = {"onnx": ("float32", "uint8", "int8"), "tflite": ("float32", "uint8")}


def _files(deployment: Deployment, golden: Golden) -> Files:
    del golden
    form = deployment.format
    described = {**contract.of(deployment), "has_labels": bool(deployment.labels)}
    page = common.client("web/index.html").decode().replace("@IMPORTS@", json.dumps({"imports": IMPORTS[form]}))
    return {
        **common.model(deployment),
        **{name: common.client(f"web/{name}") for name in ("classify.js", "preprocess.js", "runtime.mjs", "serve.py")},
        "index.html": page.encode(),
        "runtime.js": common.client(f"web/runtime-{form}.js"),
        "runtime.json": _json({"files": RUNTIME[form]}),
        "package.json": _json(
            {"private": True, "scripts": {"postinstall": "node runtime.mjs"}, "dependencies": PACKAGES[form]}
        ),
        "contract.json": contract.text(described),
        **_runtime(form, deployment.runtime_files),
    }


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _runtime(form: str, folder: Path | None) -> Files:
    """The runtime's files out of ``folder``, a ``node_modules``. Raises UsageError that names the first it lacks."""
    if folder is None:
        return {}
    missing = next((name for name in RUNTIME[form] if not (folder / name).is_file()), None)
    if missing is not None:
        packages = " ".join(f"{name}@{version}" for name, version in PACKAGES[form].items())
        raise UsageError(
            f"--runtime-files {folder}: there is no {missing}, expected the node_modules of: npm install {packages}",
            hint="--runtime-files node_modules",
        )
    return {f"runtime/{name}": (folder / source).read_bytes() for source, name in RUNTIME[form].items()}


def _refusal(deployment: Deployment) -> str:
    batch, form = deployment.image.shape[0], deployment.format
    if batch not in (None, 1):
        return f"it has a batch of {batch}, the page gives one image"
    strange = [f"{each.name} {each.dtype}" for each in (*deployment.inputs, *deployment.outputs)
               if each.dtype not in TYPES[form]]  # fmt: skip
    if strange:
        return f"{', '.join(strange)}: the page runs {form} files with {', '.join(TYPES[form])}"
    return "" if deployment.classes else "its outputs are no row of classes for a page to list"


def _readme(deployment: Deployment) -> str:
    name = {"onnx": "ONNX Runtime Web", "tflite": "LiteRT.js"}[deployment.format]
    fetch = (
        "" if deployment.runtime_files else "npm install                 # fetches the pinned runtime into runtime/\n"
    )
    return (
        f"```\n{fetch}"
        "python3 serve.py            # http://localhost:8000, or /?self-test\n"
        "```\n\n"
        f"{name} runs the model on WebAssembly, in the browser alone: images go nowhere. Several threads need the "
        "headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, which "
        "`serve.py` sends; without them it runs on one. Any web server that sends `.wasm` as application/wasm will do: "
        "what it has to serve is this folder without `node_modules`."
    )


BUNDLE = Bundle(
    name="web",
    summary="a page for browsers",
    formats=("onnx", "tflite"),
    files=_files,
    readme=_readme,
    refusal=_refusal,
    takes_runtime_files=True,
)
