"""What an artifact was made from, and how an image becomes its input."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

UNKNOWN = "unknown"
"""The mode of `Preprocessing` of a model that does not say how it was trained."""


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
class WeightsFile:
    """The file of downloaded weights; ``basis`` says why it is trusted."""

    name: str
    url: str
    sha256: str
    basis: str


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """The Keras model that an artifact was made from.

    ``kind`` is ``application``, ``file``, ``factory`` or ``live`` (a model of a Python program); ``source`` names
    a file or a factory, ``source_sha256`` is that of the file. ``preprocessing`` is None where no input is an
    image. ``reference_inputs`` says for each input what it was checked with, ``input_range`` is that of the first
    one. ``activations`` has the outputs that a softmax or sigmoid makes; ``reference_images`` names the set of
    photographs that the reference was computed on, if seeded inputs showed too little. ``labels`` are the names of the
    classes in order, ``labels_from`` says whose, or why there are none. ``weights_file`` is None where none was
    downloaded.
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
    weights_file: WeightsFile | None = None
    notes: tuple[str, ...] = ()
