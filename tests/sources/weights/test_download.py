"""Downloads from a server that misbehaves in each way: a file comes whole or not at all, and one line says why."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from kexport import disk
from kexport.sources.weights import download
from kexport.sources.weights.download import TransferError, fetch
from tests.sources.weights.misbehaving import Handler, Script, serving

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(download, "STALL_SECONDS", 0.5)
    told = Script(content=CONTENT)
    with serving(told):
        yield told


def whole(path: Path) -> None:
    assert path.read_bytes() == CONTENT


def test_whole(tmp_path: Path, script: Script) -> None:
    fetch(script.url, tmp_path / "x.h5", check=whole)
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]
    assert script.asked == [""]


@pytest.mark.parametrize("word", ["cut off", "stalls", "trickles", "500", "503", "429"])
def test_what_passes_is_tried_again_from_where_it_broke(tmp_path: Path, script: Script, word: str) -> None:
    script.answers = [word, "whole"]
    fetch(script.url, tmp_path / "x.h5", check=whole)
    first, second = script.asked
    assert first == ""
    assert second == "" if word.isdecimal() else second.startswith("bytes=")


@pytest.mark.parametrize("word", ["ignores ranges", "another part"])
def test_a_server_that_answers_ranges_wrongly(tmp_path: Path, script: Script, word: str) -> None:
    script.answers = ["cut off", word, "whole"]
    fetch(script.url, tmp_path / "x.h5", check=whole)


def test_two_versions_are_never_mixed(tmp_path: Path, script: Script) -> None:
    """The file changes between two attempts: its tag is another one, so that all of it is sent."""
    script.answers = ["cut off", "whole"]
    before, script.content = script.content, b"o" * len(CONTENT)
    first = script.next

    def changing() -> str:
        word = first()
        if len(script.asked) == 2:
            script.content, script.tag = before, '"2"'
        return word

    script.next = changing  # type: ignore[method-assign]
    fetch(script.url, tmp_path / "x.h5", check=whole)


def test_416_begins_again(tmp_path: Path, script: Script) -> None:
    script.answers = ["cut off", "416", "whole"]
    fetch(script.url, tmp_path / "x.h5", check=whole)
    assert script.asked[2] == ""


REFUSED = {
    "404": "the server answered 404 Not Found",
    "403": "the server answered 403 Forbidden",
    "cut off": "it ended after 1,023,000 of 1,024,000 bytes, 4 times",
    "stalls": "nothing came for 0.5 seconds, 4 times",
    "500": "the server answered 500 Internal Server Error, 4 times",
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_does_not_come_is_told_in_a_line(tmp_path: Path, script: Script, word: str) -> None:
    script.answers = [word]
    with pytest.raises(TransferError) as caught:
        fetch(script.url, tmp_path / "x.h5", check=whole)
    wanted = REFUSED[word].replace("1,023,000", "960,000")
    assert caught.value.message == wanted
    assert len(script.asked) == (4 if "times" in wanted else 1)
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_never_get_the_name(tmp_path: Path, script: Script) -> None:
    script.answers = ["other bytes"]
    (tmp_path / "x.h5").write_bytes(b"old")
    with pytest.raises(AssertionError):
        fetch(script.url, tmp_path / "x.h5", check=whole)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.h5", b"old")]


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_a_redirect_to_another_protocol(tmp_path: Path, script: Script, place: str) -> None:
    script.answers, script.location = ["elsewhere"], place
    with pytest.raises(TransferError, match=r"is not (followed|allowed)"):
        fetch(script.url, tmp_path / "x.h5", check=whole)


def test_a_redirect_is_followed_and_an_endless_one_is_not(tmp_path: Path, script: Script) -> None:
    script.answers, script.location = ["elsewhere", "whole"], script.url
    fetch(script.url, tmp_path / "x.h5", check=whole)
    script.answers = ["elsewhere"]
    with pytest.raises(TransferError, match="the server answered 302"):
        fetch(script.url, tmp_path / "y.h5", check=whole)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script) -> Iterator[str]:
    """An https address of the same script, whose certificate this process trusts."""
    certificate = _certificate(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    handler = type("Told", (Handler,), {"script": script})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}/x.h5"
        server.shutdown()


def _certificate(folder: Path) -> Path:
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    own = x509.BasicConstraints(ca=True, path_length=None)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(host, critical=False).add_extension(own, critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    folder.mkdir()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return folder / "server.pem"


def test_https_never_becomes_http(tmp_path: Path, script: Script, secure: str) -> None:
    fetch(secure, tmp_path / "x.h5", check=whole)
    script.answers, script.location = ["elsewhere", "whole"], script.url
    with pytest.raises(TransferError, match=f"it leads from https to {script.url}, which is not followed"):
        fetch(secure, tmp_path / "y.h5", check=whole)
    assert not (tmp_path / "y.h5").exists()


def test_a_certificate_that_nobody_trusts(
    tmp_path: Path, script: Script, secure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(TransferError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(secure, tmp_path / "x.h5", check=whole)


def test_a_file_that_does_not_fit(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda _: 1000)
    with pytest.raises(TransferError, match=r"no space left in .*: 1,000 bytes \(0.0 MiB\) free, 1,024,000 bytes"):
        fetch(script.url, tmp_path / "x.h5", check=whole)
    assert list(tmp_path.iterdir()) == []


def test_more_than_there_may_be(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with pytest.raises(TransferError, match="it has 1,024,000 bytes, expected at most 1,000"):
        fetch(script.url, tmp_path / "x.h5", check=whole)


def test_what_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="is no http or https address"):
        fetch("file:///etc/passwd", tmp_path / "x.h5", check=whole)
