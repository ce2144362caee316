"""The whole pipeline on a small trained network that the package carries: every format, float and int8, no network.

What it is made from is written first, as a user's own files would lie: a ``.keras`` file, the names of its classes,
photographs in a folder per class, and some for calibration. What follows is what ``kexport export`` does with them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kexport import files, pipeline, reports
from kexport.errors import UsageError
from kexport.evidence import artifact_file
from kexport.evidence.classification import classify
from kexport.options import ExportOptions
from kexport.pipeline import requests, unsupported
from kexport.pipeline.demo import digits
from kexport.pipeline.events import Observer
from kexport.records import Record
from kexport.registry import Engine, Format, Scheme
from kexport.sources.names import select
from kexport.specs import Cell

SOURCE, ARTIFACTS, REPORT = "source", "artifacts", "report.md"
RESIZE = "squash"
SCHEMES = tuple(scheme for scheme in Scheme if scheme is not Scheme.INT16X8)
LEFT_OUT = "int16x8 is left out: its int16 values cannot be clipped at 0 and 1, as MobileNetV3's hard sigmoid has to be"
TOP = 3


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A request whose files are there. ``directory`` holds them, the artifacts and the report."""

    directory: Path
    source: digits.Written
    cells: tuple[Cell, ...]

    @property
    def artifacts(self) -> Path:
        """Where the artifacts land."""
        return self.directory / ARTIFACTS

    @property
    def int8(self) -> tuple[Path, ...]:
        """The int8 artifacts, which a device runs."""
        return tuple(
            self.artifacts / cell.model.name / cell.file_name for cell in self.cells if cell.scheme is Scheme.INT8
        )

    @property
    def commands(self) -> tuple[str, ...]:
        """What to type next: what can be done with its files, and the same export in one's own words."""
        source, artifact = self.source, str(self.int8[-1] if self.int8 else self.artifacts)
        again = [
            "export", str(source.model), "--labels", str(source.labels), "--resize", RESIZE, "--schemes", "int8",
            "--calibration", str(source.calibration), "--eval", str(source.held_out), "--max-drop", "1",
            "-o", str(self.directory / "again"),
        ]  # fmt: skip
        words = (
            ["classify", artifact, str(source.shown)],
            ["report", str(self.artifacts)],
            ["verify", str(self.artifacts)],
            ["bench", artifact],
            ["bundle", artifact, "--for", "python", "-o", str(self.directory / "client")],
            again,
        )
        return tuple(shlex.join(["kexport", *each]) for each in words)


def prepare(
    directory: Path, *, formats: Sequence[Format] = (), schemes: Sequence[Scheme] = (), count: int | None = None
) -> Demo:
    """Write the network and its images below ``directory``, and plan every scheme of every format but `left_out`.

    ``formats`` and ``schemes`` limit that, ``count`` the images that are held out. Raises UsageError for a directory
    that holds something, StoreError for one that cannot be written.
    """
    if files.there(directory) and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is there already, expected a new or empty folder", hint="kexport demo -o PLACE")
    files.prepare(directory)
    source = digits.write(directory / SOURCE, count=count)
    options = ExportOptions(
        formats=tuple(formats) or tuple(form for form in Format if not _lacking(form)),
        schemes=tuple(schemes) or SCHEMES,
        calibration=str(source.calibration),
        evaluation=str(source.held_out),
        labels=str(source.labels),
        resize=RESIZE,
        output=directory / ARTIFACTS,
    )
    return Demo(directory=directory, source=source, cells=requests.cells(select([str(source.model)]), options))


def left_out() -> tuple[str, ...]:
    """A line for everything that the demo does not make, with the reason."""
    return (LEFT_OUT, *(f"{form} is left out: {why}" for form in Format if (why := _lacking(form))))


def _lacking(form: Format) -> str:
    return unsupported.lacking(form, Scheme.FLOAT32, Engine.AUTO)


def run(demo: Demo, observer: Observer) -> tuple[Record, ...]:
    """Make and prove every artifact, measure its accuracy; the records, and ``report.md`` of them."""
    request = pipeline.Request(cells=demo.cells, directory=demo.artifacts)
    records = pipeline.run(request, observer)
    files.write(demo.directory / REPORT, reports.render(records, "md"))
    return records


def named(artifact: Path, image: Path) -> tuple[tuple[str, float], ...]:
    """The `TOP` classes that the artifact sees on one image, as ``kexport classify`` does, with their probabilities."""
    [found] = classify(artifact_file.read(artifact), [image], top=TOP).images
    return tuple((guess.name or f"class {guess.index}", guess.value) for guess in found.answers[0].guesses)
