"""How an artifact was quantized, and the search behind ``--max-drop``."""

from __future__ import annotations

from dataclasses import dataclass, field

from kexport.records.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class DropTrial:
    """A plan with ``float_layers`` layers in float32: its drop, the ends of its 95 % interval (NaN if unknown)."""

    float_layers: int
    drop_points: float
    low_points: float
    high_points: float
    met: bool


@dataclass(frozen=True, kw_only=True)
class DropSearch:
    """The search for the fewest float32 layers with a drop of at most ``bound_points``: every plan that was measured.

    The drop is that of ``metric``, in ``unit``: top-1 in points unless said.
    ``float_layers`` names what stayed in float in the plan that was taken, most sensitive first; ``layers`` counts
    those that int8 would quantize, 0 if they were not ranked because int8 alone is inside the bound. ``met`` is
    false if no plan is inside the bound.
    """

    bound_points: float
    layers: int
    float_layers: tuple[str, ...]
    trials: tuple[DropTrial, ...]
    met: bool
    metric: str = "top-1"
    unit: str = "points"

    @property
    def taken(self) -> DropTrial:
        """The trial of the plan that was taken."""
        return next(trial for trial in self.trials if trial.float_layers == len(self.float_layers))


@dataclass(frozen=True, kw_only=True)
class QuantizationRecord:
    """How an artifact was quantized. ``fit_to_deploy`` is false where the calibration images are synthetic.

    ``calibration`` is what was asked for, ``calibration_sha256`` the set's digest; ``float_layers`` are the layers
    with weights that stayed float32, and ``search`` says why where ``--max-drop`` was given; ``notes`` are warnings
    about the images and the plan. ``kernels`` is what ``--kernels`` said, if anything, ``keep_float`` the layers that
    ``--keep-float`` named, ``integer_head`` whether ``--integer-head`` was given, ``recipe_file`` the ``--recipe``;
    ``recipe`` is what was used, with the layers that a search left in float: on the same images it makes the same plan.
    ``largest_pair_sums`` are, by layer, the largest sums of two weights of equal signs that a runtime adds up in int16
    (`kexport.quantization.kernels.pairs`); empty where nothing is. ``seconds`` is what reading the images and making
    the plan took, with the search, ``peak_memory_bytes`` the peak of the process that did it; one plan serves all
    formats.
    """

    calibration: str
    calibration_sha256: str
    images: int
    kind: str
    fit_to_deploy: bool
    int8_layers: int
    float_layers: tuple[str, ...] = ()
    search: DropSearch | None = None
    kernels: str | None = None
    keep_float: tuple[str, ...] = ()
    recipe_file: str = ""
    recipe: Recipe | None = None
    integer_head: bool = False
    largest_pair_sums: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    notes: tuple[str, ...] = ()
