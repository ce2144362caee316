"""An artifact as a bundle sees it: its file and what is known of it, what it takes and gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kexport.errors import UsageError
from kexport.evidence import artifact_file
from kexport.evidence.artifact_file import ArtifactFile
from kexport.records import UNKNOWN, Preprocessing, Record, Signature, SourceFacts
from kexport.runtimes import Session, SessionOptions, for_format, open_session
from kexport.sources import stated

Step = tuple[float, int]
"""Scale and zero point; scale 0 where values are no steps."""
LONGEST = 100
HALF, EIGHT_BITS = "float16", ("int8", "uint8")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is deployed. ``steps`` has scale and zero point of each input and output by name.

    ``runtime_files`` is a folder with files of the runtime, for a bundle that can hold them.
    """

    file: ArtifactFile
    contract: Preprocessing
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    steps: dict[str, Step]
    effective: str
    runtime_files: Path | None = None

    @property
    def path(self) -> Path:
        """Where the artifact lies."""
        return self.file.path

    @property
    def record(self) -> Record | None:
        """Its record, if there is one of these very bytes."""
        return self.file.record

    @property
    def facts(self) -> SourceFacts | None:
        """What is known of the Keras model, if there is a record."""
        return self.record.source if self.record is not None else None

    @property
    def format(self) -> str:
        """The file's format."""
        return str(self.file.format)

    @property
    def name(self) -> str:
        """The model's name; the file's where nothing says it."""
        return self.record.model if self.record is not None else self.path.name.removesuffix(self.path.suffix)

    @property
    def slug(self) -> str:
        """The name in letters, digits, ``-`` and ``_``: for folders, whatever a record from elsewhere says."""
        return plain(self.name)

    @property
    def scheme(self) -> str:
        """Its numeric precision: what the record says, or what its weights are."""
        if self.record is not None:
            return self.record.scheme
        types = {weight.dtype for weight in self.file.contents.weights}
        return "int8" if types & set(EIGHT_BITS) else HALF if HALF in types else "float32"

    @property
    def model_file(self) -> str:
        """What the model is called in the bundle."""
        return f"model{self.path.suffix}"

    @property
    def title(self) -> str:
        """What it is, for a heading."""
        return f"{self.name}, {self.scheme}"

    @property
    def weights(self) -> str:
        """Where its weights come from, without folders of the machine that had them."""
        if self.facts is None:
            return self.path.name
        name = self.facts.weights if self.facts.kind == "application" else self.facts.source
        return name.rpartition("/")[2] or self.name

    @property
    def image(self) -> Signature:
        """Its only input."""
        return self.inputs[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the numbers of the output; empty where there are none.

        One probability of two classes is that of the second.
        """
        names = self.file.labels
        return names[1:] if self.classes == 1 and len(names) == 2 else names

    @property
    def classes(self) -> int | None:
        """How many classes the only output has; None where it is no row of classes."""
        shape = self.outputs[0].shape
        return shape[1] if len(self.outputs) == 1 and len(shape) == 2 else None

    def session(self) -> Session:
        """It runs on one thread, as far as its runtime can limit them."""
        return _session(self.path, self.format)


def plain(text: str) -> str:
    """Letters, digits, ``-`` and ``_`` alone, at most `LONGEST`: what can be a part of any path."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:LONGEST]


def read(
    path: Path, *, labels: Path | None = None, preprocessing: str | None = None, resize: str | None = None
) -> Deployment:
    """The artifact at ``path`` with what it says of itself, and its record where that lies beside it.

    The other arguments state what the file does not say. Raises UsageError where the network does not take one image,
    or where nothing says what it makes of pixels.
    """
    found = artifact_file.read(path, labels=labels, preprocessing=preprocessing, resize=resize, run=True)
    session = _session(path, str(found.format))
    inputs, outputs = session.signature
    _require_image(found)
    names = [spec.name for spec in (*inputs, *outputs)]
    return Deployment(
        file=found, contract=_contract(found), inputs=inputs, outputs=outputs,
        steps={name: session.quantization(name) for name in names}, effective=session.effective,
    )  # fmt: skip


def _session(path: Path, form: str) -> Session:
    return open_session(for_format(form), path, options=SessionOptions(threads=1))


def _contract(found: ArtifactFile) -> Preprocessing:
    contract = found.contract
    if contract is None or contract.mode == UNKNOWN:
        why = "no contract in the file nor beside it" if contract is None else f"its contract is {contract.basis}"
        raise UsageError(f"{found.path}: {why}: what it makes of pixels must be said", hint=stated.HINT)
    return contract


def _require_image(found: ArtifactFile) -> None:
    (height, width), channels, first = artifact_file.image_input(found)
    if first or channels not in (1, 3) or height is None or width is None:
        shape = list(found.contents.inputs[0].shape)
        raise UsageError(
            f"{found.path} takes {shape}: bundles are for networks that take an image (height, width, 3 or 1 channels)",
            hint="kexport export MODEL --input-shape 224,224,3",
        )
