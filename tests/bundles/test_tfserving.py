"""The warm-up file as TensorFlow reads it, and the layout of the folder."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.bundles import tfrecord, tfserving
from kexport.bundles.tfrecord import message
from tests.bundles.conftest import alone
from tests.demonstrated import Demonstrated


def fields(content: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message, by protobuf's own decoder of what is unknown."""
    from google.protobuf import empty_pb2, unknown_fields

    found = empty_pb2.Empty()
    found.ParseFromString(content)
    yield from ((field.field_number, field.data) for field in unknown_fields.UnknownFieldSet(found))


@pytest.fixture(scope="module")
def served(demonstrated: Demonstrated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command: TensorFlow takes its number of threads once in a process."""
    place = tmp_path_factory.mktemp("served") / "bundle"
    words = ["bundle", str(demonstrated.artifact("float32-savedmodel")), "--for", "tfserving", "-o", str(place)]
    subprocess.run([sys.executable, "-m", "kexport", *words], check=True, timeout=200)
    return place


def test_the_known_checksum() -> None:
    assert tfrecord.crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert tfrecord.crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_the_folder_is_a_model_with_a_version(served: Path) -> None:
    version = served / "models" / "digits" / "1"
    assert (version / "saved_model.pb").is_file()
    assert (version / "variables" / "variables.index").is_file()
    assert not list(served.glob("model*.pb"))


def test_tensorflow_reads_the_warm_up(served: Path) -> None:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    path = served / "models" / "digits" / "1" / tfserving.WARMUP
    [record] = [each.numpy() for each in tf.data.TFRecordDataset(str(path))]
    [(number, log)] = fields(record)
    [(inner, request)] = fields(log)
    assert (number, inner) == (6, 1)
    spec, entry = (value for _, value in fields(request))
    assert dict(fields(spec)) == {1: b"digits", 3: b"serving_default"}
    found: dict[int, Any] = dict(fields(entry))
    values = tf.make_ndarray(tensor_pb2.TensorProto.FromString(found[2]))
    name = json.loads((served / "contract.json").read_text())["input"]["name"]
    assert found[1].decode() == name
    np.testing.assert_array_equal(
        values[0], np.fromfile(served / "golden" / "inputs.bin", np.float32).reshape(3, 64, 64, 3)[0]
    )
    loaded = tf.saved_model.load(str(served / "models" / "digits" / "1")).signatures["serving_default"]
    golden = np.fromfile(served / "golden" / "outputs-0.bin", np.float32).reshape(3, 10)
    [output] = loaded(**{name: tf.constant(values)}).values()
    np.testing.assert_allclose(output[0], golden[0], atol=1e-5)


def test_a_damaged_record_is_seen_by_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    content = bytearray(tfserving.warmup("m", "x", np.zeros((1, 2), np.float32)))
    content[-6] ^= 1
    (tmp_path / "bad").write_bytes(bytes(content))
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset(str(tmp_path / "bad")))
    assert message(1, b"ab") == b"\x0a\x02ab"


@pytest.mark.parametrize("right", [True, False])
def test_the_client_compares_what_a_server_answers(right: bool, served: Path) -> None:
    """Against a server of the test that answers as TensorFlow Serving does: columns by output."""
    golden = np.fromfile(served / "golden" / "outputs-0.bin", np.float32).reshape(3, 10)
    inputs = np.fromfile(served / "golden" / "inputs.bin", np.float32).reshape(3, 64, 64, 3)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            [values] = asked.values()
            row = next(place for place in range(3) if np.array_equal(inputs[place], np.float32(values[0])))
            wrong = 0 if right else 0.5
            self.send_response(200 if self.path == "/v1/models/digits:predict" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"outputs": [(golden[row] + wrong).tolist()]}).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    done = alone(served, "client.py", f"127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    assert (done.returncode, done.stdout) == ((0, "self-test passed\n") if right else (1, "self-test FAILED\n")), done
