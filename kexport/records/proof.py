"""An artifact against Keras: parity on the reference, accuracy on photographs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
