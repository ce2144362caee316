"""A folder that was changed: what `verify` sees without a key, row by row, and readers that never hang or crash."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kexport import store
from kexport.errors import KexportError, SourceError, StoreError
from kexport.evidence.benchmark import BenchSettings
from kexport.files import file_digest
from kexport.pipeline import resume
from kexport.pipeline.measuring import Measurement, _request
from kexport.pipeline.reproduce import batch_of, cell_of
from kexport.records import decode
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.places import ROOT

RECORD = "tiny/tiny-float32.onnx.json"
TINY = Cell(model=ModelSpec(file="tiny.keras", weights=WeightsSpec(kind="model")), format=Format.ONNX)
ARTIFACT = "tiny/tiny-float32.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "tests/data/artifacts-0.1", tmp_path / "artifacts"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / RECORD
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    store.write_manifest(folder)  # forged with its manifest: only what contradicts itself can be seen


def test_as_it_was_written(folder: Path) -> None:
    (folder / "report.md").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    shutil.copy(ROOT / "artifacts" / ".gitignore", folder)
    assert store.verify(folder) == ()


@pytest.mark.parametrize(
    "name", ["evil.py", "tiny/evil.bin", ".hidden", "tiny/.gitignore", "new/x.onnx", "tiny/deep/x", ".d/x"]
)
def test_an_extra_file_anywhere(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert store.verify(folder) == (f"{name}: not in the manifest",)


@pytest.mark.parametrize("name", ["x", "tiny/x", "x.md"])
def test_links_and_fifos(folder: Path, name: str) -> None:
    (folder / name).symlink_to("/etc/passwd")
    assert store.verify(folder) == (f"{name}: not in the manifest: a symbolic link",)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert store.verify(folder) == (f"{name}: not in the manifest: no regular file",)


def test_an_artifact_that_is_a_link_to_itself_elsewhere(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / ARTIFACT, tmp_path / "elsewhere")
    (folder / ARTIFACT).symlink_to(tmp_path / "elsewhere")
    assert store.verify(folder)[0] == f"{ARTIFACT}: a symbolic link, expected a file"


def test_a_folder_that_is_a_link(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "tiny", tmp_path / "tiny")
    (folder / "tiny").symlink_to(tmp_path / "tiny")
    assert f"{ARTIFACT}: a symbolic link, expected a file" in store.verify(folder)


@pytest.mark.parametrize("name", [ARTIFACT, RECORD, "manifest.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir()], ids=["fifo", "folder"])
def test_what_should_be_a_file(folder: Path, name: str, make: Callable[[Path], Any]) -> None:
    (folder / name).unlink()
    make(folder / name)
    problems = store.verify(folder)
    assert any(problem.startswith(f"{name}: ") and "file" in problem for problem in problems)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir()], ids=["fifo", "folder"])
def test_a_stored_reference_that_is_no_file(folder: Path, make: Callable[[Path], Any]) -> None:
    """Whoever has no writer at the other end of a FIFO waits forever, unless what is opened is looked at."""
    digest = "ab" * 32
    edit(folder, lambda record: record["parity"].update(reference_sha256=digest))
    make(folder / "tiny" / store.references.file_name("tiny", digest))
    assert any(problem.startswith(f"{RECORD}: tiny-reference-") for problem in store.verify(folder))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["fifo", "device"])
def test_what_is_no_file_is_not_read_to_its_end(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError, match="not a file"):
        file_digest(tmp_path / "x")
    model = ModelSpec(file=str(tmp_path / "x"), weights=WeightsSpec(kind="model"))
    with pytest.raises(SourceError, match="x cannot be read: it is a "):
        resume.fingerprint(Cell(model=model, format=Format.ONNX))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["fifo", "device"])
def test_an_artifact_that_is_no_file_is_not_resumed(folder: Path, make: Callable[[Path], Any]) -> None:
    edit(folder, lambda record: record["versions"].update({resume.REQUEST: "f"}))
    assert resume.resumable(folder, TINY, "f") is not None
    (folder / ARTIFACT).unlink()
    make(folder / ARTIFACT)
    assert resume.resumable(folder, TINY, "f") is None


@pytest.mark.parametrize("digits", ["9" * 20, "9" * 4000, "-" + "9" * 4000, "9" * 5000], ids=len)
def test_an_integer_that_no_number_here_can_be(folder: Path, digits: str) -> None:
    """Larger ones overflow wherever a rate or a percentage is computed."""
    text = (folder / RECORD).read_text()
    (folder / RECORD).write_text(text.replace('"size_bytes": 1780', f'"size_bytes": {digits}'))
    with pytest.raises(StoreError, match="the record is damaged: the integer "):
        store.read_records(folder)


def test_names_that_are_too_long_for_a_file(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("a" * 300, "b/" * 3000 + "c"):
        manifest["files"][name] = {"sha256": "x", "size_bytes": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert sum("characters, too long for a file" in problem for problem in store.verify(folder)) == 2
    text = (folder / RECORD).read_text()
    (folder / RECORD).write_text(text.replace(f'"path": "{ARTIFACT}"', f'"path": "{"a" * 300}"', 1))
    with pytest.raises(StoreError, match="300 characters, too long for a file"):
        store.read_records(folder)


def test_a_name_that_is_no_text(folder: Path) -> None:
    entry = {"sha256": "x", "size_bytes": 1}
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "files": {"a\ud800": entry}}))
    (problem,) = store.verify(folder)
    assert problem.startswith("manifest.json: damaged: ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda check: check.update(value=check["bound"] * 2 + 1), "says PASS, but "),
        (lambda check: check.update(passed=False), "says PASS, but "),
        (lambda check: check.update(value="nan"), "says PASS, but "),
    ],
    ids=["value", "passed", "nan"],
)
def test_a_pass_whose_checks_say_otherwise(folder: Path, change: Callable[[dict[str, Any]], None], told: str) -> None:
    def forge(record: dict[str, Any]) -> None:
        worst = next(check for check in record["parity"]["checks"] if "error" in check["name"])
        change(worst)

    edit(folder, forge)
    (problem,) = store.verify(folder)
    assert problem.startswith(f"{RECORD}: {told}")


def test_agreement_below_its_bound(folder: Path) -> None:
    edit(folder, lambda record: [check.update(value=-1.0) for check in record["parity"]["checks"]][:0])
    (problem,) = store.verify(folder)
    assert "expected at least" in problem or "expected at most" in problem


def test_an_artifact_removed_with_its_record(folder: Path) -> None:
    """The manifest still names both; whoever rewrites the manifest as well is seen with a key only."""
    (folder / ARTIFACT).unlink()
    (folder / RECORD).unlink()
    assert store.verify(folder) == (f"{ARTIFACT}: missing", f"{RECORD}: missing")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", "a/../../b", "a\0b"])
def test_a_manifest_that_leads_out(folder: Path, name: str) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"sha256": "0", "size_bytes": 1}
    path.write_text(json.dumps(manifest))
    assert f"{name}: leads out of the directory" in store.verify(folder)


DAMAGE = [
    b"", b"{", b"\xff\xfe", b"[]", b"null", b"5", b'"x"', b"[" * 200_000, b'{"a":' * 200_000, b'{"schema": 99}',
    b'{"schema": 1, "files": {"a": 1}}', b'{"schema": 1, "files": [1]}', b'{"schema": "x", "files": {}}',
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGE, ids=range(len(DAMAGE)))
def test_damaged_json(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    (problem,) = store.verify(folder)
    assert problem.startswith("manifest.json: ")
    (folder / RECORD).write_bytes(content)
    with pytest.raises(StoreError):
        store.read_records(folder)


def test_a_sparse_record_of_a_terabyte_is_not_read(folder: Path) -> None:
    with (folder / RECORD).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(StoreError, match="it has 1099511627776 bytes, expected at most 67108864"):
        store.read_records(folder)


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "no inputs": lambda record: record["artifact"].update(inputs=[]),
    "no axis": lambda record: record["artifact"]["inputs"][0].update(shape=[]),
    "engine": lambda record: record["artifact"].update(engine="no-such"),
    "format": lambda record: record.update(format="no-such"),
    "scheme": lambda record: record.update(scheme="no-such"),
    "no source": lambda record: record.update(source=None),
    "application": lambda record: record["source"].update(application="NoSuch", kind="application", source=""),
    "weights": lambda record: record["source"].update(weights="imagenot"),
    "opset": lambda record: record["artifact"].update(opset=-5),
    "shape": lambda record: record["source"]["options"].update(input_shape=[-1, "x"]),
    "long path": lambda record: record["artifact"].update(path="x" * 5000),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_record_that_says_the_impossible(folder: Path, name: str) -> None:
    """One of our errors, or a value that can be worked with; never another exception."""
    record = json.loads((folder / RECORD).read_text())
    CHANGES[name](record)
    what = Measurement(directory=folder, settings=BenchSettings(threads=1))
    for use in (cell_of, lambda found: _request(what, found), lambda found: batch_of(found.artifact)):
        with contextlib.suppress(KexportError):
            use(decode(json.dumps(record)))


def test_a_hole_that_the_manifest_knows_is_not_read_to_its_end(folder: Path) -> None:
    os.truncate(folder / ARTIFACT, 2**40)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][ARTIFACT]["size_bytes"] = 2**40
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert f"{ARTIFACT}: 1099511627776 bytes, no artifact has more than 17179869184" in store.verify(folder)
