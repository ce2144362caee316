"""What kexport states about an artifact: JSON records with a schema version, legal by construction.

One record file per artifact, ``<artifact>.json``. Raw latency samples are kept, statistics are derived
by the readers. Newer versions are refused, older ones are read as they are: every field since then has a default.
Text is that of `kexport.documents`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from kexport.documents import SCHEMA_VERSION as SCHEMA_VERSION
from kexport.documents import decode_as as decode_as
from kexport.documents import encode as encode

UNKNOWN = "unknown"
"""The mode of `Preprocessing` of a model that does not say how it was trained."""


class Status(StrEnum):
    """How a cell ended. Everything but PASS carries a reason."""

    PASS = "PASS"
    FAIL = "FAIL"  # a check said no
    UNPROVEN = "UNPROVEN"  # made, and nothing speaks against it, but no check could tell
    UNSUPPORTED = "UNSUPPORTED"  # the model cannot be expressed
    ERROR = "ERROR"  # it broke: usage, environment or a bug


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One input or output of an artifact. A symbolic axis is ``None``."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Basis(StrEnum):
    """What a part of the preprocessing contract rests on."""

    STATED = "stated"  # by the user, with --preprocessing or --resize
    READ = "read"  # from the model's own layers, or from the application that it is
    ASSUMED = "assumed"  # nothing says it


class Resize(StrEnum):
    """How an image of any size becomes one of the network's size."""

    CROP = "crop"  # the shorter side is resized to ``resize_shorter_side``, then the centre is taken
    SQUASH = "squash"  # both sides are resized, whatever the shape was
    PAD = "pad"  # it is resized to fit in, and set into black


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What an image must go through before the network. Sizes in pixels.

    ``mode`` is the Keras name: ``tf`` scales to [-1, 1], ``torch`` scales to [0, 1] and normalises with
    ``mean`` and ``std``, ``caffe`` swaps to BGR and subtracts ``mean``, ``raw`` feeds [0, 255]; ``unit`` scales to
    [0, 1], ``own`` is none of these.
    A pixel p in [0, 255] becomes ``(p * scale - mean) / std`` per channel, in ``channel_order``.
    ``unknown`` is the mode of a model that does not say how it was trained. ``basis`` is where all this is
    known from; empty for an application, where it is Keras's own ``preprocess_input``. ``range_basis`` and
    ``resize_basis`` say what the values and the resize rest on; None in records of 0.1.
    """

    mode: str
    size: tuple[int, int]
    channel_order: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_shorter_side: int
    crop: str = "center"
    interpolation: str = "bilinear"
    basis: str = ""
    resize: Resize = Resize.CROP
    range_basis: Basis | None = None
    resize_basis: Basis | None = None


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """The Keras model that an artifact was made from.

    ``kind`` is ``application``, ``file``, ``factory`` or ``live`` (a model of a Python program); ``source`` names
    a file or a factory, ``source_sha256`` is that of the file. ``preprocessing`` is None where no input is an
    image. ``reference_inputs`` says for each input what it was checked with, ``input_range`` is that of the first
    one. ``activations`` has the outputs that a softmax or sigmoid makes; ``reference_images`` names the set of
    photographs that the reference was computed on, if seeded inputs showed too little. ``labels`` are the names of the
    classes in order, ``labels_from`` says whose, or why there are none.
    """

    application: str
    weights: str
    weights_sha256: str
    parameters: int
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    ends_in_softmax: bool
    preprocessing: Preprocessing | None
    options: dict[str, Any] = field(default_factory=dict)
    kind: str = "application"
    source: str = ""
    source_sha256: str = ""
    input_range: tuple[float, float] | None = None
    reference_inputs: dict[str, str] = field(default_factory=dict)
    reference_images: str = ""
    activations: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    labels_from: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """What an engine wrote: operator counts by name, the signature, and what else its reader should know."""

    operations: dict[str, int]
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A written file or folder. ``path`` is relative to the artifact directory and lies inside it."""

    path: str
    format: str
    scheme: str
    size_bytes: int
    sha256: str
    engine: str
    engine_reason: str
    operations: dict[str, int]
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    opset: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in self.path:
            raise ValueError(f"artifact path {self.path!r}: expected one inside the artifact directory")


class Compared(StrEnum):
    """What of an output was compared with Keras."""

    VALUES = "values"  # as they are
    LOGITS = "logits"  # log-probabilities less their mean: all that a softmax keeps of its logits
    TAPPED = "tapped"  # the values before the last softmax or sigmoid, which hides them
    PROBABILITIES = "probabilities"  # a softmax that hides its logits, in a file that does not show them either
    STEPS = "steps"  # probabilities that are stored in steps of 1/256
    INTEGERS = "integers"  # classes, indices, masks: equal or not


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """What rounding alone does to an output of Keras (`kexport.sources.rounding`), in the figures of `OutputParity`."""

    logits_max_abs_error: float
    output_max_abs_error: float
    sqnr_db: float
    equal_share: float


