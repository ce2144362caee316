"""ImageNet weights from a local server: downloads, the cache, and every failure of both."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kexport.errors import DownloadError, SourceError
from kexport.sources import build as source
from kexport.sources.weights import imagenet
from kexport.specs import ModelSpec

NAME = "mobilenet_2_5_224_tf_no_top.h5"
SPEC = ModelSpec(application="MobileNet", alpha=0.25, include_top=False)


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from keras.src.backend import config

    folder = tmp_path / "keras home"
    folder.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(folder))
    monkeypatch.setattr(config, "_KERAS_DIR", str(folder))
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that stands for Keras's download host."""
    from keras.src.applications import mobilenet

    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setattr(mobilenet, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{http.server_port}/")
        yield folder
        http.shutdown()


def publish(folder: Path) -> Any:
    """Seeded weights as the host's file; the model that has them."""
    import keras
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    keras.utils.set_random_seed(5)
    model = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(224, 224, 3))
    with h5py.File(folder / NAME, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return model


def no_network(*arguments: object, **options: object) -> Any:
    raise socket.gaierror(-2, "Name or service not known")


def test_download_then_cache(
    home: Path, server: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from keras.src.utils import file_utils

    original = file_utils.get_file
    published = publish(server)
    for _ in range(2):
        model = source.build(SPEC)
        for ours, theirs in zip(model.weights, published.weights, strict=True):
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
        monkeypatch.setattr(socket, "getaddrinfo", no_network)  # the second time: from the cache alone
    assert (home / "models" / NAME).read_bytes() == (server / NAME).read_bytes()
    assert file_utils.get_file is original
    assert capsys.readouterr().out == ""


def test_without_network(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(imagenet, "getproxies", dict)
    start = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        source.build(ModelSpec(application="ResNet50"))
    assert time.monotonic() - start < 20, "most of it builds the network"
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "the ImageNet weights of ResNet50 could not be downloaded: storage.googleapis.com cannot be reached: "
        "[Errno -2] Name or service not known; "
        "file: https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        "resnet50_weights_tf_dim_ordering_tf_kernels.h5\n"
        f"hint: --weights random:0, --weights FILE, or put the file into {home / 'models'}"
    )
    assert list(home.iterdir()) == []


def test_a_host_that_never_answers_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def silent(address: object, timeout: float) -> Any:
        tried.append(timeout)
        raise TimeoutError("timed out")

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n}", 443)) for n in range(16)]
    monkeypatch.setattr(imagenet, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(DownloadError, match=r"example.org cannot be reached: timed out"):
        imagenet.probe("https://example.org/x.h5", model="X")
    assert sum(tried) <= 10


def test_the_proxy_is_asked_instead_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "getproxies", lambda: {"https": "http://proxy.example:3128"})
    monkeypatch.setattr(imagenet, "proxy_bypass", lambda host: host == "inside.example")
    assert imagenet._endpoint("https://weights.example/x.h5") == ("proxy.example", 3128)
    assert imagenet._endpoint("https://inside.example/x.h5") == ("inside.example", 443)


@pytest.mark.usefixtures("server")
def test_a_file_that_the_host_does_not_have(home: Path) -> None:
    with pytest.raises(DownloadError, match=f"URL fetch failure on .*{NAME}: 404"):
        source.build(SPEC)
    assert not (home / "models" / NAME).exists()


def test_a_truncated_file_in_the_cache(home: Path, server: Path) -> None:
    publish(server)
    target = home / "models" / NAME
    target.parent.mkdir()
    target.write_bytes((server / NAME).read_bytes()[:100_000])
    with pytest.raises(SourceError) as caught:
        source.build(SPEC)
    assert "the cached ImageNet weights of MobileNet are damaged: " in caught.value.message
    assert "truncated file" in caught.value.message
    assert f"; file: {target}" in caught.value.message
    assert caught.value.hint == f"rm {target}"


def test_another_hash_than_keras_expects(tmp_path: Path) -> None:
    target = tmp_path / "x.h5"
    with h5py.File(target, "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3)
    request = imagenet.Request(model="X", url="https://example.org/x.h5", target=target, file_hash="0" * 32)
    with pytest.raises(SourceError, match=f"its hash is not {'0' * 32}"):
        imagenet._fetch(request, lambda: pytest.fail("a damaged file is told, not replaced"))


def test_the_shared_temporary_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.backend import config

    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setattr(config, "_KERAS_DIR", "/tmp/.keras")
    with pytest.raises(DownloadError, match=r"would keep weights in the shared folder /tmp/.keras") as caught:
        imagenet.cache_folder()
    assert caught.value.hint == "KERAS_HOME=/a/folder/of/yours kexport ..."


@pytest.mark.usefixtures("server")
def test_a_cache_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != home and real(path, mode))
    with pytest.raises(DownloadError, match="keras home cannot be used: no permission to write there"):
        source.build(SPEC)


def test_other_failures_pass_unchanged(home: Path) -> None:
    request = imagenet.Request(model="X", url="https://example.org/x.h5", target=home / "x.h5", file_hash=None)
    with pytest.raises(ZeroDivisionError), imagenet._Failures(request):
        _ = 1 // 0
    before = socket.getdefaulttimeout()
    with pytest.raises(DownloadError), imagenet._Failures(request), imagenet._stall_limit():
        raise TimeoutError("stalled")
    assert socket.getdefaulttimeout() == before
