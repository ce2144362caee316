"""Signed folders: every row of the forgery list is named with the key, and what is not seen without one is shown."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kexport import reports, store
from kexport.cli import main
from kexport.errors import MissingDependencyError, SourceError, StoreError
from kexport.pipeline import provenance
from kexport.records import Record
from tests.places import ROOT

RECORD = "tiny/tiny-float32.onnx.json"
ARTIFACT = "tiny/tiny-float32.onnx"


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}-public.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_key(tmp_path_factory.mktemp("keys"), "mine")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> Path:
    """A folder of records with provenance, signed on the command line."""
    folder = tmp_path_factory.mktemp("signed") / "artifacts"
    shutil.copytree(ROOT / "tests/data/artifacts-0.1", folder)
    for record in store.read_records(folder):
        assert record.artifact is not None
        assert record.source is not None
        told = provenance.statement(record.artifact, record.source, command="kexport", versions=record.versions)
        store.write_record(folder, replace(record, provenance=told), Path(record.artifact.path).name)
    store.write_manifest(folder)
    assert main(["sign", str(folder), "--key", str(keys[0])]) == 0
    return folder


@pytest.fixture
def folder(tmp_path: Path, signed: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "artifacts"))


def change_record(folder: Path, change: Callable[[dict[str, Any]], None], name: str = RECORD) -> None:
    record = json.loads((folder / name).read_text())
    change(record)
    (folder / name).write_text(json.dumps(record))


def forge_artifact(folder: Path) -> None:
    """Another file under the name, and everything that speaks of it."""
    (folder / ARTIFACT).write_bytes(b"forged")
    digest = store.manifest.file_digest(folder / ARTIFACT)  # type: ignore[attr-defined]

    def change(record: dict[str, Any]) -> None:
        record["artifact"].update(sha256=digest, size_bytes=6)
        record["provenance"]["subject"][0]["digest"]["sha256"] = digest

    change_record(folder, change)
    store.write_manifest(folder)


def raise_bounds(folder: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        for check in record["parity"]["checks"]:
            check.update(bound=check["bound"] * 10 if "error" in check["name"] else 0.0)

    change_record(folder, change)
    store.write_manifest(folder)


def other_weights(folder: Path) -> None:
    change_record(folder, lambda record: record["source"].update(weights_sha256="0" * 64))
    store.write_manifest(folder)


def other_command(folder: Path) -> None:
    change_record(folder, lambda record: record["provenance"]["predicate"].update(buildDefinition={}))
    store.write_manifest(folder)


def remove_artifact(folder: Path) -> None:
    (folder / ARTIFACT).unlink()
    (folder / RECORD).unlink()
    store.write_manifest(folder)


def add_artifact(folder: Path) -> None:
    shutil.copy(folder / ARTIFACT, folder / "tiny/tiny-float16.onnx")
    record = json.loads((folder / RECORD).read_text())
    record["artifact"].update(path="tiny/tiny-float16.onnx", scheme="float16")
    record["provenance"]["subject"][0].update(name="tiny/tiny-float16.onnx")
    (folder / "tiny/tiny-float16.onnx.json").write_text(json.dumps(record | {"scheme": "float16"}))
    store.write_manifest(folder)


# what is forged, with its manifest and so that everything agrees -> what names it
CONSISTENT: dict[str, tuple[Callable[[Path], object], str]] = {
    "another artifact": (forge_artifact, f"{ARTIFACT}: changed since it was signed"),
    "raised bounds": (raise_bounds, f"{RECORD}: changed since it was signed"),
    "other weights": (other_weights, f"{RECORD}: changed since it was signed"),
    "another origin": (other_command, f"{RECORD}: changed since it was signed"),
    "an artifact removed": (remove_artifact, f"{ARTIFACT}: removed since it was signed"),
    "an artifact added": (add_artifact, "tiny/tiny-float16.onnx: added since the directory was signed"),
    "the bill": (
        lambda folder: (folder / store.BOM).write_text("{}"),
        f"{store.BOM}: changed since it was signed",
    ),
}


def link(folder: Path) -> None:
    shutil.move(folder / ARTIFACT, folder.parent / "elsewhere")
    (folder / ARTIFACT).symlink_to(folder.parent / "elsewhere")


def fifo(folder: Path) -> None:
    (folder / ARTIFACT).unlink()
    os.mkfifo(folder / ARTIFACT)


def drop_entries(folder: Path) -> None:
    """An artifact, its record and both entries, by hand."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in (ARTIFACT, RECORD):
        (folder / name).unlink()
        del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def swap_entries(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    files = manifest["files"]
    files["x.onnx"] = files.pop(ARTIFACT)
    (folder / ARTIFACT).rename(folder / "x.onnx")
    (folder / "manifest.json").write_text(json.dumps(manifest))


def foreign_provenance(folder: Path) -> None:
    change_record(folder, lambda record: record["provenance"].update(subject=[]))
    store.write_manifest(folder)


# what already contradicts itself: named without a key as well
VISIBLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "an edited byte": (
        lambda folder: (folder / ARTIFACT).write_bytes(b"x" * 9),
        f"{ARTIFACT}: 9 bytes, expected ",
    ),
    "an extra file": (
        lambda folder: (folder / "tiny/evil.py").write_text("x"),
        "tiny/evil.py: not in the manifest",
    ),
    "a hole of a terabyte": (
        lambda folder: os.truncate(folder / ARTIFACT, 2**40),
        f"{ARTIFACT}: 1099511627776 bytes, expected ",
    ),
    "a link": (link, f"{ARTIFACT}: a symbolic link, expected a file"),
    "a FIFO": (fifo, f"{ARTIFACT}: no regular file, expected a file"),
    "entries dropped": (drop_entries, "manifest.json: 2 entries, expected 4: entries were removed or added"),
    "entries renamed": (swap_entries, "manifest.json: its entries were changed: their digest is not"),
    "foreign provenance": (
        foreign_provenance,
        f"{RECORD}: its provenance speaks of another artifact",
    ),
}


