"""What kexport 0.1 has written is read by every command: a record with all that it could hold, and a folder.

The folder is of a network of two layers with 144 seeded weights, `tests/data/tiny-0.1.keras`.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from kexport import reports
from kexport.records import Record, Status, decode, encode
from tests.places import ROOT

DATA = ROOT / "tests" / "data"
OLD = (DATA / "record-0.1.json").read_text(encoding="utf-8")

UNSIGNED = "; without --key nobody can tell who made the files, or whether all of it was changed together"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where it was made: beside its model."""
    place = tmp_path_factory.mktemp("old")
    shutil.copytree(DATA / "artifacts-0.1", place / "artifacts-0.1")
    shutil.copyfile(DATA / "tiny-0.1.keras", place / "tiny.keras")
    return place


def missing(old: Any, new: Any, path: str = "") -> list[str]:
    """Paths at which the old JSON says something that the new one does not."""
    if isinstance(old, dict):
        found = [missing(value, new.get(key), f"{path}.{key}") for key, value in old.items()]
    elif isinstance(old, list):
        found = [missing(value, new[place], f"{path}.{place}") for place, value in enumerate(old)]
    else:
        return [] if old == new else [f"{path}: {old!r} became {new!r}"]
    return [line for lines in found for line in lines]


def test_everything_that_an_old_record_says_is_kept() -> None:
    record = decode(OLD)
    assert missing(json.loads(OLD), json.loads(encode(record))) == []
    assert record.status is Status.FAIL
    assert record.parity is not None
    assert record.accuracy is not None
    assert record.quantization is not None
    assert record.quantization.search is not None
    assert math.isnan(record.parity.checks[0].value)
    assert record.parity.outputs[0].logits_max_abs_error == math.inf
    assert record.accuracy.output_sqnr_db == -math.inf
    assert record.quantization.search.taken.drop_points == 0.5


def test_the_comparison_can_fail() -> None:
    assert missing({"a": [1, {"b": "nan"}]}, {"a": [1, {"b": None}], "c": 2}) == [".a.1.b: 'nan' became None"]


@pytest.mark.parametrize("form", ["md", "json", "csv", "junit"])
def test_an_old_record_is_reported(form: str) -> None:
    assert "tiny" in reports.render((decode(OLD),), form)


def test_an_old_folder_is_reported_and_verified(folder: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    verified, reported = call("verify", "artifacts-0.1"), call("report", "artifacts-0.1")
    assert (verified.code, verified.err) == (0, f"artifacts-0.1: no problem found{UNSIGNED}\n")
    assert reported.code == 0
    assert "tiny" in reported.out
    records = json.loads(call("report", "artifacts-0.1", "--format", "json").out)["records"]
    assert [(each["format"], each["status"], each["versions"]["kexport"]) for each in records] == [
        ("onnx", "PASS", "0.1.0"), ("tflite", "PASS", "0.1.0"),
    ]  # fmt: skip


@pytest.mark.long
def test_an_old_folder_is_proved_and_measured_again(folder: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    proved = call("parity", "artifacts-0.1", "--json")
    assert proved.code == 0, proved.err
    measured = call("bench", "artifacts-0.1", "--repetitions", "3", "--warmup", "1", "--json")
    assert measured.code == 0, measured.err
    for ended in (proved, measured):
        records = tuple(decode(json.dumps(each)) for each in json.loads(ended.out)["records"])
        assert [record.status for record in records] == [Status.PASS, Status.PASS]
    sessions = [session for record in _records(folder) for session in record.benchmarks]
    assert {len(session.samples_seconds) for session in sessions} >= {3}
    assert call("verify", "artifacts-0.1").code == 0


def _records(folder: Path) -> list[Record]:
    return [decode(path.read_bytes()) for path in sorted((folder / "artifacts-0.1" / "tiny").glob("*.json"))]
