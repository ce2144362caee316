"""What to build and what to make of it: the values that a request consists of, legal by construction."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path, PurePath

from kexport.errors import UsageError
from kexport.options import CellOptions, ModelOptions, fetched, variants
from kexport.options.gates import check_max_drop, check_max_latency_ratio, check_min_agreement
from kexport.registry import CALIBRATED, QUANTIZED, Engine, EngineNames, Format, Scheme

__all__ = [
    "CALIBRATED", "DEFAULT_OPSET", "MAX_OPSET", "MIN_OPSET", "QUANTIZED", "SERVING_BATCH", "Backend", "Boundary",
    "Cell", "Engine", "EngineNames", "Format", "Kernels", "ModelSpec", "Scheme", "WeightsSpec", "integer_io_hint",
]  # fmt: skip

MIN_OPSET = 13
MAX_OPSET = 22
DEFAULT_OPSET = 18
SERVING_BATCH = 1
MAX_ALPHA = 10
USUAL_CLASSES = 1000


class Boundary(StrEnum):
    """The type of a quantized file's inputs and outputs, as ``--io`` names it."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"


class Kernels(StrEnum):
    """How large int8 kernels may become, as ``--kernels`` names it."""

    PORTABLE = "portable"  # no two products exceed int16: every CPU computes alike
    FULL = "full"  # the whole range: for CPUs with VNNI


class Backend(StrEnum):
    """What Keras computes with, as ``--reference`` names it."""

    TENSORFLOW = "tensorflow"
    JAX = "jax"
    OPENVINO = "openvino"


@dataclass(frozen=True, kw_only=True)
class WeightsSpec:
    """Where weights come from: ``imagenet`` (downloaded by Keras), ``random`` with a seed, a file, or the ``model``.

    ``model`` is for model files and factories: their own weights.
    """

    kind: str
    seed: int | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        legal = {
            "imagenet": self.seed is None and self.path is None,
            "random": self.seed is not None and self.seed >= 0 and self.path is None,
            "file": self.path is not None and self.seed is None,
            "model": self.seed is None and self.path is None,
        }
        if not legal.get(self.kind, False):
            raise UsageError(
                f"weights {self.kind!r} (seed {self.seed}, path {self.path}): expected imagenet, "
                "random with a seed of 0 or more, or a file",
                hint="kexport export --help",
            )

    @classmethod
    def parse(cls, text: str) -> WeightsSpec:
        """``imagenet``, ``random:SEED`` or a path, as ``--weights`` takes it."""
        if text == "imagenet":
            return cls(kind="imagenet")
        if text == "random" or text.startswith("random:"):
            seed = text.partition(":")[2]
            if not re.fullmatch(r"\d{1,9}", seed):
                raise UsageError(
                    f"--weights {text!r}: the seed is {seed!r}, expected a whole number",
                    hint="--weights random:0",
                )
            return cls(kind="random", seed=int(seed))
        return cls(kind="file", path=text)

    def __str__(self) -> str:
        return {"random": f"random:{self.seed}", "file": str(self.path)}.get(self.kind, self.kind)


