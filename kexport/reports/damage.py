"""What quantizing each layer alone costs: a table, Markdown, and a page with a plot that needs nothing else."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator

from kexport.quantization.ranking import LayerDamage, Ranking
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
    return Table(title=title(ranking), header=HEADER, rows=rows, text_columns=3, notes=ranking.notes)


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
_SVG = "http://www.w3.org/2000/svg"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 300, 48, 12, 14, 34


def render_html(ranking: Ranking) -> str:
    """One page without scripts or files beside it: the plot in the order of the network, then the table."""
    heading = html.escape(title(ranking))
    notes = "".join(f"<p class=note>{html.escape(note)}</p>" for note in ranking.notes)
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{heading}</title>\n"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style></head>\n"
        f"<body><h1>{heading}</h1><p>{html.escape(EXPLANATION)}</p>"
        f"<p>Calibration images: {html.escape(ranking.calibration)}</p>{notes}\n"
        f"{svg(ranking)}\n{''.join(_html_table(ranking))}</body></html>\n"
    )


def svg(ranking: Ranking) -> str:
    """One column per layer in the order of the network; the higher, the noisier its logits are."""
    values = [_clipped(layer) for layer in ranking.layers]
    low, high = _limits([value for value in values if value < LEAST_NOISE])
    column = (WIDTH - LEFT - RIGHT) / max(1, len(values))
    label = html.escape(title(ranking), quote=True)
    parts = (
        f'<svg xmlns="{_SVG}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">',
        *_grid(low, high),
        *(_column(ranking, layer, column, low, high) for layer in ranking.layers),
        _axis_title(len(values)),
        "</svg>",
    )
    return "\n".join(parts)


def _clipped(layer: LayerDamage) -> float:
    return 0.0 if math.isnan(layer.sqnr_db) else min(LEAST_NOISE, layer.sqnr_db)


def _limits(values: list[float]) -> tuple[float, float]:
    """Multiples of ten around the values, at least 1 dB away from them."""
    low = math.floor((min(values, default=0.0) - 1) / 10) * 10
    return low, max(low + 20, math.ceil((max(values, default=0.0) + 1) / 10) * 10)


def _y(value: float, low: float, high: float) -> float:
    return TOP + (min(value, high) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _grid(low: float, high: float) -> Iterator[str]:
    for tick in range(int(low), int(high) + 1, 10 if high - low <= 80 else 20):
        y = _y(tick, low, high)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>'
    place = f'x="12" y="{HEIGHT / 2 - 8}" transform="rotate(-90 12 {HEIGHT / 2 - 8})" text-anchor="middle"'
    yield f'<text class="tick" {place}>SQNR dB, worse upwards</text>'


def _column(ranking: Ranking, layer: LayerDamage, width: float, low: float, high: float) -> str:
    y, x = _y(_clipped(layer), low, high), LEFT + width * layer.place
    kind = "worst" if layer in ranking.worst_first[:MARKED] else "layer"
    size = f'width="{width * 0.8:.2f}" height="{max(1.0, HEIGHT - BOTTOM - y):.1f}"'
    told = f"<title>{html.escape(_told(ranking, layer))}</title>"
    return f'<rect class="{kind}" x="{x + width * 0.1:.2f}" y="{y:.1f}" {size}>{told}</rect>'


def _told(ranking: Ranking, layer: LayerDamage) -> str:
    shares = percent(ranking.noise_share(layer)), percent(ranking.parameter_share(layer))
    named = f"{layer.place + 1}. {layer.name} ({layer.kind}): {decibels(layer.sqnr_db)} dB"
    return f"{named}; {shares[0]} of the noise, {shares[1]} of the weights"


def _axis_title(count: int) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    text = f"layers in the order of the network, 1 to {count}; the {MARKED} worst are red"
    return f'<text class="tick" x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{text}</text>'


def _html_table(ranking: Ranking) -> Iterator[str]:
    largest = max((ranking.noise_share(layer) for layer in ranking.layers), default=0.0)
    yield "<table><thead><tr>" + "".join(f"<th>{html.escape(name)}" for name in HEADER) + "</thead><tbody>\n"
    for layer in ranking.worst_first:
        names = f"<td>{html.escape(layer.name)}<td>{html.escape(layer.kind)}"
        part = ranking.noise_share(layer) / largest if largest > 0 else 0.0
        cells = "".join(f"<td>{html.escape(cell)}" for cell in _cells(ranking, layer))
        yield f'<tr>{names}<td class=bar><i style="width:{100 * part:.1f}%"></i>{cells}\n'
    yield "</tbody></table>"


_STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--paper:#fff;--soft:#8593a8;--line:#dfe4ec;--bar:#7aa2d6;--worst:#b3363b}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--paper:#14181f;--soft:#8593a8;--line:#2b333f;--bar:#5b86be;
--worst:#e0686c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1040px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.35rem}.note{color:var(--worst)}svg{width:100%;height:auto}
.grid{stroke:var(--line)}.tick{font-size:11px;fill:var(--soft)}.layer{fill:var(--bar)}.worst{fill:var(--worst)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;margin-top:1rem}
th,td{text-align:right;padding:.2rem .6rem;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600;font-size:.85rem}
th:nth-child(-n+3),td:nth-child(-n+3){text-align:left}
.bar{width:14%}.bar i{display:block;height:.7rem;background:var(--bar)}
"""
