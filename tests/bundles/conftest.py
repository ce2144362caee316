"""Artifacts to bundle: small files that are written without Keras."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kexport.bundles.write import bundle
from tests.evidence.small_files import colours, metadata, write

Made = Callable[[Path, str], Path]
SMALL = {"a.onnx": "", "a.tflite": "", "int8.tflite": "int8", "uint8.tflite": "uint8"}
"""Names of small files, and the type of their inputs and outputs if it is not float32."""


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Path]:
    """A file that tells red, green and blue apart, by a name of `SMALL`; ``mode`` is its preprocessing."""
    place = tmp_path / "small"
    place.mkdir()
    return lambda name, mode="tf": write(
        place / name, colours(order="BGR" if mode == "caffe" else "RGB"), io=SMALL[name], entries=metadata(mode)
    )


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A bundle of an artifact, in a folder of its own."""
    return lambda artifact, name: bundle(artifact, name, tmp_path / f"{artifact.name}-{name}")


def photograph(path: Path, size: tuple[int, int] = (131, 203)) -> Path:
    """A seeded image that is no multiple of anything."""
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (7, 5, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def alone(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a bundle where there is no kexport: isolated, outside of the checkout."""
    return subprocess.run(
        [sys.executable, "-I", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def guesses(done: subprocess.CompletedProcess[str]) -> list[list[object]]:
    """The classes of the first photograph of ``classify.py --json``."""
    found: dict[str, list[list[object]]] = json.loads(done.stdout)
    return next(iter(found.values()))
