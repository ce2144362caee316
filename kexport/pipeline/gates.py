"""What an artifact is held to and how it is quantized: what of it can be asked for, told before work begins."""

from __future__ import annotations

from pathlib import Path

from kexport.errors import UsageError
from kexport.options import ExportOptions
from kexport.options.gates import check_max_drop, check_max_latency_ratio, check_min_agreement
from kexport.quantization import recipe_file
from kexport.specs import CALIBRATED, Scheme


def check(options: ExportOptions) -> None:
    """UsageError for a bound that nothing could be held to, and for layers of schemes without any."""
    _check_max_drop(options)
    _check_min_agreement(options)
    _check_layers(options)
    _check_latency(options)


def _schemes(options: ExportOptions) -> tuple[Scheme, ...]:
    return options.schemes or (Scheme.FLOAT32,)


def _check_layers(options: ExportOptions) -> None:
    """UsageError for what is said of layers of int8 where there are none, and for a recipe that cannot be read."""
    said = f"--keep-float {options.keep_float[0]}" if options.keep_float else f"--recipe {options.recipe}"
    if (options.keep_float or options.recipe is not None) and CALIBRATED.isdisjoint(_schemes(options)):
        raise UsageError(
            f"{said} with {', '.join(_schemes(options))}: expected scheme int8, all layers of which are quantized "
            "unless said",
            hint="--schemes int8",
        )
    if options.recipe is not None:
        recipe_file.read(Path(options.recipe))


def _check_max_drop(options: ExportOptions) -> None:
    if options.max_drop is not None:
        check_max_drop(options.max_drop)
        _require_eval(
            options,
            f"--max-drop {options.max_drop:g}: expected --eval as well, labelled photographs to measure the drop on",
        )


def _check_min_agreement(options: ExportOptions) -> None:
    if options.min_agreement is not None:
        check_min_agreement(options.min_agreement)
        _require_eval(
            options, f"--min-agreement {options.min_agreement:g}: expected --eval as well, photographs to decide on"
        )


def _require_eval(options: ExportOptions, failure: str) -> None:
    if options.evaluation is None:
        raise UsageError(failure, hint="--eval photos")


def _check_latency(options: ExportOptions) -> None:
    if options.max_latency_ratio is None:
        return
    check_max_latency_ratio(options.max_latency_ratio)
    said = f"--max-latency-ratio {options.max_latency_ratio:g}"
    if not options.bench:
        raise UsageError(f"{said}: expected --bench as well, which measures latency", hint=f"--bench {said}")
    others = [scheme for scheme in _schemes(options) if scheme is not Scheme.FLOAT32]
    if not others or len(others) == len(_schemes(options)):
        raise UsageError(
            f"{said} with {', '.join(_schemes(options))}: expected float32, which is the measure, and another scheme",
            hint="--schemes float32,int8",
        )
