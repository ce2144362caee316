"""What quantizing each layer alone costs: a table, Markdown, and a page with a plot that needs nothing else."""

from __future__ import annotations

import html
import math
import shlex
from collections.abc import Iterator
from typing import Any

from kexport.quantization.ranking import LayerDamage, Ranking
from kexport.reports import page
from kexport.reports.md import markdown
from kexport.reports.tables import Table

BAR, BAR_WIDTH = "█▏▎▍▌▋▊▉", 20
_NUMBERS = ("share of noise", "SQNR dB", "place", "share of weights", "M multiplications")
HEADER = ("layer", "class", "noise", *_NUMBERS)


def damage_table(ranking: Ranking) -> Table:
    """Every layer, most sensitive first, with a bar of its share of the noise."""
    rows = tuple(
        (layer.name, layer.kind, _bar(ranking, layer), *_cells(ranking, layer)) for layer in ranking.worst_first
    )
    notes = (*ranking.notes, *keeping(ranking))
    return Table(title=title(ranking), header=HEADER, rows=rows, text_columns=3, notes=notes)


def render_md(ranking: Ranking) -> str:
    """The table as Markdown."""
    table = damage_table(ranking)
    return f"# {table.title}\n\n{EXPLANATION}\n\n{markdown(table)}\n"


def title(ranking: Ranking) -> str:
    """What was ranked, on what."""
    return f"{ranking.model}: int8 sensitivity of {len(ranking.layers)} layers, {ranking.images} images"


EXPLANATION = (
    "Each layer is quantized alone, together with what follows it up to the next layer; all else is float32. SQNR is "
    "that of the logits: the lower, the more sensitive the layer. The share of noise is the layer's part of the noise "
    "of all, as if they added up."
)


def _cells(ranking: Ranking, layer: LayerDamage) -> tuple[str, ...]:
    return (
        percent(ranking.noise_share(layer)),
        decibels(layer.sqnr_db),
        str(layer.place + 1),
        percent(ranking.parameter_share(layer)),
        f"{layer.multiplications / 1e6:.2f}",
    )


def decibels(value: float) -> str:
    """One digit after the point; what changes nothing that float could show is ``> 100``."""
    return "nan" if math.isnan(value) else "> 100" if value > LEAST_NOISE else f"{value:.1f}"


def percent(share: float) -> str:
    """One digit after the point."""
    return f"{100 * share:.1f} %"


LEAST_NOISE = 100.0  # dB


