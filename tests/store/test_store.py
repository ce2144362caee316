"""The artifact directory: what cannot be written is said at once, what was written is whole or absent."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kexport import files, machine, store
from kexport.errors import StoreError, UsageError
from kexport.evidence import tolerances
from kexport.pipeline import resume
from kexport.records import Artifact, Record, Status
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec

SCRIPT = "import sys, time\nfrom pathlib import Path\nfrom kexport import files, store\nd = Path(sys.argv[1])\n"


def cell(kind: Format = Format.ONNX, *, seed: int = 0) -> Cell:
    return Cell(model=ModelSpec(application="Tiny", weights=WeightsSpec(kind="random", seed=seed)), format=kind)


def add(directory: Path, what: Cell, content: bytes = b"weights") -> Record:
    """Publish an artifact and its record, as the pipeline does."""
    path = directory / "Tiny" / what.file_name
    with files.staging(directory) as folder:
        staged = folder / what.file_name
        if what.format is Format.SAVEDMODEL:
            (staged / "variables").mkdir(parents=True)
            (staged / "saved_model.pb").write_bytes(content)
            (staged / "variables" / "index").write_bytes(content * 2)
        else:
            staged.write_bytes(content)
        files.publish(staged, path)
    artifact = Artifact(
        path=f"Tiny/{what.file_name}", format=what.format, scheme=what.scheme, size_bytes=files.size_bytes(path),
        sha256=files.digest(path), engine="native", engine_reason="asked", operations={}, inputs=(), outputs=(),
    )  # fmt: skip
    record = Record(
        model="Tiny", format=what.format, scheme=what.scheme, status=Status.PASS, artifact=artifact,
        versions={"request": resume.fingerprint(what)},
    )  # fmt: skip
    store.write_record(directory, record, what.file_name)
    return record


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    directory = tmp_path / "artifacts"
    files.prepare(directory)
    for kind in Format:
        add(directory, cell(kind))
    store.write_manifest(directory)
    return directory


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class TestPrepare:
    def test_creates_parents_and_leaves_nothing_else(self, tmp_path: Path) -> None:
        files.prepare(tmp_path / "a" / "b")
        files.prepare(tmp_path / "a" / "b")
        assert everything(tmp_path) == ["a", "a/b"]

    @pytest.mark.parametrize("below", ["", "deeper/still"])
    def test_a_file_in_the_way(self, tmp_path: Path, below: str) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(UsageError) as caught:
            files.prepare(tmp_path / "file" / below)
        assert "is not a folder, or leads through a file" in str(caught.value)
        assert str(caught.value).endswith("hint: choose another directory with -o")
        assert everything(tmp_path) == ["file"]

    @pytest.mark.parametrize(
        ("number", "cause"),
        [
            (errno.EROFS, "its file system is read-only"),
            (errno.EACCES, "no permission to write there"),
            (errno.ENOSPC, "no space left"),
            (errno.EIO, "Input/output error"),
        ],
    )
    def test_what_the_probe_meets(self, tmp_path: Path, monkeypatch, number: int, cause: str) -> None:
        def refuse(**_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
        with pytest.raises(StoreError) as caught:
            files.prepare(tmp_path / "new" / "folder")
        assert caught.value.message.startswith(f"cannot write to {tmp_path / 'new' / 'folder'}: {cause}")
        assert caught.value.exit_code == 3
        assert everything(tmp_path) == []

    def test_no_permission_by_mode(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
        with pytest.raises(StoreError, match="no permission to write there"):
            files.prepare(tmp_path)

    @pytest.mark.parametrize("below", ["", "a/b"])
    def test_a_file_system_that_takes_no_folders(self, below: str) -> None:
        with pytest.raises(StoreError, match=r"^cannot write to /proc/kexport: no folder can be made in /proc\n"):
            files.prepare(Path("/proc/kexport") / below)

    def test_too_little_space(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"MiB free, 1099511627776 MiB needed"):
            files.prepare(tmp_path / "new", needed_bytes=2**60)
        assert everything(tmp_path) == []


class TestStaging:
    def test_is_private_and_gone_afterwards(self, tmp_path: Path) -> None:
        def interrupted() -> None:
            with files.staging(tmp_path) as folder:
                (folder / "half").write_text("x")
                assert folder.parent == tmp_path
                assert folder.name.startswith(f".kexport-{os.getpid()}-")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert everything(tmp_path) == []

    def test_left_overs_of_the_dead_go_and_those_of_the_living_stay(self, tmp_path: Path) -> None:
        child = subprocess.Popen([sys.executable, "-c", "pass"])
        child.wait()
        dead, alive = tmp_path / f".kexport-{child.pid}-abc", tmp_path / f".kexport-{os.getppid()}-abc"
        aside = tmp_path / "Model" / f".kexport-{child.pid}-def"
        for folder in (dead, alive, aside):
            folder.mkdir(parents=True)
        with files.staging(tmp_path):
            assert not dead.exists()
            assert not aside.exists()
            assert alive.exists()

    def test_refusal_is_translated(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="cannot write to"), files.staging(tmp_path / "absent"):
            pass


class TestPublish:
    def test_file_replaces_file(self, tmp_path: Path) -> None:
        (tmp_path / "staged").write_text("new")
        final = tmp_path / "Model" / "file"
        final.parent.mkdir()
        final.write_text("old")
        files.publish(tmp_path / "staged", final)
        assert final.read_text() == "new"
        assert everything(tmp_path) == ["Model", "Model/file"]

    @pytest.mark.parametrize("old", ["folder", "file", "nothing"])
    def test_folder_replaces_anything(self, tmp_path: Path, old: str) -> None:
        final, staged = tmp_path / "final", tmp_path / "staged"
        if old == "folder":
            final.mkdir()
            (final / "old").write_text("old")
        elif old == "file":
            final.write_text("old")
        staged.mkdir()
        (staged / "new").write_text("new")
        files.publish(staged, final)
        assert everything(tmp_path) == ["final", "final/new"]

    @pytest.mark.parametrize("name", ["manifest.json", "Model", "Model/inner"])
    def test_a_file_does_not_replace_a_folder_that_holds_something(self, tmp_path: Path, name: str) -> None:
        final = tmp_path / name
        final.mkdir(parents=True)
        (final / "old").write_text("old")
        (tmp_path / "staged").write_text("new")
        with pytest.raises(StoreError, match="a folder of that name holds something"):
            files.publish(tmp_path / "staged", final)
        assert (final / "old").read_text() == "old"

    def test_a_file_replaces_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "final").mkdir()
        (tmp_path / "staged").write_text("new")
        files.publish(tmp_path / "staged", tmp_path / "final")
        assert (tmp_path / "final").read_text() == "new"

    def test_a_failed_swap_puts_the_old_folder_back(self, tmp_path: Path) -> None:
        (tmp_path / "final").mkdir()
        (tmp_path / "final" / "old").write_text("old")
        with pytest.raises(StoreError):
            files.publish(tmp_path / "absent", tmp_path / "final")
        assert everything(tmp_path) == ["final", "final/old"]

    def test_a_refused_rename_leaves_the_old_file(self, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "staged").write_text("new")
        (tmp_path / "final").write_text("old")

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(Path, "replace", refuse)
        with pytest.raises(StoreError, match="no space left"):
            files.publish(tmp_path / "staged", tmp_path / "final")
        assert (tmp_path / "final").read_text() == "old"

    def test_a_writer_killed_at_any_moment_leaves_whole_files(self, tmp_path: Path) -> None:
        code = SCRIPT + (
            "n = 0\nwhile True:\n    n += 1\n    with files.staging(d) as f:\n"
            "        (f / 'x').write_text(str(n % 10) * 200000)\n        files.publish(f / 'x', d / 'M' / 'x')\n"
        )
        for _ in range(3):
            child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
            while not (tmp_path / "M" / "x").exists():
                time.sleep(0.02)
            time.sleep(0.2)
            child.send_signal(signal.SIGKILL)
            child.wait()
            text = (tmp_path / "M" / "x").read_text()
            assert len(text) == 200000
            assert len(set(text)) == 1
        with files.staging(tmp_path):
            pass
        assert everything(tmp_path) == ["M", "M/x"]


class TestRecords:
    def test_names_and_round_trip(self, filled: Path) -> None:
        assert everything(filled / "Tiny") == [
            "Tiny-float32-savedmodel",
            "Tiny-float32-savedmodel.json",
            "Tiny-float32-savedmodel/saved_model.pb",
            "Tiny-float32-savedmodel/variables",
            "Tiny-float32-savedmodel/variables/index",
            "Tiny-float32.onnx",
            "Tiny-float32.onnx.json",
            "Tiny-float32.tflite",
            "Tiny-float32.tflite.json",
        ]
        records = store.read_records(filled)
        assert [record.format for record in records] == ["onnx", "savedmodel", "tflite"]
        assert records[0].artifact is not None
        assert records[0].artifact.sha256 == files.file_digest(filled / "Tiny" / "Tiny-float32.onnx")

    def test_every_damaged_record_is_named(self, filled: Path) -> None:
        (filled / "Tiny" / "Tiny-float32.onnx.json").write_text("{")
        (filled / "Tiny" / "Tiny-float32.tflite.json").write_text('{"schema": 99}')
        with pytest.raises(StoreError) as caught:
            store.read_records(filled)
        assert "Tiny/Tiny-float32.onnx.json: the record is not JSON" in caught.value.message
        assert "Tiny/Tiny-float32.tflite.json: the record has schema 99" in caught.value.message
        assert caught.value.hint == f"kexport verify {filled}"
        with pytest.raises(StoreError, match=r"Tiny/Tiny-float32\.onnx\.json: the record is not JSON"):
            store.write_manifest(filled)

    @pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden"])
    def test_names_that_lead_elsewhere_are_refused(self, tmp_path: Path, name: str) -> None:
        record = Record(model="Tiny", format="onnx", scheme="float32", status=Status.FAIL, reason="r")
        with pytest.raises(UsageError, match="expected a plain name"):
            store.write_record(tmp_path, record, name)
        with pytest.raises(UsageError, match="expected a plain name"):
            store.write_record(tmp_path, replace(record, model=name or "a/b"), "file.onnx")


class TestVerify:
    def test_untouched_directory_has_no_problem(self, filled: Path) -> None:
        (filled / "report.md").write_text("top-level files are nobody's business")
        with store.lock(filled), files.staging(filled) as folder:
            (folder / "half").write_text("of a running process")
            assert store.verify(filled) == ()

    def test_manifest_states_every_file(self, filled: Path) -> None:
        manifest = json.loads((filled / "manifest.json").read_text())
        files = [name for name in everything(filled) if (filled / name).is_file() and name != "manifest.json"]
        assert sorted(manifest["files"]) == files
        assert manifest["schema"] == 2
        assert manifest["count"] == len(files)
        assert manifest["files"]["Tiny/Tiny-float32.onnx"]["size_bytes"] == len(b"weights")

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("Tiny-float32.onnx", b"weightz", "Tiny/Tiny-float32.onnx: edited: its sha256 is not the one in the mani"),
            ("Tiny-float32.onnx", b"weight", "Tiny/Tiny-float32.onnx: 6 bytes, expected 7"),
            ("Tiny-float32.onnx", None, "Tiny/Tiny-float32.onnx: missing"),
            ("Tiny-float32.tflite.json", None, "Tiny/Tiny-float32.tflite.json: missing"),
            ("Tiny-float32-savedmodel/saved_model.pb", b"weightz", "Tiny/Tiny-float32-savedmodel/saved_model.pb: edit"),
            ("Tiny-float32-savedmodel/more", b"x", "Tiny/Tiny-float32-savedmodel/more: not in the manifest"),
            ("stray.onnx", b"x", "Tiny/stray.onnx: not in the manifest"),
        ],
    )
    def test_every_change_is_found(self, filled: Path, name: str, content: bytes | None, problem: str) -> None:
        path = filled / "Tiny" / name
        path.unlink() if content is None else path.write_bytes(content)
        problems = store.verify(filled)
        assert len(problems) == 1, problems
        assert problems[0].startswith(problem)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (None, "manifest.json: missing: the last run did not end"),
            ("{", "manifest.json: not JSON: "),
            ("[]", "manifest.json: damaged: expected schema 2"),
            ('{"schema": 1, "files": {"a": 3}}', "manifest.json: damaged: expected schema 2"),
            (
                '{"schema": 1, "files": {"a": 3, "b": {"sha256": "x", "size_bytes": "7"}}}',
                (
                    "manifest.json: damaged: expected schema 2, and sha256 and size of every file: "
                    "files.a: expected a table, got 3; files.b.size_bytes: expected int, got '7'"
                ),
            ),
            ('{"schema": 3}', "manifest.json: schema 3, this kexport reads up to 2"),
        ],
    )
    def test_manifest_itself(self, filled: Path, text: str | None, problem: str) -> None:
        path = filled / "manifest.json"
        path.unlink() if text is None else path.write_text(text)
        (found,) = store.verify(filled)
        assert found.startswith(problem)

    def test_manifest_cannot_lead_out(self, filled: Path) -> None:
        path = filled / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["files"]["../outside"] = {"sha256": "0", "size_bytes": 1}
        path.write_text(json.dumps(manifest))
        assert "../outside: leads out of the directory" in store.verify(filled)

    def test_artifact_changed_between_record_and_manifest(self, filled: Path) -> None:
        (filled / "Tiny" / "Tiny-float32.onnx").write_bytes(b"weightz")
        (filled / "Tiny" / "Tiny-float32-savedmodel" / "saved_model.pb").write_bytes(b"weightz")
        store.write_manifest(filled)
        problems = "\n".join(store.verify(filled))
        assert "Tiny/Tiny-float32.onnx: edited" in problems
        assert (
            "Tiny/Tiny-float32-savedmodel.json: its artifact Tiny/Tiny-float32-savedmodel is missing or an" in problems
        )

    def test_left_over_of_a_killed_run(self, filled: Path) -> None:
        child = subprocess.Popen([sys.executable, "-c", "pass"])
        child.wait()
        (filled / f".kexport-{child.pid}-abc").mkdir()
        assert store.verify(filled) == (f".kexport-{child.pid}-abc: not in the manifest",)

    def test_no_such_directory(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such folder"):
            store.verify(tmp_path / "absent")


class TestLock:
    def test_second_run_is_told_the_holder(self, tmp_path: Path) -> None:
        code = SCRIPT + "with store.lock(d):\n    print('held', flush=True)\n    time.sleep(60)"
        holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            with pytest.raises(StoreError) as caught, store.lock(tmp_path, timeout_seconds=0.2):
                pass
            assert caught.value.message == f"{tmp_path} is in use by process {holder.pid}; waited 0.2 s"
        finally:
            holder.kill()
            holder.wait()
            holder.stdout.close()
        with store.lock(tmp_path, timeout_seconds=0.2):
            assert (tmp_path / ".kexport.holder").read_text().startswith(f"{os.getpid()} ")
        assert not (tmp_path / ".kexport.holder").exists()

    def test_waits_for_a_short_run(self, tmp_path: Path) -> None:
        code = SCRIPT + "with store.lock(d):\n    print('held', flush=True)\n    time.sleep(0.5)"
        holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        holder.stdout.readline()
        with store.lock(tmp_path, timeout_seconds=20):
            assert holder.wait(5) == 0
        holder.stdout.close()

    def test_is_freed_by_an_exception(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError), store.lock(tmp_path):
            raise RuntimeError
        with store.lock(tmp_path, timeout_seconds=0):
            pass

    def test_unwritable_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(UsageError, match="leads through a file"), store.lock(tmp_path / "file"):
            pass


class TestDigests:
    def test_tree_depends_on_names_and_contents(self, tmp_path: Path) -> None:
        def digest(contents: dict[str, str]) -> str:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            for name, text in contents.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text)
            return files.digest(folder)

        same = digest({"a": "1", "b/c": "2"})
        assert same == digest({"b/c": "2", "a": "1"})
        assert len({same, digest({"a": "2", "b/c": "1"}), digest({"a": "1", "c": "2"}), digest({"a": "1"})}) == 4

    def test_file(self, tmp_path: Path) -> None:
        (tmp_path / "abc").write_bytes(b"abc")
        expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert files.digest(tmp_path / "abc") == expected


class TestResume:
    @pytest.mark.parametrize("kind", list(Format))
    def test_same_request_and_untouched_artifact(self, filled: Path, kind: Format) -> None:
        found = resume.resumable(filled, cell(kind), resume.fingerprint(cell(kind)))
        assert found is not None
        assert found.format == kind

    def test_anything_else_is_made_again(self, filled: Path) -> None:
        name, wanted = cell().file_name, resume.fingerprint(cell())
        other = replace(cell(), model=replace(cell().model, application="Other"))
        assert resume.resumable(filled, cell(), resume.fingerprint(cell(seed=1))) is None
        assert resume.resumable(filled, other, wanted) is None
        assert resume.resumable(filled / "absent", cell(), wanted) is None
        (filled / "Tiny" / name).write_bytes(b"weightz")
        assert resume.resumable(filled, cell(), wanted) is None
        (filled / "Tiny" / name).unlink()
        assert resume.resumable(filled, cell(), wanted) is None
        (filled / "Tiny" / f"{name}.json").write_text("{")
        assert resume.resumable(filled, cell(), wanted) is None

    def test_failed_cells_are_made_again(self, filled: Path) -> None:
        (record, *_) = store.read_records(filled)
        store.write_record(filled, replace(record, status=Status.FAIL, reason="r"), cell().file_name)
        assert resume.resumable(filled, cell(), resume.fingerprint(cell())) is None

    def test_fingerprint_sees_the_weight_file(self, tmp_path: Path) -> None:
        path = tmp_path / "w.weights.h5"
        model = ModelSpec(application="Tiny", weights=WeightsSpec(kind="file", path=str(path)))
        what = Cell(model=model, format=Format.ONNX)
        path.write_bytes(b"1")
        first = resume.fingerprint(what)
        assert resume.fingerprint(what) == first
        path.write_bytes(b"2")
        assert resume.fingerprint(what) != first

    @pytest.mark.parametrize("changed", ["bounds", "keras", "tensorflow", "kexport"])
    def test_fingerprint_sees_bounds_and_versions(
        self, changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = resume.fingerprint(cell())
        if changed == "bounds":
            (tmp_path / "tolerances.toml").write_text("[onnx.float32]\n")
            monkeypatch.setattr(tolerances, "package_data", lambda name: tmp_path / "tolerances.toml")
        elif changed == "kexport":
            monkeypatch.setattr(resume, "__version__", "99.0")
        else:
            versions = machine.versions() | {changed: "99.0"}
            monkeypatch.setattr(machine, "versions", lambda: versions)
        assert resume.fingerprint(cell()) != first

    def test_fingerprint_does_not_see_other_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = resume.fingerprint(cell())
        versions = machine.versions() | {"flatbuffers": "99.0"}
        monkeypatch.setattr(machine, "versions", lambda: versions)
        assert resume.fingerprint(cell()) == first


def test_a_failure_stands_beside_the_artifact_of_an_earlier_run(tmp_path: Path) -> None:
    cell = Cell(model=ModelSpec(application="MobileNet"), format=Format.ONNX)
    failed = Record(model="MobileNet", format="onnx", scheme="float32", status=Status.FAIL, reason="sqnr_db is 3")
    alone = store.write_failure(tmp_path, cell, failed)
    assert alone.name == "MobileNet-float32.onnx.json"
    (tmp_path / "MobileNet" / cell.file_name).write_bytes(b"of an earlier run")
    beside = store.write_failure(tmp_path, cell, failed)
    assert beside.name == "MobileNet-float32.onnx.failed.json"
    assert [record.status for record in store.read_records(tmp_path)] == [Status.FAIL, Status.FAIL]
    store.forget_failure(tmp_path, cell)
    assert not beside.exists()
    assert alone.exists()
