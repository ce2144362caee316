"""Readers of the main process under arbitrary content: only this program's own errors, whatever a file holds.

About two seconds each; the pre-checks of ONNX and TFLite are fuzzed in `tests/runtimes/test_precheck.py`.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kexport import store, targets
from kexport.errors import KexportError, SourceError, UsageError
from kexport.evidence import tolerances
from kexport.records import decode
from kexport.sources import labels
from tests.places import ROOT

RECORD = json.loads((ROOT / "tests/data/record-0.1.json").read_text())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FEW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in ((value, key), *places(item))]


@FEW
@given(where=st.integers(0, 10**6), value=VALUES)
def test_a_record_with_another_value_somewhere(where: int, value: Any) -> None:
    record = json.loads(json.dumps(RECORD))
    every = places(record)
    container, key = every[where % len(every)]
    container[key] = value
    with contextlib.suppress(KexportError):
        decode(json.dumps(record))


@FEW
@given(value=VALUES, files=st.dictionaries(st.text(max_size=12), VALUES, max_size=4))
def test_a_manifest(tmp_path: Path, value: Any, files: dict[str, Any]) -> None:
    for content in (value, {"schema": 1, "files": files}, {"schema": value, "files": {}}):
        (tmp_path / "manifest.json").write_text(json.dumps(content))
        assert all(isinstance(problem, str) for problem in store.verify(tmp_path))


KEYS = st.sampled_from(["description", "formats", "schemes", "batch", "opset", "engine", "input_shape", "x"])


@FEW
@given(content=st.dictionaries(KEYS, VALUES, max_size=6))
def test_a_target(content: dict[str, Any]) -> None:
    with contextlib.suppress(UsageError):
        targets.parse(content)


TOML = st.text(alphabet="[]=\"\n.#{},0a-\\'", max_size=60) | st.text(max_size=40)


@FEW
@given(text=TOML)
def test_texts_of_toml(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with contextlib.suppress(UsageError):
        targets.load(str(tmp_path / "x.toml"))
    with contextlib.suppress(UsageError):
        tolerances.parse(text)


@FEW
@given(content=st.binary(max_size=60) | st.text(alphabet='",\n0ab[]{}:', max_size=60).map(str.encode))
@pytest.mark.parametrize("suffix", ["txt", "csv", "json"])
def test_labels(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"x.{suffix}").write_bytes(content)
    with contextlib.suppress(SourceError):
        assert all(labels.read(tmp_path / f"x.{suffix}"))


@pytest.mark.parametrize("content", ["x = " + "[" * 100_000, "a." * 50_000 + "b = 1", "x = " + "9" * 10_000])
def test_deep_toml(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.toml").write_text(content)
    with pytest.raises(UsageError):
        targets.load(str(tmp_path / "x.toml"))


def test_what_is_no_file(tmp_path: Path) -> None:
    import os

    for suffix in ("toml", "csv"):
        os.mkfifo(tmp_path / f"fifo.{suffix}")
        (tmp_path / f"folder.{suffix}").mkdir()
    for name in ("fifo", "folder", "x" * 5000):
        with pytest.raises(UsageError, match="cannot be read: "):
            targets.load(str(tmp_path / f"{name}.toml"))
        with pytest.raises(SourceError, match="cannot be read: "):
            labels.read(tmp_path / f"{name}.csv")
    with pytest.raises(SourceError, match="it is a device"):
        labels.read(Path("/dev/zero"))
    (tmp_path / "wide.csv").write_text("a," + "x" * 200_000)
    with pytest.raises(SourceError, match="is not CSV: field larger than"):
        labels.read(tmp_path / "wide.csv")
