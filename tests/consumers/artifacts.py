"""A dozen networks in every scheme of both formats, and what Keras said of four pictures: what consumers are given.

Written once by ``kexport export`` into a folder of the caller's, with seeded weights; Keras's answers are those that
kexport keeps beside the artifacts, on the first pictures of the calibration.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from kexport import store
from kexport.images import photographs
from kexport.images.seeded import seeded_images
from kexport.records import Record
from kexport.sources import catalog, stored
from kexport.sources.answered import Reference
from kexport.specs import CALIBRATED
from kexport.store import references

PICTURES, JUDGED, SEED = 16, 4, 13
HEAD = "int8, integer head"
SCHEMES = {"onnx": ("float32", "float16", "dynamic", "int8"),
           "tflite": ("float32", "float16", "dynamic", "int8", HEAD, "int16x8")}  # fmt: skip
RUNS = {
    "artifacts": ("--formats", "onnx,tflite", "--schemes", "float32,float16,dynamic,int8"),
    "int16x8": ("--formats", "tflite", "--schemes", "int16x8"),
    "heads": ("--formats", "tflite", "--schemes", "int8", "--integer-head"),
}
"""By folder: the options of a run of ``kexport export``."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """An application, and how it is made."""

    application: str
    alpha: float | None = None

    @property
    def name(self) -> str:
        """As kexport calls it."""
        return self.application if self.alpha is None else f"{self.application}-a{self.alpha}"

    @property
    def arguments(self) -> list[str]:
        """On the command line."""
        return [self.application, *([] if self.alpha is None else ["--alpha", str(self.alpha)])]


NETWORKS = (
    Network(application="MobileNet", alpha=0.25),
    *(
        Network(application=name)
        for name in (
            "MobileNetV3Small", "EfficientNetB0", "MobileNetV2", "MobileNetV3Large", "EfficientNetV2B0", "ResNet50",
            "ResNet50V2", "DenseNet121", "InceptionV3", "NASNetMobile", "ConvNeXtTiny",
        )
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class File:
    """An artifact that passed parity in its own runtime, or the reason why there is none."""

    network: Network
    format: str
    scheme: str
    path: Path
    record: Record

    @property
    def missing(self) -> str:
        """Why no consumer can be asked."""
        return "" if self.record.artifact is not None else self.record.reason


class Exported:
    """What one network gave."""

    def __init__(self, network: Network, cache: Path) -> None:
        self.network, self.cache = network, cache

    def make(self) -> None:
        """Export what is not there. A cell that fails is told by its record."""
        for folder, options in RUNS.items():
            made = self.cache / "made" / f"{folder}-{self.network.name}"
            if not made.exists():
                words = ["--weights", "random:0", "--resize", "squash", "--calibration", str(self._pictures())]
                words += ["--jobs", "1", "--resume", "-o", str(self.cache / folder)]
                export = [sys.executable, "-m", "kexport", "export", *self.network.arguments, *options, *words]
                subprocess.run(export, check=False)
                made.parent.mkdir(exist_ok=True)
                made.touch()

    @cached_property
    def files(self) -> tuple[File, ...]:
        """Every cell of every run."""
        return tuple(self._files())

    def _files(self) -> Iterator[File]:
        for folder in RUNS:
            directory = self.cache / folder
            for record in store.read_records(directory) if directory.is_dir() else ():
                if record.model == self.network.name:
                    scheme = HEAD if folder == "heads" else record.scheme
                    path = directory / (record.artifact.path if record.artifact else "none")
                    yield File(network=self.network, format=record.format, scheme=scheme, path=path, record=record)

    @cached_property
    def reference(self) -> Reference:
        """Keras on the first pictures."""
        record = next(file.record for file in self.files if file.record.scheme in CALIBRATED and not file.missing)
        found = references.find(self.cache / "artifacts", record)
        assert found is not None, record.label
        whole = stored.load(found)
        first = {name: array[:JUDGED] for name, array in whole.outputs.items()}
        logits = {name: array[:JUDGED] for name, array in whole.logits.items()}
        inputs = {name: array[:JUDGED] for name, array in whole.inputs.items()}
        return replace(whole, inputs=inputs, outputs=first, logits=logits)

    def rows(self) -> Path:
        """The pictures as the network takes them, in one array."""
        path = self.cache / "rows" / f"{self.network.name}.npy"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            (rows,) = self.reference.inputs.values()
            self._require_same(rows)
            np.save(path, rows)
        return path

    def _require_same(self, rows: np.ndarray) -> None:
        """A consumer that reads the pictures sees what Keras saw."""
        contract = next(file.record.source.preprocessing for file in self.files if file.record.source)
        assert contract is not None
        for row, picture in zip(rows, self.pictures(), strict=False):
            read = photographs.read(picture, contract)[1]
            assert np.allclose(photographs.prepare(read[None], contract)[0], row, atol=1e-5), picture

    def pictures(self) -> list[Path]:
        """In the order of the rows."""
        return sorted(self._pictures().glob("*.png"))

    def _pictures(self) -> Path:
        from PIL import Image

        side = catalog.application(self.network.application).default_size
        folder = self.cache / f"pictures-{side}"
        if not folder.is_dir():
            folder.mkdir(parents=True)
            images = np.rint(seeded_images(PICTURES, (side, side, 3), seed=SEED)).astype(np.uint8)
            for place, image in enumerate(images):
                Image.fromarray(image).save(folder / f"{place:02}.png")
        return folder
