"""Error over depth: what every layer of a file is off from Keras, for drawings; of records, or of one comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from kexport.evidence.by_layer import ByLayer
from kexport.records import LayersRecord, Record
from kexport.reports import page
from kexport.reports.by_layer import HEADER, layer_table, verdict

_LABELLED = 60
_RULED = {"gridcolor": "rgba(122,134,153,0.3)", "zerolinecolor": "rgba(122,134,153,0.6)", "exponentformat": "power"}
"""Lines that can be seen on light and on dark, and no letters for millionths."""
MOST_DB = 120.0
"""What is drawn of values that are equal."""


def lines(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A line for each cell that was compared layer by layer."""
    return [_line(record.label, record.by_layer) for record in records if record.by_layer is not None]


def _line(name: str, found: LayersRecord) -> dict[str, Any]:
    return {
        "cell": name,
        "tolerance": found.tolerance_db,
        "layers": [each.layer for each in found.layers],
        "decibels": [_drawn(each.sqnr_db) for each in found.layers],
        "added": [_percent(each.added) for each in found.layers],
        "begins": [each.begins for each in found.layers],
    }


def _drawn(decibels: float) -> float | None:
    return None if math.isnan(decibels) else round(min(MOST_DB, max(-MOST_DB, decibels)), 2)


def _percent(added: float) -> float | None:
    """Noise in percent of the signal, three digits."""
    return float(f"{100 * added:.3g}") if math.isfinite(added) else None


def render_html(found: ByLayer) -> str:
    """One page with the drawing and the table. MissingDependencyError where the extra ``report`` is not installed."""
    table = layer_table(found)
    return page.filled(
        "by_layer.html.jinja",
        title=table.title,
        verdict=verdict(found),
        figure=page.drawing(_figure(found)),
        header=HEADER,
        rows=table.rows,
        notes=table.notes,
    )


def _figure(found: ByLayer) -> Any:
    """Decibels above, noise added below, in the order of the network; where it begins to differ is marked."""
    objects = page.plotly_objects()
    names = [each.layer for each in found.layers]
    off = ["#b3363b" if each.leaves else "#3a6ea5" for each in found.layers]
    figure = objects.Figure()
    decibels = [_drawn(each.sqnr_db) for each in found.layers]
    figure.add_scatter(x=names, y=decibels, mode="lines+markers", marker={"color": off}, line={"color": "#9db7d5"},
                       name="SQNR, dB")  # fmt: skip
    figure.add_bar(x=names, y=[_percent(each.added) for each in found.layers], marker={"color": off}, yaxis="y2",
                   name="noise added, % of the signal")  # fmt: skip
    figure.add_hline(y=found.tolerance_db, line={"color": "#b3363b", "dash": "dot"})
    figure.update_layout(
        height=560, showlegend=False, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#7a8699"}, margin={"l": 60, "r": 20, "t": 20, "b": 120},
        xaxis={"showticklabels": len(names) <= _LABELLED, "automargin": True},
        yaxis={"title": {"text": "SQNR against Keras, dB"}, "domain": [0.45, 1], **_RULED},
        yaxis2={"title": {"text": "noise added, %"}, "domain": [0, 0.38], "anchor": "x", **_RULED},
    )  # fmt: skip
    return figure
