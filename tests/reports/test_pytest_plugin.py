"""``pytest --kexport DIR``: every check a test, failures with their reason, and an empty folder is no success."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from kexport import store
from kexport.records import Status
from tests.reports import made_up

PLUGIN = ("-p", "no:kexport", "-p", "kexport.reports.testing.plugin", "-p", "no:cacheprovider")
"""Loaded by its module, whether or not the entry point is installed."""


def pytest_of(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *PLUGIN]
    return subprocess.run(
        [*command, "--rootdir", str(directory.parent), "--kexport", str(directory), *words],
        cwd=directory.parent, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def filled(directory: Path, *, fail: bool) -> Path:
    """Records without artifacts, as cells that made none leave them; and their manifest."""
    directory.mkdir(exist_ok=True)
    for record in made_up.run(models=1, schemes=("float32",)):
        status = Status.FAIL if fail else Status.UNSUPPORTED
        plain = replace(record, artifact=None, status=status, reason="a layer is unknown")
        store.write_record(directory, plain, f"{record.model}-{record.scheme}.{record.format}")
    store.write_manifest(directory)
    return directory


def test_checks_are_tests_with_reasons(tmp_path: Path) -> None:
    done = pytest_of(filled(tmp_path / "artifacts", fail=True), "-v")
    assert done.returncode == 1, done.stderr
    assert "files are those of the manifest PASSED" in done.stdout
    assert "onnx float32: logits_error_to_signal" in done.stdout
    assert "FAIL VGG16 onnx float32: a layer is unknown -- kexport export VGG16" in done.stdout.replace(
        "Xception", "VGG16"
    )
    assert "Traceback" not in done.stdout


def test_an_empty_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    done = pytest_of(tmp_path / "artifacts")
    assert done.returncode == 1
    assert "manifest.json" in done.stdout
    missing = pytest_of(tmp_path / "nothing")
    assert missing.returncode == 1
    assert "no such folder" in missing.stdout


def test_without_the_option_nothing_is_added(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one(): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", *PLUGIN]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert "1 passed" in done.stdout
