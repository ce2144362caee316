"""ImageNet weights from a local server: downloads, the cache, and every failure of both."""

from __future__ import annotations

import os
import shutil
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

from kexport.errors import DownloadError, StoreError
from kexport.files import file_digest
from kexport.sources import build as source
from kexport.sources.weights import download, imagenet, pins, probe
from kexport.sources.weights.file_names import weights_file
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


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with a small HDF5 file of that name."""
    folder = tmp_path / "small"
    folder.mkdir()
    with h5py.File(folder / NAME, "w") as file:
        file["layers/dense/vars/0"] = np.arange(40_000, dtype=np.float32)
    return folder


@pytest.fixture
def address(small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of that folder."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(small))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
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
    pin = pins.known(home / "models")[NAME]
    assert pin.sha256 == file_digest(server / NAME)
    assert pin.url.endswith(f"/{NAME}")
    assert file_utils.get_file is original
    assert capsys.readouterr().out == ""


def test_without_network(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(probe, "getproxies", dict)
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
    monkeypatch.setattr(probe, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(DownloadError, match=r"example.org cannot be reached: timed out"):
        probe.probe("https://example.org/x.h5", failed=DownloadError)
    assert sum(tried) <= 10


def test_the_proxy_is_asked_instead_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "getproxies", lambda: {"https": "http://proxy.example:3128"})
    monkeypatch.setattr(probe, "proxy_bypass", lambda host: host == "inside.example")
    assert probe.endpoint("https://weights.example/x.h5") == ("proxy.example", 3128)
    assert probe.endpoint("https://inside.example/x.h5") == ("inside.example", 443)


@pytest.mark.usefixtures("server")
def test_a_file_that_the_host_does_not_have(home: Path) -> None:
    with pytest.raises(DownloadError, match=f"the server answered 404 File not found; file: .*{NAME}"):
        source.build(SPEC)
    assert not (home / "models" / NAME).exists()


def damage(folder: Path, how: str) -> bytes:
    """A file in the cache that was right once; what was made of it."""
    content = bytearray((folder / NAME).read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    damaged = {"truncated": bytes(content[:100_000]), "page": b"<html>Log in</html>", "empty": b""}.get(
        how, bytes(content)
    )
    (folder / NAME).write_bytes(damaged)
    return damaged


@pytest.mark.parametrize("how", ["truncated", "page", "empty", "flipped"])
def test_a_damaged_file_is_set_aside_before_anything_is_built(
    home: Path, small: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where Keras knows no hash: MobileNet's file is as it was on its first use."""
    models = home / "models"
    shutil.copytree(small, models)
    known = pins.Pin(sha256=file_digest(models / NAME), size_bytes=1, url="x")
    pins.keep(models, NAME, known)
    damaged = damage(models, how)
    told = imagenet._look_before(SPEC)
    assert told.startswith("the cached ImageNet weights of MobileNet were damaged: ")
    assert told.endswith(f"; set aside as {NAME}.damaged")
    assert ("sha256" in told) == (how == "flipped")
    assert not (models / NAME).exists()
    assert (models / f"{NAME}.damaged").read_bytes() == damaged
    assert str(models / f"{NAME}.damaged") in capsys.readouterr().err


def request(home: Path, url: str, **options: Any) -> imagenet.Request:
    return imagenet.Request(model="MobileNet", url=f"{url}{NAME}", target=home / "models" / NAME, **options)


def test_and_fetched_again(home: Path, small: Path, address: str) -> None:
    first = imagenet.obtain(request(home, address))
    assert first.basis == "first use here: its true sha256 is not known, and Keras knows no hash of it"
    assert imagenet.obtain(request(home, address)).basis == "as on its first use here"
    damage(home / "models", "flipped")
    again = imagenet.obtain(request(home, address))
    assert again.sha256 == first.sha256 == file_digest(home / "models" / NAME) == file_digest(small / NAME)
    assert "set aside as " in again.basis
    assert again.basis.endswith("fetched again")


