"""What an artifact is held to and how it is quantized: what of it can be asked for, told before work begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kexport.errors import UsageError
from kexport.options import ExportOptions
from kexport.options.gates import check_max_drop, check_max_latency_ratio, check_min_agreement
from kexport.quantization import recipe_file
from kexport.specs import CALIBRATED, Boundary, Format, Scheme, integer_io_hint

Pair = tuple[Format, Scheme]


def check(options: ExportOptions) -> None:
    """UsageError for a bound that nothing could be held to, and for a recipe that cannot be read."""
    _check_max_drop(options)
    _check_min_agreement(options)
    _check_recipe(options)
    _check_latency(options)


def _schemes(options: ExportOptions) -> tuple[Scheme, ...]:
    return options.schemes or (Scheme.FLOAT32,)


def check_int8(asked: Sequence[ExportOptions], pairs: Sequence[Pair], *, hint: str = "--schemes int8") -> None:
    """UsageError for what is said of int8 files where none of the ``pairs`` of a request is one.

    ``asked`` is one for each target: what is typed holds for all of them, and those without int8 have nothing of it.
    """
    schemes = dict.fromkeys(scheme for _, scheme in pairs)
    found = next((each for options in asked for each in _said_of_int8(options)), None)
    if found is not None and CALIBRATED.isdisjoint(schemes):
        raise UsageError(f"{found[0]} with {', '.join(schemes)}: expected scheme int8, {found[1]}", hint=hint)
    io = next((options.io for options in asked if options.io not in (None, Boundary.FLOAT32)), None)
    if io is not None and not any(scheme in form.integer_io for form, scheme in pairs):
        raise UsageError(
            f"--io {io}: only TFLite files of scheme int8 have integer inputs and outputs", hint=integer_io_hint()
        )


def check_biases(asked: Sequence[ExportOptions], pairs: Sequence[Pair]) -> None:
    """UsageError for biases in float16 where no file of the request has kernels in it."""
    if any(options.float16_biases for options in asked) and not any(
        scheme in form.half_biases for form, scheme in pairs
    ):
        named = ", ".join(dict.fromkeys(f"{form} {scheme}" for form, scheme in pairs))
        able = next(form for form in Format if form.half_biases)
        raise UsageError(
            f"--float16-biases with {named}: expected {able} {able.half_biases[0]}, whose kernels are float16 and "
            "biases float32",
            hint=f"--formats {able} --schemes {able.half_biases[0]}",
        )


def _said_of_int8(options: ExportOptions) -> Iterator[tuple[str, str]]:
    """What is said of int8 files alone, and why of these."""
    layers = "all layers of which are quantized unless said"
    yield from ((f"--keep-float {layer}", layers) for layer in options.keep_float)
    if options.recipe is not None:
        yield f"--recipe {options.recipe}", layers
    if options.kernels is not None:
        yield f"--kernels {options.kernels}", "whose kernels have such a range"
    if options.integer_head:
        yield "--integer-head", "whose last dense layer it is about"


def _check_recipe(options: ExportOptions) -> None:
    """UsageError for a recipe that cannot be read."""
    if options.recipe is not None:
        recipe_file.read(options.recipe)


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
