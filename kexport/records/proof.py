"""An artifact against Keras: parity on the reference, accuracy on photographs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum


def _require_digest(name: str, digest: str) -> None:
    if digest and not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{name} {digest!r}: expected 64 hexadecimal digits")


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
class OtherBackend:
    """An artifact against what Keras gives on another backend, with the same weights and inputs.

    ``outputs`` are the artifact's figures, ``itself`` those of the backend that built the model, in place of the
    artifact.
    """

    backend: str
    outputs: tuple[OutputParity, ...]
    itself: tuple[OutputParity, ...]


@dataclass(frozen=True, kw_only=True)
class ParityRecord:
    """An artifact against its Keras reference. ``effective`` names what really executed.

    ``backend`` is what Keras computed the reference with; ``others`` are further ones that the artifact was compared
    with, their checks are among ``checks``.

    ``reference_sha256`` is the digest of the file with Keras's answers that lies beside the artifact
    (`kexport.store.references`); empty in records of 0.1, and where they are too many to be kept.
    """

    samples: int
    runtime: str
    effective: str
    outputs: tuple[OutputParity, ...]
    checks: tuple[Check, ...]
    reference_sha256: str = ""
    others: tuple[OtherBackend, ...] = ()
    backend: str = ""

    def __post_init__(self) -> None:
        _require_digest("reference_sha256", self.reference_sha256)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure of an artifact and of Keras on the same data, in ``unit``.

    ``drop`` is how much worse the artifact is, in ``drop_unit``: less of what is to be high, more of what is to be
    ``lower_is_better``. ``low`` to ``high`` is its 95 % interval, where one is known. ``keras`` is None where Keras is
    itself the measure.
    """

    name: str
    unit: str
    value: float
    drop: float
    drop_unit: str
    keras: float | None = None
    low: float | None = None
    high: float | None = None
    lower_is_better: bool = False


TOP1, POINTS = "top-1", "points"


@dataclass(frozen=True, kw_only=True)
class AccuracyRecord:
    """An artifact and Keras on the same data. Shares are in [0, 1]; drops are in points of 100.

    ``top1`` and what belongs to it is of classifiers; ``scores`` are the figures of any other network, the one that
    gates hold first. ``top1_agreement`` is the share of equal decisions, in all places of a mask, and None for numbers.
    Where there are no labels, everything that needs them is None: agreement and SQNR remain. ``top1_drop_points``
    is Keras's top-1 less the artifact's, ``low_points`` to ``high_points`` its 95 % interval
    (`kexport.evidence.accuracy`). ``overlap`` counts the images that the calibration set holds too. ``logits_sqnr_db``
    is over the ``logits_images`` whose softmax is not saturated, None if all are. ``non_finite`` images gave NaN or
    infinity: they count as wrong and fail the artifact. ``min_agreement`` is the share that was
    asked for; less of it fails the artifact. ``caveats`` are to be read before any number: Keras itself at
    chance, classes that were guessed, a range or a resize that was assumed. ``answers_sha256`` is the digest of the
    file with Keras's answers on these images that lies beside the artifact; empty where they are too many to be kept.
    """

    images: int
    labelled: bool
    top1_agreement: float | None
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
    scores: tuple[Score, ...] = ()
    min_agreement: float | None = None
    answers_sha256: str = ""

    def __post_init__(self) -> None:
        _require_digest("answers_sha256", self.answers_sha256)

    @property
    def headline(self) -> Score | None:
        """What gates hold: the first score, or top-1 of a classifier; None where there are no labels."""
        if self.scores:
            return self.scores[0]
        if self.top1_drop_points is None:
            return None
        return Score(
            name=TOP1,
            unit="%",
            keras=None if self.keras_top1 is None else 100 * self.keras_top1,
            value=math.nan if self.top1 is None else 100 * self.top1,
            drop=self.top1_drop_points,
            drop_unit=POINTS,
            low=self.low_points,
            high=self.high_points,
        )