@dataclass(frozen=True, kw_only=True)
class ModelSpec(ModelOptions):
    """Which network to build. Sizes in pixels; ``None`` means the application's own default.

    Exactly one of ``application`` (a name), ``file`` (a path), ``factory`` (``package.module:function``) and ``live``
    (the name of a model of the Python program that asks) is given. ``layers`` are the taps: names of layers whose
    outputs become the model's. ``trust`` allows code in a model file. ``preprocessing`` and ``resize`` are what the
    user states of the contract (`kexport.sources.stated`).
    """

    application: str = ""
    file: str | None = None
    factory: str | None = None
    live: str = ""
    weights: WeightsSpec = field(default_factory=lambda: WeightsSpec(kind="imagenet"))
    classes: int = USUAL_CLASSES
    include_top: bool = True

    def __post_init__(self) -> None:
        if sum(map(bool, (self.application, self.file, self.factory, self.live))) != 1:
            raise UsageError(
                f"application {self.application!r}, file {self.file!r}, factory {self.factory!r}, live {self.live!r}: "
                "expected one of them",
                hint="kexport export --help",
            )
        if (self.weights.kind == "model") != (not self.application) and not (
            self.factory and self.weights.kind == "file"
        ):
            raise UsageError(
                f"weights {self.weights} of {self.source}: an application has imagenet, random:SEED or a file, "
                "a model file its own, a factory its own or a file",
                hint="kexport export --help",
            )
        if self.alpha is not None and not 0 < self.alpha <= MAX_ALPHA:
            raise UsageError(f"alpha {self.alpha}: expected a number above 0, up to {MAX_ALPHA}", hint="--alpha 0.75")
        if self.classes < 1:
            raise UsageError(f"classes {self.classes}: expected 1 or more", hint="--classes 1000")
        if self.pooling not in (None, "avg", "max"):
            raise UsageError(f"pooling {self.pooling!r}: expected avg or max", hint="--pooling avg")
        if self.input_shape is not None and min(self.input_shape) < 1:
            shape = self.input_shape
            raise UsageError(f"input shape {shape}: expected sizes of 1 or more", hint="--input-shape 224,224,3")
        if self.called is not None:
            variants.check_name(self.called)
        variants.check_free(self.name)

    @cached_property
    def name(self) -> str:
        """The folder and file stem of the artifacts: as the user calls them, or the network with what makes it another.

        ``MobileNet-a0.25-192x192-10classes``, ``ResNet50-notop-avg``, ``VGG16-at-block4_pool``, ``VGG16-embedded``.
        """
        if self.called is not None:
            return self.called
        said = self.in_name()
        pixels, pooled, taps = said.pop("embed_preprocessing"), said.pop("pooling"), said.pop("layers")
        classes = "" if self.classes == USUAL_CLASSES else f"{self.classes}classes"
        top = "" if self.include_top else "notop"
        return variants.named(self.network, (*said.values(), classes, top, pooled, taps, pixels))

    @property
    def network(self) -> str:
        """The application, the file's stem, or the function."""
        if self.file is not None:
            return PurePath(self.file).stem
        return self.application or self.live or str(self.factory).rpartition(":")[2].rpartition(".")[2]

    @property
    def path(self) -> Path:
        """Its file or folder on this machine; what lies at a URL is fetched."""
        return Path(fetched.local(str(self.file)))

    @property
    def source(self) -> str:
        """What the user named."""
        return self.application or self.file or self.live or str(self.factory)

    @property
    def as_published(self) -> bool:
        """Whether it is an application with its own head, width and size; the weights may be any."""
        if not self.application:
            return False
        plain = ModelSpec(application=self.application, weights=self.weights)
        stated = {name: getattr(self, name) for name in ("preprocessing", "resize", "embed_preprocessing", "called")}
        return self == replace(plain, **stated)

    @property
    def kind(self) -> str:
        """``application``, ``file``, ``live`` or ``factory``."""
        given = {"application": self.application, "file": self.file, "live": self.live, "factory": self.factory}
        return next(kind for kind, value in given.items() if value)


