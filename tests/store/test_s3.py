"""S3, as a server on this machine speaks it: artifacts, records and the manifest, `--resume`, `verify` and `report`.

The server is moto's. Its packages exclude those of s3fs, so that it comes from an environment of its own:
``python -m venv moto && moto/bin/pip install 'moto[server]'``, then ``KEXPORT_MOTO_SERVER=moto/bin/moto_server``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

SERVER = os.environ.get("KEXPORT_MOTO_SERVER") or shutil.which("moto_server")
SOURCE = ROOT / "tests" / "data" / "tiny-0.1.keras"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(SERVER is None, reason="no moto_server: see the docstring of tests/store/test_s3.py"),
]


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """The environment of programs that use the server, which has a bucket ``models``."""
    assert SERVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([SERVER, "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        environment = {
            **os.environ, "AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        }  # fmt: skip
        _wait(port)
        python(environment, "fs.mkdir('models')")
        yield environment
    finally:
        process.kill()
        process.wait()


def _wait(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


def python(environment: dict[str, str], line: str) -> str:
    words = [sys.executable, "-c", f"import s3fs\nfs = s3fs.S3FileSystem()\n{line}"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout


def kexport(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kexport", *words]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def test_export_resume_verify_report(store: dict[str, str], tmp_path: Path) -> None:
    names = ("First", "Second", "Third")
    for name in names:
        shutil.copy(SOURCE, tmp_path / f"{name}.keras")
    ask = ("export", str(tmp_path / "*.keras"), "--formats", "onnx,tflite", "-o", "s3://models/release")
    made = kexport(store, *ask)
    assert made.returncode == 0, made.stderr
    keys = python(store, "print(*sorted(fs.find('models/release')), sep='\\n')").split()
    for name in names:
        for suffix in ("onnx", "onnx.json", "tflite", "tflite.json"):
            assert f"models/release/{name}/{name}-float32.{suffix}" in keys
    assert keys[-1] == "models/release/manifest.json"
    assert [key for key in keys if ".kexport-" in key] == []
    again = kexport(store, *ask, "--resume", "--json")
    assert again.returncode == 0, again.stderr
    before = kexport(store, "report", "s3://models/release", "--format", "json")
    assert '"reproduce": "kexport export' in before.stdout
    assert "-o s3://models/release --force" in before.stdout
    assert again.stdout == before.stdout, "nothing was made again"
    assert kexport(store, "verify", "s3://models/release").returncode == 0
    folder = "models/release"
    python(store, f"fs.pipe('{folder}/First/First-float32.onnx', b'changed')")
    python(store, f"fs.rm('{folder}/Second/Second-float32.tflite')")
    told = kexport(store, "verify", "s3://models/release")
    assert (told.returncode, len(told.stdout.splitlines())) == (1, 2)
    repaired = kexport(store, *ask, "--resume")
    assert repaired.returncode == 0, repaired.stderr
    assert kexport(store, "verify", "s3://models/release").returncode == 0


def test_models_a_list_and_photographs_that_lie_there(store: dict[str, str], tmp_path: Path) -> None:
    from tests.images.test_calibration import folder as photographs
    from tests.images.test_calibration import pictures

    put = "fs.put({!r}, {!r}, recursive=True)"
    for name in ("First", "Second"):
        python(store, put.format(str(SOURCE), f"models/mine/{name}.keras"))
    photographs(tmp_path, pictures(6), "{:03}.png")
    python(store, put.format(f"{tmp_path}/", "models/photos/"))
    python(store, "fs.pipe('models/list.txt', b's3://models/mine/First.keras\\ns3://models/mine/Second.keras\\n')")
    environment = {**store, "KEXPORT_CACHE": str(tmp_path / "cache")}
    more = (
        "--formats", "onnx", "--schemes", "int8", "--calibration", "s3://models/photos", "--preprocessing", "unit",
        "-o", str(tmp_path / "out"),
    )  # fmt: skip
    records = []
    for source in ("s3://models/mine", "s3://models/mine/*.keras", "@s3://models/list.txt"):
        made = kexport(environment, "export", source, *more, "--resume", "--json")
        assert made.returncode == 0, made.stderr
        records.append(made.stdout)
    assert "kexport export s3://models/mine/First.keras" in records[0]
    assert "--calibration s3://models/photos" in records[0]
    assert str(tmp_path / "cache") not in records[0]
    assert records[1:] == records[:1] * 2, "the same models by other words: nothing was made again"
    python(store, "fs.pipe('models/photos/000.png', fs.cat('models/photos/001.png'))")
    again = kexport(environment, "export", "s3://models/mine/First.keras", *more, "--resume", "--json")
    assert again.returncode == 0, again.stderr
    assert again.stdout not in records[0], "another photograph: made again"


def test_what_s3_refuses_is_told_in_a_line(store: dict[str, str]) -> None:
    for url, wrong, said in (
        ("s3://elsewhere/release", {}, "hint: create the bucket or folder first"),
        ("s3://models/release", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be used"),
        ("s3://models/nothing", {}, "kexport all -o s3://models/nothing"),
    ):
        told = kexport({**store, **wrong}, "report", url)
        assert told.returncode == 3, told.stderr
        assert said in told.stderr
        assert "Traceback" not in told.stderr
