"""The sensitivity report: a table, Markdown, and a page that stands alone."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

from kexport.quantization.ranking import LayerDamage, Ranking
from kexport.reports.damage import damage_table, render_html, render_md, svg


def layer(place: int, name: str, sqnr_db: float) -> LayerDamage:
    return LayerDamage(
        place=place, name=name, kind="Conv2D", layers=(name,), node=name, nodes=(name,), sqnr_db=sqnr_db,
        parameters=100 * (place + 1), multiplications=1_500_000,
    )  # fmt: skip


RANKING = Ranking(
    model="Toy",
    calibration="photos & <more>",
    images=16,
    layers=(layer(0, "stem", 30.0), layer(1, "a<b", 10.0), layer(2, "quiet", math.inf), layer(3, "same", 30.0)),
    notes=("calibrated on 16 synthetic images: not fit to deploy",),
)


def test_table_worst_first() -> None:
    table = damage_table(RANKING)
    assert table.title == "Toy: int8 sensitivity of 4 layers, 16 images"
    assert table.rows == (
        ("a<b", "Conv2D", "█" * 20, "98.0 %", "10.0", "2", "20.0 %", "1.50"),
        ("stem", "Conv2D", "▎", "1.0 %", "30.0", "1", "10.0 %", "1.50"),
        ("same", "Conv2D", "▎", "1.0 %", "30.0", "4", "40.0 %", "1.50"),
        ("quiet", "Conv2D", "", "0.0 %", "> 100", "3", "30.0 %", "1.50"),
    )
    assert table.notes == RANKING.notes


def test_markdown() -> None:
    text = render_md(RANKING)
    assert text.startswith("# Toy: int8 sensitivity of 4 layers, 16 images\n\nEach layer is quantized alone")
    assert f"| a&lt;b | Conv2D | {'█' * 20} | 98.0 % | 10.0 | 2 | 20.0 % | 1.50 |" in text
    assert "\ncalibrated on 16 synthetic images: not fit to deploy\n" in text


def test_plot_has_a_column_per_layer_and_the_worst_is_the_tallest() -> None:
    drawing = ET.fromstring(svg(RANKING))
    columns = [each for each in drawing if each.tag.endswith("rect")]
    heights = [float(column.get("height", "nan")) for column in columns]
    assert len(columns) == 4
    assert heights[1] == max(heights)
    assert heights[0] == heights[3] > heights[2] > 0
    titles = [column[0].text for column in columns]
    assert titles[1] == "2. a<b (Conv2D): 10.0 dB; 98.0 % of the noise, 20.0 % of the weights"


def test_page_stands_alone_and_escapes_names() -> None:
    page = render_html(RANKING)
    assert "<svg" in page
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert "photos &amp; &lt;more&gt;" in page
    assert not re.search(r"<script|<link|src=|url\(|@import", page)
    assert re.findall(r"https?://[^\"'\s]+", page) == ["http://www.w3.org/2000/svg"]


def test_nan_is_the_worst_and_nothing_divides_by_it() -> None:
    ranking = Ranking(
        model="Toy", calibration="c", images=1, layers=(layer(0, "good", 20.0), layer(1, "bad", math.nan))
    )
    rows = damage_table(ranking).rows
    assert [row[0] for row in rows] == ["bad", "good"]
    assert rows[0][3:5] == ("nan %", "nan")
    ET.fromstring(svg(ranking))
    assert "nan%" not in render_html(ranking)


def test_a_network_without_int8_layers() -> None:
    empty = Ranking(model="Toy", calibration="c", images=1, layers=())
    assert damage_table(empty).rows == ()
    ET.fromstring(svg(empty))
    render_html(empty)
