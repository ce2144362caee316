"""The network and the images of ``kexport demo``: handwritten digits of scikit-learn, which needs not be installed.

``digits.keras`` is a MobileNetV3Small of width 0.35, trained by ``tests/demo/train.py``; ``digits.npz`` has the 540
images that it has not seen, with their classes, and 89 of those that it has, for calibration: none that looks
much like one of the others. The digits are the
test set of the UCI repository's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998; CC BY 4.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MODEL, IMAGES = "digits.keras", "digits.npz"
SIDE = 64
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Written:
    """Where `write` has put the files that an export reads; ``shown`` is one of those held out."""

    model: Path
    labels: Path
    held_out: Path
    calibration: Path
    shown: Path


def write(folder: Path, *, count: int | None = None) -> Written:
    """The network, the names of its classes, and images as PNG: held out in a folder per class, and for calibration.

    ``count`` is how many of those held out are written, all unless said.
    """
    here = Path(__file__)
    with np.load(here.with_name(IMAGES), allow_pickle=False) as stored:
        images, classes, calibration = (stored[name] for name in ("images", "classes", "calibration"))
    folder.mkdir(parents=True, exist_ok=True)
    model, labels = folder / MODEL, folder / "labels.txt"
    model.write_bytes(here.with_name(MODEL).read_bytes())
    labels.write_text("".join(f"{name}\n" for name in NAMES))
    folders = [folder / "held-out" / NAMES[digit] for digit in classes[:count]]
    shown = _save(images[:count], folders)[0]
    _save(calibration, [folder / "calibration"] * len(calibration))
    return Written(
        model=model, labels=labels, held_out=folder / "held-out", calibration=folder / "calibration", shown=shown
    )


def enlarged(images: Pixels) -> Pixels:
    """``(n, 8, 8)`` grey to ``(n, SIDE, SIDE, 3)``, bicubic."""
    return np.stack([np.asarray(_picture(image)) for image in images])


def _picture(image: Pixels) -> Any:
    from PIL import Image

    return Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def _save(images: Pixels, folders: Sequence[Path]) -> list[Path]:
    paths = [folder / f"digit-{number:03d}.png" for number, folder in enumerate(folders)]
    for image, path in zip(images, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        _picture(image).save(path)
    return paths
