"""Folders at URLs: complete or absent as their store allows, the manifest last, and read back as they were."""

from __future__ import annotations

import importlib.util
import shlex
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kexport
from kexport import files, pipeline, store
from kexport.api import Quiet
from kexport.cli import main
from kexport.errors import MissingDependencyError, StoreError, UsageError
from kexport.options.place import Url, is_url, place
from kexport.options.remote import connect
from kexport.pipeline import resume
from kexport.pipeline.reproduce import reproduce
from kexport.records import Artifact, Record, Status
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from kexport.store import mirror

MODELS = ("First", "Second", "Third")


def cell(model: str, form: Format = Format.ONNX) -> Cell:
    return Cell(model=ModelSpec(application=model, weights=WeightsSpec(kind="random", seed=0)), format=form)


def add(directory: Path, what: Cell, content: bytes = b"weights") -> Record:
    """An artifact and its record, as a cell leaves them."""
    model = what.model.name
    path = directory / model / what.file_name
    path.parent.mkdir(exist_ok=True)
    if what.format is Format.SAVEDMODEL:
        (path / "variables").mkdir(parents=True)
        (path / "saved_model.pb").write_bytes(content)
        (path / "variables" / "index").write_bytes(content * 2)
    else:
        path.write_bytes(content)
    artifact = Artifact(
        path=f"{model}/{what.file_name}", format=what.format, scheme=what.scheme, size_bytes=files.size_bytes(path),
        sha256=files.digest(path), engine="native", engine_reason="asked", operations={}, inputs=(), outputs=(),
    )  # fmt: skip
    record = Record(
        model=model, format=what.format, scheme=what.scheme, status=Status.PASS, artifact=artifact,
        versions={"request": resume.fingerprint(what)},
    )  # fmt: skip
    store.write_record(directory, record, what.file_name)
    return record


def make(url: Url, *cells: Cell, content: bytes = b"weights") -> None:
    """What a run of these cells does."""
    with mirror.opened(url, {each.model.name for each in cells}) as folder:
        assert folder.mirror is not None
        for each in cells:
            folder.mirror.push(add(folder.path, each, content))
        store.write_manifest(folder.path, within=folder.mirror.models)


def names(url: Url) -> list[str]:
    return sorted(connect(url).sizes())


def problems(url: Url) -> tuple[str, ...]:
    return kexport.verify(str(url))


