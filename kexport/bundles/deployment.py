"""An artifact as a bundle sees it: its file, its record, what it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kexport.errors import UsageError
from kexport.records import UNKNOWN, Preprocessing, Record, Signature, SourceFacts
from kexport.runtimes import Session, SessionOptions, for_format, open_session
from kexport.store.directory import read_file

Step = tuple[float, int]
"""Scale and zero point; scale 0 where values are no steps."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is deployed. ``steps`` has scale and zero point of each input and output by name.

    ``runtime_files`` is a folder with files of the runtime, for a bundle that can hold them.
    """

    path: Path
    record: Record
    facts: SourceFacts
    contract: Preprocessing
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    steps: dict[str, Step]
    effective: str
    runtime_files: Path | None = None

    @property
    def format(self) -> str:
        """The file's format."""
        return str(self.record.format)

    @property
    def scheme(self) -> str:
        """Its numeric precision."""
        return self.record.scheme

    @property
    def model_file(self) -> str:
        """What the model is called in the bundle."""
        return f"model{self.path.suffix}"

    @property
    def title(self) -> str:
        """What it is, for a heading."""
        return f"{self.record.model}, {self.scheme}"

    @property
    def weights(self) -> str:
        """Where its weights come from, without folders of the machine that had them."""
        name = self.facts.weights if self.facts.kind == "application" else self.facts.source
        return name.rpartition("/")[2] or self.record.model

    @property
    def image(self) -> Signature:
        """Its only input."""
        return self.inputs[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty where there are none."""
        return self.facts.labels

    @property
    def classes(self) -> int | None:
        """How many classes the only output has; None where it is no row of classes."""
        shape = self.outputs[0].shape
        return shape[1] if len(self.outputs) == 1 and len(shape) == 2 else None

    def session(self) -> Session:
        """It runs on one thread, as far as its runtime can limit them."""
        return _session(self.path, self.format)


def read(path: Path) -> Deployment:
    """The artifact at ``path``, whose record lies beside it.

    Raises UsageError where there is no record, or where the network does not take one image.
    """
    beside = path.with_name(f"{path.name}.json")
    if not path.exists():
        raise UsageError(f"{path} does not exist", hint="kexport export MobileNetV3Small --formats onnx,tflite")
    if not beside.is_file():
        raise UsageError(
            f"{path} has no record {beside.name} beside it, which says how it is fed and what was proven",
            hint="kexport export MODEL, and then kexport bundle artifacts/MODEL/MODEL-float32.onnx --for python",
        )
    record = read_file(beside)
    facts = _facts(path, record)
    session = _session(path, str(record.format))
    inputs, outputs = session.signature
    names = [spec.name for spec in (*inputs, *outputs)]
    _require_image(path, inputs)
    assert facts.preprocessing is not None
    return Deployment(
        path=path, record=record, facts=facts, contract=facts.preprocessing, inputs=inputs, outputs=outputs,
        steps={name: session.quantization(name) for name in names}, effective=session.effective,
    )  # fmt: skip


def stated(contract: Preprocessing) -> bool:
    """Whether anything says what pixels become."""
    return contract.mode != UNKNOWN


def _session(path: Path, form: str) -> Session:
    runtime = for_format(form)
    return open_session(runtime, path, options=SessionOptions(threads=1))


def _facts(path: Path, record: Record) -> SourceFacts:
    if record.source is None or record.source.preprocessing is None:
        raise UsageError(
            f"{path}: no input of {record.model} is an image: bundles are for networks that take one",
            hint="kexport export MODEL --preprocessing raw",
        )
    return record.source


def _require_image(path: Path, inputs: tuple[Signature, ...]) -> None:
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or None in shape[1:] or shape[3] not in (1, 3):
        told = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise UsageError(
            f"{path} takes {told}: bundles are for networks that take one image of a fixed size",
            hint="kexport export MODEL --input-shape 224,224,3",
        )