def test_or_refused_without_a_network(home: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(small, home / "models")
    damage(home / "models", "truncated")
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(probe, "getproxies", dict)
    with pytest.raises(DownloadError, match=r"were damaged: .*truncated.*; set aside as .* could not be downloaded: "):
        imagenet.obtain(request(home, "https://example.org/"))


def test_a_host_that_serves_another_file_than_at_first(home: Path, small: Path, address: str) -> None:
    imagenet.obtain(request(home, address))
    (home / "models" / NAME).unlink()
    before = damage(small, "flipped")
    with pytest.raises(DownloadError, match=r"its sha256 is \w{64}, on first use it was \w{64}"):
        imagenet.obtain(request(home, address))
    assert not (home / "models" / NAME).exists(), "fail closed, never cached"
    assert (small / NAME).read_bytes() == before


def test_a_host_that_serves_a_page(home: Path, small: Path, address: str) -> None:
    (small / NAME).write_bytes(b"<html>Log in</html>")
    with pytest.raises(DownloadError, match="not an HDF5 file"):
        imagenet.obtain(request(home, address))
    assert not (home / "models" / NAME).exists()


def test_another_hash_than_keras_expects(home: Path, small: Path, address: str) -> None:
    with pytest.raises(DownloadError, match=f"its hash is not {'0' * 32}, which Keras expects"):
        imagenet.obtain(request(home, address, file_hash="0" * 32))
    assert not (home / "models" / NAME).exists()


@pytest.mark.parametrize("kind", ["folder", "file address", "address"])
def test_a_mirror(home: Path, small: Path, address: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"folder": str(small), "file address": small.as_uri(), "address": address}
    monkeypatch.setenv("KEXPORT_WEIGHTS_URL", places[kind])
    imagenet.obtain(request(home, "https://example.invalid/"))
    assert file_digest(home / "models" / NAME) == file_digest(small / NAME)
    (home / "models" / NAME).unlink()
    (small / NAME).unlink()
    with pytest.raises(DownloadError, match=r"404|No such file or directory"):
        imagenet.obtain(request(home, "https://example.invalid/"))


def test_a_mirror_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEXPORT_WEIGHTS_URL", "no/such/folder")
    with pytest.raises(DownloadError, match="expected a folder that is there, or an http"):
        imagenet.obtain(request(home, "https://example.invalid/"))


def test_a_list_of_hashes_that_is_damaged(home: Path, small: Path) -> None:
    shutil.copytree(small, home / "models")
    (home / "models" / pins.FILE).write_text("{")
    with pytest.raises(StoreError, match="the hashes of weight files cannot be read") as caught:
        imagenet.obtain(request(home, "https://example.org/"))
    assert caught.value.hint == f"rm {home / 'models' / pins.FILE}"
    assert (home / "models" / NAME).exists(), "the weights are not to blame"


ASKED = [
    ModelSpec(application="MobileNet", alpha=0.25, input_shape=(160, 160, 3)),
    ModelSpec(application="MobileNetV2", alpha=0.35, include_top=False, input_shape=(96, 96, 3)),
    ModelSpec(application="MobileNetV3Small", alpha=0.75, include_top=False),
    ModelSpec(application="EfficientNetV2B0"),
]


@pytest.mark.parametrize("spec", ASKED, ids=lambda spec: spec.application)
def test_names_are_those_that_keras_asks_for(home: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    def taken(request: imagenet.Request, **options: object) -> Any:
        names.append(request.target.name)
        raise DownloadError("seen")

    monkeypatch.setattr(imagenet, "obtain", taken)
    with pytest.raises(DownloadError, match="seen"):
        source.build(spec)
    assert names == [weights_file(spec)]


NAMES = {
    "Xception": "xception_weights_tf_dim_ordering_tf_kernels.h5",
    "VGG19": "vgg19_weights_tf_dim_ordering_tf_kernels.h5",
    "ResNet152V2": "resnet152v2_weights_tf_dim_ordering_tf_kernels.h5",
    "InceptionV3": "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
    "InceptionResNetV2": "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
    "DenseNet121": "densenet121_weights_tf_dim_ordering_tf_kernels.h5",
    "NASNetMobile": "nasnet_mobile.h5",
    "NASNetLarge": "nasnet_large.h5",
    "EfficientNetB7": "efficientnetb7.h5",
    "EfficientNetV2L": "efficientnetv2-l.h5",
    "ConvNeXtXLarge": "convnext_xlarge.h5",
    "MobileNetV3Large": "weights_mobilenet_v3_large_224_1.0_float.h5",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_stand_in_keras(name: str) -> None:
    assert weights_file(ModelSpec(application=name)) == NAMES[name]


def test_the_shared_temporary_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.backend import config

    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setattr(config, "_KERAS_DIR", "/tmp/.keras")
    with pytest.raises(DownloadError, match=r"would keep weights in the shared folder /tmp/.keras") as caught:
        imagenet.cache_folder()
    assert caught.value.hint == "export KERAS_HOME=/a/folder/of/yours"


@pytest.mark.usefixtures("server")
def test_a_cache_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != home and real(path, mode))
    with pytest.raises(DownloadError, match="keras home cannot be used: no permission to write there"):
        source.build(SPEC)
