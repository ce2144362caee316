"""Proof that nothing of a hostile file runs: a process with an audit hook loads each, and tells what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.places import ROOT

SCRIPT = """
import json, os, sys, tempfile
from pathlib import Path
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, h5py
from kexport.errors import SourceError
from kexport.sources import loading
keras.saving.load_model(sys.argv[1])  # what Keras imports while it loads at all
happened, ours = [], (tempfile.gettempdir() + "/kexport-",)
NAMES = ("exec", "compile", "marshal.loads", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
         "socket.connect", "socket.getaddrinfo", "pickle.find_class", "urllib.Request", "ctypes.dlopen")
def hook(event, arguments):
    if not watching:
        return
    if event in NAMES:
        happened.append([event, str(arguments)[:200]])
    elif event == "import" and arguments[0].split(".")[0] in ("evil", "os", "subprocess", "builtins", "torch", "jax"):
        happened.append([event, arguments[0]])
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.fsdecode(arguments[0])
        if path != told and not path.startswith((*ours, sys.prefix, sys.base_prefix, "/proc", "/sys")):
            happened.append([event, path])
watching = False
sys.addaudithook(hook)
found = {}
for told in sys.argv[2:]:
    happened.clear()
    watching = True
    try:
        loading.load(Path(told), trust=False)
        said = "LOADED"
    except SourceError as error:
        said = error.message
    finally:
        watching = False
    found[Path(told).name] = [said, list(happened)]
print(json.dumps(found))
"""


def layer(module: str | None, name: str, /, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": {"name": "odd", **config}, "registered_name": None}


def function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def lambda_of(code: str) -> dict[str, Any]:
    import base64
    import marshal

    value = base64.b64encode(marshal.dumps(compile(code, "evil", "exec"))).decode()
    return {"class_name": "__lambda__", "config": {"code": value, "defaults": None, "closure": None}}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    import keras

    folder = tmp_path_factory.mktemp("hostile")
    secret = folder / "secret.txt"
    secret.write_text("one\ntwo\n")
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    good = folder / "good.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(good)
    code = lambda_of("open('PWNED', 'w')")
    layers = {
        "lambda": layer("keras.layers", "Lambda", function=code),
        "dotted-lambda": layer("keras", "layers.Lambda", function=code),
        "dotted-tfsm": layer("keras", "layers.TFSMLayer", filepath=str(folder)),
        "load-model": layer("keras", "saving.load_model", filepath=str(secret)),
        "get-file": layer("keras", "utils.get_file", fname="x", origin="http://127.0.0.1:9/x"),
        "evil": layer("evil", "Layer"),
        "system": layer("os", "system", command="touch PWNED"),
        "exec": layer("builtins", "exec"),
        "torch": layer("keras.layers", "TorchModuleWrapper", module=code),
        "vocabulary": layer("keras.layers", "StringLookup", vocabulary=str(secret)),
        "wrapped": layer("keras.layers", "TimeDistributed", layer=layer("keras", "layers.Lambda", function=code)),
        "activation": layer("keras.layers", "Dense", units=3, activation=function("keras", "saving.load_model")),
        "download": layer(
            "keras.layers", "Dense", units=1000,
            activation=function("keras.applications.imagenet_utils", "decode_predictions"),
        ),
        "initializer": layer("keras.layers", "Dense", units=3, kernel_initializer=layer("subprocess", "run", args="x")),
    }  # fmt: skip
    files = []
    for name, odd in layers.items():
        files.append(folder / f"{name}.keras")
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(files[-1], "w") as new:
            config = json.loads(old.read("config.json"))
            config["config"]["layers"].insert(1, odd)
            new.writestr("config.json", json.dumps(config))
            new.writestr("model.weights.h5", old.read("model.weights.h5"))
    path = f"{folder}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(good), *map(str, files), str(good)], cwd=folder, capture_output=True,
        text=True, check=False, timeout=200, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (folder / "PWNED").exists()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_file_is_refused_and_nothing_happened(told: dict[str, Any]) -> None:
    good = told.pop("good.keras")
    assert good[0] == "LOADED", "the hook and the script do let a right file through"
    assert len(told) == 14
    for name, (said, happened) in told.items():
        assert said.startswith(f"model {Path(said.split(':')[0].removeprefix('model '))}: layer 'odd'"), (name, said)
        assert happened == [], name