@pytest.fixture(params=["memory", "file", "local"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Url:
    folder = f"{tmp_path}/deep/models"
    texts = {"memory": f"memory://{uuid.uuid4().hex}/models", "file": f"file://{folder}", "local": f"local://{folder}"}
    return Url(texts[request.param])


def test_what_was_made_is_there_and_reads_back(url: Url) -> None:
    make(url, *(cell(model) for model in MODELS), cell("First", Format.SAVEDMODEL))
    assert names(url)[:4] == [
        "First/First-float32-savedmodel.json", "First/First-float32-savedmodel/saved_model.pb",
        "First/First-float32-savedmodel/variables/index", "First/First-float32.onnx",
    ]  # fmt: skip
    assert names(url)[-1] == "manifest.json"
    assert problems(url) == ()
    assert '"model": "Third"' in kexport.report(str(url), "json")


def test_another_run_fetches_its_own_models_and_keeps_the_entries_of_the_others(url: Url) -> None:
    make(url, cell("First"), cell("Second"))
    with mirror.opened(url, {"Second", "Third"}) as folder:
        assert not (folder.path / "First" / "First-float32.onnx").exists()
        assert (folder.path / "First" / "First-float32.onnx.json").exists(), "records tell what a report tells"
        assert (folder.path / "Second" / "Second-float32.onnx").exists()
        add(folder.path, cell("Third"))
        add(folder.path, cell("Second"), b"others")
        store.write_manifest(folder.path, within=folder.mirror.models if folder.mirror else None)
    assert problems(url) == ()
    assert connect(url).read("Second/Second-float32.onnx") == b"others"


def test_what_a_run_removes_is_removed_there_and_from_the_manifest(url: Url) -> None:
    make(url, cell("First"), cell("First", Format.TFLITE), cell("Second"))
    with mirror.opened(url, {"First"}) as folder:
        (folder.path / "First" / "First-float32.tflite").unlink()
        (folder.path / "First" / "First-float32.tflite.json").unlink()
        store.write_manifest(folder.path, within=folder.mirror.models if folder.mirror else None)
    assert [name for name in names(url) if "tflite" in name] == []
    assert problems(url) == ()


def test_a_run_that_ends_early_leaves_what_was_done_and_the_next_one_states_all_of_it(url: Url) -> None:
    def interrupted() -> None:
        with mirror.opened(url, {"First", "Second"}) as folder:
            assert folder.mirror is not None
            folder.mirror.push(add(folder.path, cell("First")))
            add(folder.path, cell("Second"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(url) == ["First/First-float32.onnx", "First/First-float32.onnx.json"]
    assert problems(url) == ("manifest.json: missing: the last run did not end",)
    make(url, cell("Third"))
    assert problems(url) == ()


def test_resume_keeps_what_is_complete_there(url: Url) -> None:
    cells = tuple(cell(model) for model in MODELS)
    make(url, *cells)
    with mirror.opened(url, set(MODELS)) as folder:
        asked = pipeline.Request(cells=cells, directory=folder.path, mirror=folder.mirror, resume=True)
        kept = pipeline.run(asked, Quiet())
    assert [record.status for record in kept] == ["PASS"] * 3
    assert problems(url) == ()


def test_the_manifest_of_another_run_is_not_written_over(url: Url) -> None:
    make(url, cell("First"))

    def both() -> None:
        with mirror.opened(url, {"Second"}) as folder:
            add(folder.path, cell("Second"))
            store.write_manifest(folder.path, within=folder.mirror.models if folder.mirror else None)
            make(url, cell("Third"))

    with pytest.raises(StoreError, match="was written by another run while this one ran") as caught:
        both()
    assert caught.value.hint == "run the same command again with --resume"
    assert "Second/Second-float32.onnx.json: not in the manifest" in problems(url)
    make(url, cell("Second"))
    assert problems(url) == ()


def test_what_was_changed_there_is_told_as_in_a_folder(url: Url) -> None:
    make(url, *(cell(model) for model in MODELS))
    remote = connect(url)
    with remote.system.open(f"{remote.root}/First/First-float32.onnx", "wb") as file:
        file.write(b"WEIGHTS")
    with remote.system.open(f"{remote.root}/Second/more.bin", "wb") as file:
        file.write(b"more")
    remote.remove(["Third/Third-float32.onnx"])
    assert problems(url) == (
        "First/First-float32.onnx: edited: its sha256 is not the one in the manifest",
        "Third/Third-float32.onnx: missing",
        "Second/more.bin: not in the manifest",
    )


def test_a_file_is_whole_or_as_before_when_its_upload_breaks(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    make(url, cell("First"))
    remote = connect(url)
    sent: Callable[..., Any] = remote.system.put_file

    def breaks(path: str, key: str, **more: Any) -> None:
        half = Path(path).with_suffix(".half")
        half.write_bytes(Path(path).read_bytes()[:3])
        sent(str(half), key, **more)
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(remote.system, "put_file", breaks)
    with pytest.raises(StoreError, match="Connection reset by peer"):
        make(url, cell("First"), content=b"others")
    monkeypatch.undo()
    assert remote.read("First/First-float32.onnx") == b"weights"
    assert not [path for path in remote.system.find(remote.root) if ".kexport-" in path], "no staging is left"


def test_damaged_records_are_told_with_the_url(url: Url) -> None:
    make(url, cell("First"))
    remote = connect(url)
    with remote.system.open(f"{remote.root}/First/First-float32.onnx.json", "wb") as file:
        file.write(b"{")
    with pytest.raises(StoreError, match="is not JSON") as caught:
        kexport.report(str(url))
    assert caught.value.hint == f"kexport verify {url}"


@pytest.mark.parametrize("protocol", ["gs", "abfs", "sftp"])
def test_a_driver_that_is_missing_is_named_with_its_command(protocol: str) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        connect(Url(f"{protocol}://bucket/models"))
    package = {"gs": "gcsfs", "abfs": "adlfs", "sftp": "paramiko"}[protocol]
    assert caught.value.message == f"{protocol}://bucket/models: {protocol}:// needs the package {package}"
    assert caught.value.hint == f"pip install {package}"


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="a URL needs the package fsspec") as caught:
        connect(Url("s3://bucket/models"))
    assert caught.value.hint == "pip install 'kexport[remote]'"


def test_protocols_that_there_are_not_and_urls_without_a_folder() -> None:
    with pytest.raises(UsageError, match="unknown protocol 'swift'"):
        connect(Url("swift://bucket/models"))
    for text in ("s3://", "gs:///", "memory://"):
        with pytest.raises(UsageError, match="names no folder"):
            Url(text)


def test_what_is_a_url() -> None:
    assert [is_url(text) for text in ("s3://b/m", "file:///m", "s3:/b", "C:\\models", "models", "../a://b")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert place("models") == Path("models")
    assert str(place("s3://bucket/models/")) == "s3://bucket/models"


def test_keys_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    remote = connect(Url("memory://outside/models"))
    found = {f"{remote.root}/{name}": {"size": 1} for name in ("First/a.onnx", "First/../../../b")}
    asked = replace(
        remote, system=type("Found", (), {"invalidate_cache": lambda _: None, "find": lambda *_, **__: found})()
    )
    with pytest.raises(StoreError, match="leads out of the folder"):
        asked.sizes()


@pytest.fixture(params=["file", "local", "FILE"])
def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> Url:
    """A URL that another process reaches."""
    return Url(f"{request.param}://{tmp_path}/deep/models")


class TestCommands:
    def test_report_and_verify_take_urls(self, lasting: Url, capsys: pytest.CaptureFixture[str]) -> None:
        make(lasting, *(cell(model) for model in MODELS))
        assert main(["verify", str(lasting)]) == 0
        assert f"{lasting}: no problem found" in capsys.readouterr().err
        assert main(["report", str(lasting), "--format", "csv"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 4

    def test_a_url_that_holds_nothing(self, lasting: Url, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["report", str(lasting)]) == 3
        assert f"error: {lasting} holds nothing\nhint: kexport all -o {lasting}" in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["memory://bucket/models", "MEMORY://x", "memory:/x", "memory:x"])
    @pytest.mark.parametrize("command", ["export MobileNet -o", "all -o", "verify", "report"])
    def test_memory_ends_with_the_command(
        self,
        text: str,
        command: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main([*command.split(), text]) == 2
        told = capsys.readouterr().err
        assert f"error: {text}: memory:// ends with its process" in told
        hint = "-o artifacts, or -o file:///tmp/artifacts" if "-o" in command else f"kexport {command} artifacts"
        assert told.endswith(f"\nhint: {hint}\n")
        assert not list(tmp_path.iterdir())

    def test_a_folder_of_that_name_is_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("memory:x").mkdir()
        assert main(["report", "memory:x"]) == 2
        assert "memory:x holds no records" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sftp://me:secret@host/models/", "sftp://me:***@host/models"),
        ("ftp://me:se@cret:2@host:21/a@b:c", "ftp://me:***@host:21/a@b:c"),
        ("smb://:secret@host/share", "smb://:***@host/share"),
        ("sftp://me@host/models", "sftp://me@host/models"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("sftp://host:22/models", "sftp://host:22/models"),
    ],
)
def test_a_password_goes_to_the_driver_and_nowhere_else(text: str, told: str) -> None:
    """Records and their commands lie where others read them, and messages in logs."""
    url = Url(text)
    assert (str(url), repr(url)) == (told, f"Url({told!r})")
    assert url.text == text
    cell = Cell(model=ModelSpec(application="MobileNet"), format=Format.ONNX)
    assert f"-o {shlex.quote(told)} " in reproduce(cell, url)


def test_the_driver_gets_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    seen = []
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda text: seen.append(text) or (None, "models"))
    connect(Url("sftp://me:secret@host/models/"))
    assert seen == ["sftp://me:secret@host/models"]
