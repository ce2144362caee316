"""Readers of the main process under arbitrary content: only this program's own errors, whatever a file holds.

Ten seconds each (`tests.fuzzing`); the pre-checks of ONNX and TFLite are fuzzed in `tests/runtimes/test_precheck.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from kexport import api, store, targets
from kexport.errors import KexportError, SourceError, UsageError
from kexport.evidence import tolerances
from kexport.images import arrays, calibration, classes, evaluation
from kexport.images.photographs import _decode
from kexport.records import decode
from kexport.sources import labels, names, stated
from kexport.sources.weights import pins
from tests.fuzzing import VALUES, fuzz
from tests.places import ROOT

RECORD = json.loads((ROOT / "tests/data/record-0.1.json").read_text())
TOML = st.text(alphabet="[]=\"\n.#{},0a-\\'", max_size=60) | st.text(max_size=40)
TABLE = st.binary(max_size=60) | st.text(alphabet='",\n0ab[]{}:', max_size=60).map(str.encode)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in ((value, key), *places(item))]


def test_the_fuzzer_finds_what_does_not_hold() -> None:
    def holds(value: int) -> None:
        assert value < 1000

    with pytest.raises(AssertionError):
        fuzz(holds, share=0.5, value=st.integers())


def test_a_record_with_another_value_somewhere() -> None:
    def holds(where: int, value: Any) -> None:
        record = json.loads(json.dumps(RECORD))
        every = places(record)
        container, key = every[where % len(every)]
        container[key] = value
        with contextlib.suppress(KexportError):
            decode(json.dumps(record))

    fuzz(holds, where=st.integers(0, 10**6), value=VALUES)


def test_a_manifest(tmp_path: Path) -> None:
    def holds(value: Any, files: dict[str, Any], count: Any) -> None:
        chained = {"schema": 2, "files": files, "count": count, "digest": "x"}
        for content in (value, {"schema": 1, "files": files}, {"schema": value, "files": {}}, chained):
            (tmp_path / "manifest.json").write_text(json.dumps(content))
            assert all(isinstance(problem, str) for problem in store.verify(tmp_path))

    entry = st.fixed_dictionaries({"sha256": st.text(max_size=5), "size_bytes": st.integers()})
    names = st.text(max_size=12) | st.sampled_from(["../x", "a/b", "/etc/passwd", "."])
    fuzz(holds, value=VALUES, files=st.dictionaries(names, VALUES | entry, max_size=4), count=VALUES)


KEYS = st.sampled_from(["description", "formats", "schemes", "batch", "opset", "engine", "input_shape", "x"])


def test_a_target() -> None:
    def holds(content: dict[str, Any]) -> None:
        with contextlib.suppress(UsageError):
            targets.parse(content)

    fuzz(holds, content=st.dictionaries(KEYS, VALUES, max_size=6))


def test_texts_of_toml(tmp_path: Path) -> None:
    def holds(text: str) -> None:
        (tmp_path / "x.toml").write_text(text)
        with contextlib.suppress(UsageError):
            targets.load(str(tmp_path / "x.toml"))

    fuzz(holds, text=TOML)


FIGURES = st.sampled_from(["onnx", "families", "float32", "max_abs_error", "sqnr_db", "bound", "why", "x"])
BOUNDS = st.dictionaries(FIGURES, st.dictionaries(FIGURES, st.dictionaries(FIGURES, VALUES, max_size=3), max_size=3))


def test_tolerances() -> None:
    def holds(text: str, content: dict[str, Any]) -> None:
        for each in (text, "\n".join(f"{key} = {json.dumps(value)}" for key, value in content.items())):
            with contextlib.suppress(UsageError):
                tolerances.parse(each)

    fuzz(holds, text=TOML, content=BOUNDS)


@pytest.mark.parametrize("suffix", ["txt", "csv", "json"])
def test_labels(tmp_path: Path, suffix: str) -> None:
    def holds(content: bytes) -> None:
        (tmp_path / f"x.{suffix}").write_bytes(content)
        with contextlib.suppress(SourceError):
            assert all(labels.read(tmp_path / f"x.{suffix}"))

    fuzz(holds, share=0.4, content=TABLE)


def test_a_table_of_photographs(tmp_path: Path) -> None:
    known = classes.Classes(count=3, names=("a", "b", "ab"))
    (tmp_path / "a").write_bytes(b"")

    def holds(content: bytes) -> None:
        (tmp_path / "x.csv").write_bytes(content)
        with contextlib.suppress(UsageError):
            classes.from_csv(tmp_path / "x.csv", classes=known)

    fuzz(holds, content=TABLE)


STATED = st.sampled_from(["mode", "channel_order", "scale", "mean", "std", "resize", "x"])


def test_a_stated_contract(tmp_path: Path) -> None:
    def holds(content: dict[str, Any], text: bytes) -> None:
        for each in (json.dumps(content).encode(), text):
            (tmp_path / "x.json").write_bytes(each)
            with contextlib.suppress(UsageError):
                stated.of(str(tmp_path / "x.json"), None)

    fuzz(holds, share=0.5, content=st.dictionaries(STATED, VALUES | st.just(10**400), max_size=6), text=TABLE)


def test_a_list_of_hashes(tmp_path: Path) -> None:
    def holds(content: Any) -> None:
        (tmp_path / pins.FILE).write_text(json.dumps(content))
        with contextlib.suppress(KexportError):
            pins.known(tmp_path)

    pin = st.fixed_dictionaries({"sha256": VALUES, "size_bytes": VALUES, "url": VALUES})
    files = st.fixed_dictionaries({"files": st.dictionaries(st.text(max_size=3), pin)})
    fuzz(holds, share=0.2, content=VALUES | files)


@pytest.mark.parametrize("content", ["x = " + "[" * 100_000, "a." * 50_000 + "b = 1", "x = " + "9" * 10_000])
def test_deep_toml(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.toml").write_text(content)
    with pytest.raises(UsageError):
        targets.load(str(tmp_path / "x.toml"))


def test_what_is_no_file(tmp_path: Path) -> None:
    for suffix in ("toml", "csv", "json", "jpg"):
        os.mkfifo(tmp_path / f"fifo.{suffix}")
        (tmp_path / f"folder.{suffix}").mkdir()
        with pytest.raises(SourceError, match="it is a FIFO"):
            arrays.names(tmp_path / f"fifo.{suffix}")
    for look in (api.inspect, api.verify, api.report, names._resolve, calibration.check, evaluation.check):
        with pytest.raises(UsageError, match=r"^xxx.* \(500\d characters\) cannot be looked at: File name too long"):
            look("x" * 5000 + ".onnx")
    for name in ("fifo", "folder", "x" * 5000):
        with pytest.raises(UsageError, match="cannot be read: "):
            targets.load(str(tmp_path / f"{name}.toml"))
        with pytest.raises(SourceError, match="cannot be read: "):
            labels.read(tmp_path / f"{name}.csv")
        with pytest.raises(SourceError, match="cannot be read as CSV: "):
            classes.from_csv(tmp_path / f"{name}.csv", classes=classes.Classes(count=3))
        with pytest.raises(SourceError, match="cannot be read: "):
            stated.of(str(tmp_path / f"{name}.json"), None)
        with pytest.raises(SourceError, match="the image cannot be read: "):
            _decode(tmp_path / f"{name}.jpg", "RGB", upright=False)
    with pytest.raises(SourceError, match="it is a device"):
        labels.read(Path("/dev/zero"))
    (tmp_path / "wide.csv").write_text("a," + "x" * 200_000)
    with pytest.raises(SourceError, match="is not CSV: field larger than"):
        labels.read(tmp_path / "wide.csv")
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SourceError, match="it has 1099511627776 bytes, expected at most 67108864"):
        classes.from_csv(tmp_path / "sparse.csv", classes=classes.Classes(count=3))
    (tmp_path / "odd.csv").write_text("x" * 5000 + ",1\nb\0c,2\n")
    with pytest.raises(UsageError, match="there is no file"):
        classes.from_csv(tmp_path / "odd.csv", classes=classes.Classes(count=3))
    with pytest.raises(UsageError, match="unknown preprocessing"):
        stated.of("x" * 5000, None)