def test_as_it_was_signed(folder: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.md").write_text("mine")
    assert store.check(folder, keys[1]) == ()
    assert main(["verify", str(folder), "--key", str(keys[1])]) == 0
    assert "no problem found\n" in capsys.readouterr().err
    assert main(["verify", str(folder)]) == 0
    assert "without --key nobody can tell who made the files" in capsys.readouterr().err


@pytest.mark.parametrize("name", CONSISTENT)
def test_what_only_a_key_shows(folder: Path, keys: tuple[Path, Path], name: str) -> None:
    forge, told = CONSISTENT[name]
    forge(folder)
    assert store.verify(folder) == (), "everything agrees: this is what cannot be seen without a key"
    assert told in store.check(folder, keys[1])


@pytest.mark.parametrize("name", VISIBLE)
def test_what_contradicts_itself(folder: Path, keys: tuple[Path, Path], name: str) -> None:
    forge, told = VISIBLE[name]
    forge(folder)
    assert any(problem.startswith(told) for problem in store.verify(folder)), store.verify(folder)
    assert any(problem.startswith(told) for problem in store.check(folder, keys[1]))


def test_another_key(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "theirs")
    assert store.check(folder, public) == (f"{store.SIGNATURE}: made with another key",)
    forge_artifact(folder)
    store.sign(folder, private)
    assert store.check(folder, public) == ()
    assert store.check(folder, keys[1]) == (f"{store.SIGNATURE}: made with another key",)


def test_no_signature(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / store.SIGNATURE).unlink()
    assert store.check(folder, keys[1]) == (f"{store.SIGNATURE}: missing: the directory is not signed",)


def test_a_signature_whose_content_was_edited(folder: Path, keys: tuple[Path, Path]) -> None:
    forge_artifact(folder)
    bundle = json.loads((folder / store.SIGNATURE).read_text())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    for each in payload["predicate"]["resources"]:
        each["digest"] = store.manifest.file_digest(folder / each["name"])  # type: ignore[attr-defined]
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (folder / store.SIGNATURE).write_text(json.dumps(bundle))
    assert store.check(folder, keys[1]) == (f"{store.SIGNATURE}: edited: the signature is not that of its content",)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"dsseEnvelope": {"payload": "e30="}}'])
def test_a_damaged_signature(folder: Path, keys: tuple[Path, Path], content: bytes) -> None:
    (folder / store.SIGNATURE).write_bytes(content)
    assert store.check(folder, keys[1]) == (f"{store.SIGNATURE}: damaged: expected a bundle of model-signing",)


def test_the_library_of_others_reads_it(folder: Path, keys: tuple[Path, Path]) -> None:
    import model_signing.verifying

    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=keys[1])
    config.verify(folder, folder / store.SIGNATURE)
    (folder / ARTIFACT).write_bytes(b"x")
    with pytest.raises(ValueError, match="mismatch"):
        config.verify(folder, folder / store.SIGNATURE)


def test_what_is_wrong_is_not_signed(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "evil.py").write_text("x")
    with pytest.raises(StoreError, match=r"is not signed, because it is not as its manifest says: evil\.py: not in"):
        store.sign(folder, keys[0])


def test_what_is_no_key(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("hello")
    os.mkfifo(tmp_path / "fifo.pem")
    for path, told in (
        (tmp_path / "none.pem", "cannot be read: No such file"),
        (tmp_path / "fifo.pem", "cannot be read: it is a FIFO"),
        (tmp_path / "text.pem", "expected an elliptic-curve key in PEM, without a password"),
        (keys[1], "expected the private key, in PEM"),
    ):
        with pytest.raises(SourceError, match=told) as caught:
            store.sign(folder, path)
        assert caught.value.hint == "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
    with pytest.raises(SourceError, match="expected the public key, in PEM"):
        store.check(folder, keys[0])


def test_without_the_extra(folder: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingDependencyError) as caught:
        store.sign(folder, keys[0])
    assert caught.value.hint == "pip install 'kexport[sign]'"


def test_keys_that_openssl_makes(folder: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    for command in (store.signature.MAKE_KEY, store.signature.MAKE_PUBLIC):  # type: ignore[attr-defined]
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    store.sign(folder, tmp_path / "key.pem")
    assert store.check(folder, tmp_path / "public.pem") == ()


def records(folder: Path) -> tuple[Record, ...]:
    return store.read_records(folder)


def test_the_bill_of_materials_is_one(folder: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (folder / store.BOM).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == reports.render(records(folder), "cyclonedx"), "the same records give the same bill"
    bill = json.loads(text)
    models = [each for each in bill["components"] if each["type"] == "machine-learning-model"]
    assert [each["hashes"][0]["content"] for each in models] == [
        record.artifact.sha256 for record in records(folder) if record.artifact
    ]
    assert "pkg:pypi/keras@" in text


def test_provenance_names_what_it_was_made_from(folder: Path) -> None:
    record = records(folder)[0]
    told = record.provenance
    assert told is not None
    assert record.artifact is not None
    assert record.source is not None
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    assert told["subject"] == [{"name": record.artifact.path, "digest": {"sha256": record.artifact.sha256}}]
    definition = told["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["command"] == "kexport"
    parents = definition["resolvedDependencies"]
    assert {"name": "weights", "digest": {"sha256": record.source.weights_sha256}} in parents
    assert any(each.get("uri", "").startswith("pkg:pypi/keras@") for each in parents)
