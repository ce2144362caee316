"""The module for Android: what it pins, what it holds, and that it says that nobody has built it here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kexport.errors import UsageError
from tests.bundles.conftest import Made
from tests.evidence.small_files import colours, metadata, write


@pytest.mark.parametrize("name", ["uint8.tflite"])
def test_the_module_is_whole(name: str, small: Callable[..., Path], made: Made) -> None:
    artifact = small(name)
    folder = made(artifact, "android")
    main, test = folder / "classifier" / "src" / "main", folder / "classifier" / "src" / "androidTest"
    assert (main / "assets" / "model.tflite").read_bytes() == artifact.read_bytes()
    for asset in ("contract.json", "labels.txt"):
        assert (main / "assets" / asset).read_bytes() == (folder / asset).read_bytes()
    for path in (folder / "golden").iterdir():
        assert (test / "assets" / "golden" / path.name).read_bytes() == path.read_bytes()
    gradle = (folder / "classifier" / "build.gradle.kts").read_text()
    assert re.search(r'api\("com.google.ai.edge.litert:litert:2\.\d+\.\d+"\)', gradle)
    assert "@" not in gradle
    kotlin = [path.read_text() for path in folder.rglob("*.kt")]
    assert len(kotlin) == 4
    assert all(text.startswith("package dev.kexport.classifier\n") for text in kotlin)
    assert "was not built or run where it was written" in (folder / "README.md").read_text()


def test_keys_of_the_contract_are_those_that_kotlin_reads(small: Callable[..., Path], made: Made) -> None:
    folder = made(small("uint8.tflite"), "android")
    source = next(folder.rglob("Contract.kt")).read_text()
    read = set(re.findall(r'(?:get|opt)\w+\("(\w+)"', source))
    text = (folder / "contract.json").read_text()
    assert len(read) > 10
    assert [key for key in sorted(read) if f'"{key}":' not in text] == []


def test_labels_may_be_missing_and_the_format_not(small: Callable[..., Path], made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is onnx: a bundle for android takes tflite"):
        made(small("a.onnx"), "android")
    artifact = write(tmp_path / "plain.tflite", colours(), entries=metadata(labels=()))
    assert not list(made(artifact, "android").rglob("labels.txt"))