@dataclass(frozen=True, kw_only=True)
class OutputParity:
    """One output compared. Logits are what ``compared`` says.

    ``signal`` is the standard deviation of the reference's logits between inputs, ``size`` what they are large
    against, ``equal_share`` the share of integers that are equal; ``rounding`` is None where it was not measured.
    ``unproven`` says why the comparison cannot tell a right file from a wrong one; it is empty where it can.
    """

    name: str
    logits_max_abs_error: float
    logits_mean_abs_error: float
    output_max_abs_error: float
    output_mean_abs_error: float
    cosine: float
    sqnr_db: float
    top1_agreement: float
    top5_agreement: float
    signal: float
    compared: Compared = Compared.VALUES
    activation: str = ""
    size: float = 1.0
    equal_share: float | None = None
    rounding: Rounding | None = None
    unproven: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One bound: ``passed`` is ``value <= bound`` (or ``>=`` for agreement), so that NaN fails."""

    name: str
    value: float
    bound: float
    passed: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class ParityRecord:
    """An artifact against its Keras reference. ``effective`` names what really executed."""

    samples: int
    runtime: str
    effective: str
    outputs: tuple[OutputParity, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class DropTrial:
    """A plan with ``float_layers`` layers in float32: its top-1 drop in points, the ends of its 95 % interval."""

    float_layers: int
    drop_points: float
    low_points: float
    high_points: float
    met: bool


@dataclass(frozen=True, kw_only=True)
class DropSearch:
    """The search for the fewest float32 layers with a drop of at most ``bound_points``: every plan that was measured.

    ``float_layers`` names what stayed in float in the plan that was taken, most sensitive first; ``layers`` counts
    those that int8 would quantize, 0 if they were not ranked because int8 alone is inside the bound. ``met`` is
    false if no plan is inside the bound.
    """

    bound_points: float
    layers: int
    float_layers: tuple[str, ...]
    trials: tuple[DropTrial, ...]
    met: bool

    @property
    def taken(self) -> DropTrial:
        """The trial of the plan that was taken."""
        return next(trial for trial in self.trials if trial.float_layers == len(self.float_layers))


@dataclass(frozen=True, kw_only=True)
class AccuracyRecord:
    """An artifact and Keras on the same photographs. Shares are in [0, 1]; drops are in points of 100.

    Where there are no labels, everything that needs them is None: agreement and SQNR remain. ``top1_drop_points``
    is Keras's top-1 less the artifact's, ``low_points`` to ``high_points`` its 95 % interval
    (`kexport.evidence.accuracy`). ``overlap`` counts the images that the calibration set holds too. ``logits_sqnr_db``
    is over the ``logits_images`` whose softmax is not saturated, None if all are. ``non_finite`` images gave NaN or
    infinity: they count as wrong and fail the artifact. ``caveats`` are to be read before any number: Keras itself at
    chance, classes that were guessed, a range or a resize that was assumed.
    """

    images: int
    labelled: bool
    top1_agreement: float
    output_sqnr_db: float
    logits_sqnr_db: float | None
    logits_images: int
    non_finite: int
    keras_top1: float | None = None
    keras_top5: float | None = None
    top1: float | None = None
    top5: float | None = None
    top1_drop_points: float | None = None
    low_points: float | None = None
    high_points: float | None = None
    right_to_wrong: int | None = None
    wrong_to_right: int | None = None
    evaluation: str = ""
    evaluation_sha256: str = ""
    runtime: str = ""
    effective: str = ""
    overlap: int = 0
    overlap_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QuantizationRecord:
    """How an artifact was quantized. ``fit_to_deploy`` is false where the calibration images are synthetic.

    ``calibration`` is what was asked for, ``calibration_sha256`` the set's digest; ``float_layers`` are the layers
    with weights that stayed float32, and ``search`` says why where ``--max-drop`` was given; ``notes`` are warnings
    about the images and the plan. ``largest_pair_sums`` are, by layer, the largest sums of two weights of equal signs
    that a runtime adds up in int16 (`kexport.quantization.kernels.pairs`); empty where nothing is. ``seconds`` is what
    reading the images and making the plan took, with the search, ``peak_memory_bytes`` the peak of the process that
    did it; one plan serves all formats.
    """

    calibration: str
    calibration_sha256: str
    images: int
    kind: str
    fit_to_deploy: bool
    int8_layers: int
    float_layers: tuple[str, ...] = ()
    search: DropSearch | None = None
    largest_pair_sums: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """Raw latencies of one session, in seconds, after ``warmup`` runs that are not kept."""

    runtime: str
    device: str
    effective: str
    threads: int
    batch: int
    warmup: int
    load_seconds: float
    samples_seconds: tuple[float, ...]
    peak_memory_bytes: int
    machine: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What making the artifact took, in the process that made it."""

    seconds: dict[str, float]
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything about one cell.

    ``exit_code`` is that of the error which ended the cell: 1 a check, 2 the request, 3 this environment.
    """

    model: str
    format: str
    scheme: str
    status: Status
    reason: str = ""
    hint: str = ""
    reproduce: str = ""
    traceback: str = ""
    exit_code: int = 1
    source: SourceFacts | None = None
    artifact: Artifact | None = None
    parity: ParityRecord | None = None
    accuracy: AccuracyRecord | None = None
    quantization: QuantizationRecord | None = None
    benchmarks: tuple[BenchRecord, ...] = ()
    cost: Cost | None = None
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.status is not Status.PASS and not self.reason:
            raise ValueError(f"a record with status {self.status} needs a reason")

    @property
    def published(self) -> bool:
        """Whether the artifact is in its place: proven, or with nothing that speaks against it."""
        return self.status in (Status.PASS, Status.UNPROVEN)


def decode(text: str | bytes) -> Record:
    """Read a record back; every mistake is named with its path. Raises StoreError."""
    record: Record = decode_as(Record, text)
    return record
