"""All applications in int8: what came out, beside the floor of each family and the bound of the size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from int8_speed import max_size_ratio
from md_text import table
from measured_blocks import NONE, absent, machine_line

from kexport.evidence import tolerances
from kexport.reports.md import escape
from kexport.sources import catalog
from kexport.specs import Format, Scheme

Json = dict[str, Any]
Row = tuple[str, str, str, str]
OPTION = "--records-int8 DIR"
FORMATS = (Format.ONNX, Format.TFLITE)
COUNT = len(FORMATS) * len(catalog.APPLICATIONS)


def whole(data: Json | None, floats: Json | None) -> str:
    """One row per application: size beside its float32 file, SQNR beside its floor, memory."""
    if data is None:
        return absent(OPTION)
    header = (
        "model", "family", "million parameters", "ONNX MB", "TFLite MB", "int8 / float32", "needed", "ONNX SQNR dB",
        "TFLite SQNR dB", "floor", "peak MiB", "all delegated", "verdict",
    )  # fmt: skip
    facts = data["machine"] | {f"version {name}": version for name, version in data["versions"].items()}
    rows = [_row(model, data, floats) for model in sorted({cell["model"] for cell in data["cells"]})]
    weights = f"Weights: {', '.join(data['weights'])}; synthetic calibration, judged on the images of the calibration."
    return f"{machine_line(facts)} {weights}\n\n{table(header, rows, text_columns=2)}"


def bar(data: Json | None, floats: Json | None) -> Iterator[Row]:
    """The two bounds that every application has to hold in int8."""
    made = f"{COUNT} of {COUNT}"
    if data is None:
        yield "int8 files that reach the floor of their family", made, "not measured yet", ""
        yield "int8 files that are small enough", "all", "not measured yet", ""
        return
    good = sum(_reaches(cell) for cell in data["cells"])
    yield (
        "int8 files that reach the floor of their family",
        made,
        f"{good} of {COUNT}",
        "met" if good == COUNT else "**missed**",
    )
    ratios = {(c["model"], c["format"]): (_ratio(c, floats), _needed(c)) for c in data["cells"]}
    bounded = {key: pair for key, pair in ratios.items() if pair[1] is not None}
    wide = [
        f"{model} {form} {ratio:.3f}" for (model, form), (ratio, most) in bounded.items() if not _small(ratio, most)
    ]
    yield (
        "int8 files that are small enough: 0.30 of float32 above 3 million parameters, 0.26 above 20",
        f"{len(bounded)} of {len(bounded)}",
        f"{len(bounded) - len(wide)} of {len(bounded)}" + (f"; {', '.join(wide)}" if wide else ""),
        "**missed**" if wide else "met",
    )


def _row(model: str, data: Json, floats: Json | None) -> tuple[str, ...]:
    cells = {cell["format"]: cell for cell in data["cells"] if cell["model"] == model}
    found = [cells.get(form) for form in FORMATS]
    here = [cell for cell in found if cell is not None]
    family = catalog.application(model).family
    floor = tolerances.floors(Scheme.INT8).get(family)
    needed = _needed(here[0])
    small = needed is None or all(_small(_ratio(cell, floats), needed) for cell in here)
    good = len(here) == len(FORMATS) and all(map(_reaches, here))
    left_out = any("built-in kernels run" in note for cell in here for note in cell["notes"])
    reasons = "; ".join(dict.fromkeys(escape(cell["reason"]) for cell in here if cell["reason"]))
    return (
        model,
        family,
        f"{(here[0]['parameters'] or 0) / 1e6:.1f}",
        *(f"{cell['size_bytes'] / 1e6:.1f}" if cell and cell["size_bytes"] else NONE for cell in found),
        " / ".join(f"{ratio:.3f}" if (ratio := _ratio(cell, floats)) else NONE for cell in here),
        NONE if needed is None else f"{needed:g}",
        *(_decibels(cell) for cell in found),
        NONE if floor is None else f"{floor.limit:g}",
        f"{max(cell['peak_memory_bytes'] or 0 for cell in here) / 2**20:.0f}",
        "no" if left_out else "yes",
        "PASS" if good and small else f"**missed** {reasons or ('' if good else 'floor') or 'size'}",
    )


def _decibels(cell: Json | None) -> str:
    value = cell["sqnr_db"] if cell else None
    return NONE if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


def _reaches(cell: Json) -> bool:
    floor = tolerances.floors(Scheme.INT8).get(catalog.application(cell["model"]).family)
    return (
        cell["status"] == "PASS"
        and floor is not None
        and isinstance(cell["sqnr_db"], float)
        and floor.passes(cell["sqnr_db"])
    )


def _needed(cell: Json) -> float | None:
    return max_size_ratio(cell["parameters"] or 0)


def _small(ratio: float | None, most: float | None) -> bool:
    return ratio is not None and most is not None and ratio <= most


def _ratio(cell: Json, floats: Json | None) -> float | None:
    """The size beside that of the float32 file of the same model and format, if that was measured."""
    same = [each for each in (floats or {"cells": []})["cells"] if _key(each) == _key(cell)]
    return cell["size_bytes"] / same[0]["size_bytes"] if same and cell["size_bytes"] else None


def _key(cell: Json) -> tuple[str, str]:
    return cell["model"], cell["format"]
