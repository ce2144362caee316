"""``bench`` and ``parity`` where nothing is written: lone files, files of other makers, folders that are read-only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from kexport import store
from kexport.errors import ArtifactError, UsageError
from kexport.evidence import artifact_file
from kexport.evidence.benchmark import BenchRequest, BenchSettings
from kexport.evidence.versus import Versus, VersusRequest, execute, ratio, told
from kexport.pipeline import lone
from kexport.pipeline.artifacts import by_directory
from kexport.pipeline.measuring import Measurement, _require_unchanged
from kexport.records import Status
from tests.evidence.small_files import colours, write
from tests.places import ROOT

STORED = ROOT / "tests" / "data" / "artifacts-0.1"
QUICK = BenchSettings(warmup=1, repetitions=12, threads=1)


def test_what_can_be_written_and_what_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "artifacts"
    shutil.copytree(STORED, directory)
    file = write(tmp_path / "a.onnx", colours())
    recorded = directory / "tiny" / "tiny-float32.onnx"
    stranger = shutil.copy(file, directory / "tiny" / "other.onnx")
    assert lone.apart([directory, recorded]) == ((directory, recorded), ())
    assert lone.apart([file, Path(stranger)]) == ((), (file, Path(stranger)))
    assert lone.apart([tmp_path]) == ((tmp_path,), ()), "what is no artifact is refused by who reads directories"
    monkeypatch.setattr(lone, "_writable", lambda _: False)
    kept, alone = lone.apart([directory])
    assert kept == ()
    assert {path.name for path in alone} == {"tiny-float32.onnx", "tiny-float32.tflite", "other.onnx"}


def test_a_file_alone_is_measured_and_nothing_is_written(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tflite", colours(), io="uint8")
    record = lone.measured(file, QUICK)
    (sample,) = record.benchmarks
    assert (record.status, record.scheme, len(sample.samples_seconds)) == (Status.UNPROVEN, "int8", 12)
    assert sample.first_seconds is not None
    assert sample.first_seconds > 0
    assert sample.load_seconds > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.tflite"]


def test_parity_of_a_file_without_its_record_says_what_is_missing(tmp_path: Path) -> None:
    file = write(tmp_path / "a.onnx", colours())
    with pytest.raises(UsageError, match="no record beside the file"):
        list(lone.rechecked([file], lambda *_: (), ()))


def test_a_recorded_file_is_compared_in_a_folder_of_links(tmp_path: Path) -> None:
    for name in ("tiny-float32.onnx", "tiny-float32.onnx.json"):
        shutil.copy(STORED / "tiny" / name, tmp_path / name)
    seen: list[tuple[str, bool]] = []

    def recheck(path: Path, _trusted: object) -> tuple[()]:
        seen.append((path.name, path.resolve() == (tmp_path / "tiny-float32.onnx").resolve()))
        assert lone.apart([path]) == ((path,), ())
        return ()

    assert list(lone.rechecked([tmp_path / "tiny-float32.onnx"], recheck, ())) == []
    assert seen == [("tiny-float32.onnx", True)]
    assert len(list(tmp_path.iterdir())) == 2


def test_two_by_turns(tmp_path: Path) -> None:
    files = [write(tmp_path / name, colours()) for name in ("a.onnx", "b.tflite")]
    first, second = (
        BenchRequest(runtime=name, path=str(file), settings=QUICK)
        for name, file in zip(("onnxruntime", "litert"), files, strict=True)
    )
    found = execute(VersusRequest(first=first, second=second))
    assert len(found.pairs_seconds) == 12
    assert found.first_effective.startswith("onnxruntime")
    assert found.second_effective.startswith("LiteRT")
    with pytest.raises(UsageError, match="same settings"):
        VersusRequest(first=first, second=BenchRequest(runtime="litert", path=str(files[1])))


def test_the_ratio_and_its_interval_in_words() -> None:
    def pairs(*seconds: tuple[float, float]) -> Versus:
        return Versus(first="A", second="B", first_effective="", second_effective="", pairs_seconds=seconds)

    half = pairs(*[(1.0 + i / 100, 2.0) for i in range(10)])
    each = ratio(half)
    assert each.low <= each.median <= each.high < 1
    assert told(half).startswith("A takes 0.52")
    assert told(half).endswith(" of the time of B (98% interval 0.505 to 0.540, 10 pairs by turns): faster")
    assert told(pairs(*[(2.0, 1.0)] * 8)).endswith(": slower")
    mixed = pairs(*[(1.0, 2.0), (2.0, 1.0)] * 5)
    assert told(mixed).endswith("not told apart: the interval holds 1")


def test_an_artifact_with_a_hole_of_a_terabyte_is_not_read_to_its_end(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STORED, tmp_path / "artifacts"))
    record = next(each for each in store.read_records(folder) if each.format == "tflite")
    os.truncate(folder / "tiny" / "tiny-float32.tflite", 2**40)
    with pytest.raises(ArtifactError, match="it has 1099511627776 bytes, expected at most 1073741824"):
        _require_unchanged(Measurement(directory=folder, settings=QUICK), record)
    with pytest.raises(ArtifactError, match="it has 1099511627776 bytes, expected at most 17179869184"):
        artifact_file.read(folder / "tiny" / "tiny-float32.tflite")


def test_an_artifact_that_is_a_link_to_itself(tmp_path: Path) -> None:
    """`Path.resolve` raises for it; its record is found, and what it lacks is told where it is used."""
    folder = Path(shutil.copytree(ROOT / "tests/data/artifacts-0.1", tmp_path / "artifacts"))
    artifact = folder / "tiny" / "tiny-float32.onnx"
    artifact.unlink()
    artifact.symlink_to(artifact.name)
    ((_, found),) = by_directory([folder])
    assert len(found) == 2
    assert "tiny/tiny-float32.onnx: a symbolic link, expected a file" in store.verify(folder)
