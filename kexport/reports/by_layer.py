"""A file against Keras by layer: a table, and a sentence that names where it begins to differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kexport.evidence.by_layer import ByLayer, LayerError
from kexport.reports.md import markdown
from kexport.reports.tables import Table

HEADER = ("layer", "class", "with", "max error", "SQNR dB", "reads dB", "noise added", "")
_QUIET = 99.95


def layer_table(found: ByLayer) -> Table:
    """Every tensor in the order of the network."""
    title = f"{found.artifact}: {len(found.layers)} tensors against Keras, tolerance {found.tolerance_db:g} dB"
    rows = tuple(_row(each, found) for each in found.layers)
    return Table(
        title=title,
        header=HEADER,
        rows=rows,
        text_columns=3,
        notes=(*found.notes, *_unseen(found)),
        spare=("with", "max error", "class", "reads dB"),
    )


def verdict(found: ByLayer) -> str:
    """Where the file begins to differ, in one line."""
    if found.first:
        return f"{found.artifact} begins to differ from Keras in {', '.join(found.first)}"
    if not found.layers:
        return f"{found.artifact} has no tensor with the name of a Keras layer"
    worst = min(found.layers, key=lambda each: each.sqnr_db)
    most = max(found.layers, key=lambda each: each.added)
    told = f"{found.artifact}: every tensor keeps {found.tolerance_db:g} dB; the least is {_decibels(worst.sqnr_db)} dB"
    return f"{told} in {worst.layer}, most noise is added in {most.layer} ({_percent(most.added)})"


def render_md(found: Sequence[ByLayer]) -> str:
    """Both as Markdown."""
    parts = [f"## {table.title}\n\n{verdict(each)}.\n\n{markdown(table)}" for each in found
             for table in (layer_table(each),)]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _row(each: LayerError, found: ByLayer) -> tuple[str, ...]:
    mark = "FIRST" if {each.layer, *each.group} & set(found.first) and each.leaves else "off" if each.leaves else ""
    return (
        each.layer,
        each.kind,
        ", ".join(each.group) or "-",
        f"{each.error:.1e}",
        _decibels(each.sqnr_db) + ("r" if each.rescaled else ""),
        _decibels(each.given_db),
        _percent(each.added),
        mark,
    )


def _decibels(value: float) -> str:
    return "nan" if math.isnan(value) else "> 100" if value > _QUIET else f"{value:.1f}"


def _percent(share: float) -> str:
    """Noise as a share of the signal's power."""
    return "-" if not math.isfinite(share) else f"{100 * share:.2g} %"


def _unseen(found: ByLayer) -> tuple[str, ...]:
    notes = []
    if any(each.rescaled for each in found.layers):
        notes.append("r: the file has the channels of this value with factors of their own, which are taken out here")
    if found.unseen:
        layers = "1 layer has" if found.unseen == 1 else f"{found.unseen} layers have"
        notes.append(f"{layers} no tensor of the file to itself, and none that stands for it")
    return tuple(notes)