def _bar(ranking: Ranking, layer: LayerDamage) -> str:
    """Eighths of a character, relative to the largest share."""
    shares = [ranking.noise_share(each) for each in ranking.layers]
    largest = max(shares, default=0.0)
    if not largest > 0:
        return ""
    eighths = round(8 * BAR_WIDTH * ranking.noise_share(layer) / largest)
    return BAR[0] * (eighths // 8) + (BAR[eighths % 8] if eighths % 8 else "")


MARKED = 5
_BAR_COLOUR, _WORST_COLOUR = "#7aa2d6", "#b3363b"


def render_html(ranking: Ranking) -> str:
    """One page with nothing beside it: the plot in the order of the network, then the table.

    MissingDependencyError where the extra ``report`` is not installed.
    """
    largest = max((ranking.noise_share(layer) for layer in ranking.layers), default=0.0)
    rows = [
        {
            "layer": layer,
            "cells": _cells(ranking, layer),
            "values": _values(ranking, layer),
            "part": _part(ranking.noise_share(layer), largest),
        }
        for layer in ranking.worst_first
    ]
    costly = _costly(ranking)
    return page.filled(
        "damage.html.jinja",
        title=title(ranking),
        explanation=EXPLANATION,
        ranking=ranking,
        header=HEADER,
        rows=rows,
        costly=costly,
        acts=_acts(ranking),
        figure=page.drawing(figure(ranking)),
    )


def _values(ranking: Ranking, layer: LayerDamage) -> tuple[float, ...]:
    """What the cells are sorted by."""
    sqnr = _clipped(layer)
    return ranking.noise_share(layer), sqnr, layer.place, ranking.parameter_share(layer), layer.multiplications


def _costly(ranking: Ranking) -> tuple[str, ...]:
    """The layers that together make most of the noise, `MARKED` at most; none where nothing costs anything."""
    chosen: list[str] = []
    share = 0.0
    for layer in ranking.worst_first[:MARKED]:
        if share < MOST_OF_IT and ranking.noise_share(layer) > 0:
            share += ranking.noise_share(layer)
            chosen.append(layer.name)
    return tuple(chosen)


def _acts(ranking: Ranking) -> tuple[str, str]:
    """What leaves layers in float32: as many of the most sensitive as a bound needs, or the costly."""
    bound: dict[str, Any] = {"max_drop": 0.5, "eval": "photos"}
    return _call(ranking, bound), _call(ranking, {"keep_float": _costly(ranking)})


def keeping(ranking: Ranking) -> tuple[str, ...]:
    """How the layers that make most of the noise stay in float32; nothing where none costs anything."""
    return (f"most of the noise stays away with: {_acts(ranking)[1]}",) if _costly(ranking) else ()


def _call(ranking: Ranking, chosen: dict[str, Any]) -> str:
    """The command, or in Python the call where only a program has the model."""
    asked = {"schemes": "int8", "calibration": ranking.calibration, **chosen}
    if not ranking.source:
        return f"kexport.export(model, {', '.join(f'{name}={value!r}' for name, value in asked.items())})"
    words = [word for name, value in asked.items() for word in _option(name, value)]
    return shlex.join(["kexport", "export", *ranking.source, *words])


def _option(name: str, value: Any) -> Iterator[str]:
    for each in value if isinstance(value, tuple) else (value,):
        yield from (f"--{name.replace('_', '-')}", str(each))


MOST_OF_IT = 0.5


def figure(ranking: Ranking) -> Any:
    """One column per layer in the order of the network; the higher, the noisier its logits are."""
    objects = page.plotly_objects()
    values = [_clipped(layer) for layer in ranking.layers]
    low, high = _limits([value for value in values if value < LEAST_NOISE])
    marked = ranking.worst_first[:MARKED]
    columns = objects.Bar(
        x=[layer.place + 1 for layer in ranking.layers],
        y=[min(value, high) - high for value in values],
        base=high,
        hovertext=[html.escape(_told(ranking, layer)) for layer in ranking.layers],
        hovertemplate="%{hovertext}<extra></extra>",
        marker={"color": [_WORST_COLOUR if layer in marked else _BAR_COLOUR for layer in ranking.layers]},
    )
    names = [
        {
            "x": layer.place + 1, "y": min(_clipped(layer), high), "text": html.escape(layer.name), "showarrow": False,
            "textangle": -35, "xanchor": "left", "yanchor": "bottom", "yshift": 4, "font": {"size": 11},
        }
        for layer in marked
    ]  # fmt: skip
    text = f"layers in the order of the network, 1 to {len(values)}; the {MARKED} worst are red"
    axes = {"xaxis": {"title": {"text": text}}, "yaxis": {"title": {"text": "SQNR dB, worse upwards"}}}
    axes["yaxis"]["range"] = [high, low]  # type: ignore[assignment]
    return objects.Figure(columns, layout={**axes, **_LAYOUT, "annotations": names})


_LAYOUT = {"template": "none", "height": 420, "showlegend": False, "margin": {"t": 90, "r": 90, "b": 60, "l": 60}}


def _part(share: float, largest: float) -> str:
    """The width of a bar, in per cent; none where shares cannot be told."""
    return f"{100 * share / largest:.1f}" if largest > 0 else "0.0"


def _clipped(layer: LayerDamage) -> float:
    return 0.0 if math.isnan(layer.sqnr_db) else min(LEAST_NOISE, layer.sqnr_db)


def _limits(values: list[float]) -> tuple[float, float]:
    """Multiples of ten around the values, at least 1 dB away from them."""
    low = math.floor((min(values, default=0.0) - 1) / 10) * 10
    return low, max(low + 20, math.ceil((max(values, default=0.0) + 1) / 10) * 10)


def _told(ranking: Ranking, layer: LayerDamage) -> str:
    shares = percent(ranking.noise_share(layer)), percent(ranking.parameter_share(layer))
    named = f"{layer.place + 1}. {layer.name} ({layer.kind}): {decibels(layer.sqnr_db)} dB"
    return f"{named}; {shares[0]} of the noise, {shares[1]} of the weights"