@dataclass(frozen=True, kw_only=True)
class Cell(CellOptions):
    """One artifact to make: a model times a target.

    ``calibration`` is what ``--calibration`` names (`kexport.images.calibration`), ``evaluation`` what ``--eval``
    names (`kexport.images.evaluation`), ``io`` the type of inputs and outputs. ``max_drop`` bounds the top-1 drop
    on the evaluation images, in points of 100; ``min_agreement`` is the least share of them on
    which a file of any scheme decides as Keras does. ``reference`` are backends of Keras, beside the one that builds
    the model, with which the artifact is compared too. ``stem`` is the name of a
    stored file that was named by another rule; no request has one.
    """

    model: ModelSpec
    format: Format
    scheme: Scheme = Scheme.FLOAT32
    engine: str = Engine.AUTO
    batch: int | None = None
    opset: int = DEFAULT_OPSET
    io: Boundary = Boundary.FLOAT32
    stem: str = ""

    def __post_init__(self) -> None:
        _check_scheme(self)
        if self.max_drop is not None:
            check_max_drop(self.max_drop)
        if self.min_agreement is not None:
            check_min_agreement(self.min_agreement)
        if self.max_latency_ratio is not None:
            check_max_latency_ratio(self.max_latency_ratio)
        if not MIN_OPSET <= self.opset <= MAX_OPSET:
            raise UsageError(
                f"opset {self.opset}: kexport writes {MIN_OPSET} to {MAX_OPSET}", hint=f"--opset {DEFAULT_OPSET}"
            )
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch {self.batch}: expected 1 or more, or dynamic", hint="--batch 1")

    @property
    def file_batch(self) -> int | None:
        """Rows of the file; None where they stay open."""
        return self.rows if self.format.static_batch else self.batch

    @property
    def rows(self) -> int:
        """Rows that the file is made for, where it has to have a number."""
        return self.batch or SERVING_BATCH

    @cached_property
    def variant(self) -> str:
        """What tells the file from the usual one of its format and scheme: ``io-uint8``, ``batch8``; empty of that."""
        io = "" if self.io is Boundary.FLOAT32 else f"io-{self.io}"
        usual = SERVING_BATCH if self.format.static_batch else None
        return "-".join(filter(None, (io, "" if self.file_batch == usual else f"batch{self.file_batch}")))

    @cached_property
    def kind(self) -> str:
        """``int8``, ``int8-io-uint8``: the scheme and the variant."""
        return variants.named(self.scheme, [self.variant])

    @cached_property
    def file_name(self) -> str:
        """``<Model>-<kind>`` with the suffix of the format."""
        return f"{self.stem or f'{self.model.name}-{self.kind}'}{self.format.suffix}"

    @property
    def label(self) -> str:
        """How the cell is called in tables and messages."""
        return f"{self.model.name} {self.format} {self.kind}"


def integer_io_hint() -> str:
    """Options that give a file with integer inputs and outputs."""
    form = next(form for form in Format if form.integer_io)
    return f"--formats {form} --schemes {form.integer_io[0]}"


def _check_scheme(cell: Cell) -> None:
    """Raise UsageError for a scheme that the format, the engine or the lack of images forbids."""
    if cell.scheme not in cell.format.schemes:
        raise UsageError(
            f"{cell.format} cannot be {cell.scheme}: expected one of {', '.join(cell.format.schemes)}",
            hint="kexport list schemes",
        )
    if cell.scheme in CALIBRATED and cell.calibration is None:
        raise UsageError(
            f"scheme {cell.scheme} measures ranges on images, and none are given",
            hint="--calibration FOLDER, with about 100 photographs like those that the network will meet",
        )
    if cell.model.embed_preprocessing:
        _check_embedded(cell)
    if refusal := cell.format.refusal(cell.engine, cell.scheme):
        raise UsageError(f"engine: {refusal}", hint="--engine auto")
    if cell.io is not Boundary.FLOAT32 and cell.scheme not in cell.format.integer_io:
        raise UsageError(
            f"--io {cell.io}: {cell.format} {cell.scheme} has inputs and outputs of float32",
            hint=integer_io_hint(),
        )


def _check_embedded(cell: Cell) -> None:
    """Raise UsageError for a file whose graph kexport does not write, and for an input of int8."""
    native = cell.format.engines[0]
    if native.from_model or cell.engine not in (Engine.AUTO, native.name):
        who = cell.format if native.from_model else cell.engine
        raise UsageError(
            f"--embed-preprocessing: kexport does not write the graph of {who}",
            hint="--formats onnx,tflite --engine native",
        )
    if cell.io is Boundary.INT8:
        raise UsageError("--io int8 with --embed-preprocessing: the input is uint8 pixels", hint="--io uint8")
