"""The sensitivity report: a table, Markdown, and a page that stands alone."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from typing import Any

import pytest

from kexport.errors import MissingDependencyError
from kexport.quantization.ranking import LayerDamage, Ranking
from kexport.reports import page
from kexport.reports.damage import damage_table, figure, render_html, render_md


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
    source=("my toy.keras", "--trust"),
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
    said = "kexport export 'my toy.keras' --trust --schemes int8 --calibration 'photos & <more>' --keep-float 'a<b'"
    assert table.notes == (*RANKING.notes, f"most of the noise stays away with: {said}")


def test_a_model_of_a_program_is_exported_there() -> None:
    [*_, said] = damage_table(replace(RANKING, source=())).notes
    call = "kexport.export(model, schemes='int8', calibration='photos & <more>', keep_float=('a<b',))"
    assert said == f"most of the noise stays away with: {call}"


def test_nothing_to_keep_where_nothing_costs() -> None:
    quiet = replace(RANKING, layers=(layer(0, "quiet", math.inf), layer(1, "still", math.inf)))
    assert damage_table(quiet).notes == RANKING.notes


def test_markdown() -> None:
    text = render_md(RANKING)
    assert text.startswith("# Toy: int8 sensitivity of 4 layers, 16 images\n\nEach layer is quantized alone")
    assert f"| a&lt;b | Conv2D | {'█' * 20} | 98.0 % | 10.0 | 2 | 20.0 % | 1.50 |" in text
    assert "\ncalibrated on 16 synthetic images: not fit to deploy\n" in text


def columns(ranking: Ranking) -> dict[str, Any]:
    return figure(ranking).to_dict()["data"][0]


def test_plot_has_a_column_per_layer_and_the_worst_is_the_tallest() -> None:
    drawn = columns(RANKING)
    assert drawn["x"] == [1, 2, 3, 4]
    heights = [-value for value in drawn["y"]]
    assert heights[1] == max(heights)
    assert heights[0] == heights[3] > heights[2] == 0
    assert drawn["base"] + drawn["y"][1] == 10.0
    assert drawn["hovertext"][1] == "2. a&lt;b (Conv2D): 10.0 dB; 98.0 % of the noise, 20.0 % of the weights"
    axis = figure(RANKING).to_dict()["layout"]["yaxis"]["range"]
    assert axis[0] == drawn["base"] > axis[1], "worse upwards"


def own(page: str) -> str:
    """The page without plotly's own script."""
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs()
    assert page.count(script) == 1
    return page.replace(script, "")


def test_page_stands_alone_and_escapes_names() -> None:
    page = own(render_html(RANKING))
    assert 'id="plot"' in page
    assert ">a&lt;b</td>" in page
    assert "a<b" not in page
    assert "photos &amp; &lt;more&gt;" in page
    assert '<p class="note">calibrated on 16 synthetic images: not fit to deploy</p>' in page
    assert not re.search(r"<script[^>]* src|<link|\ssrc=|url\(|@import|https?:", page)


def test_the_same_ranking_gives_the_same_page() -> None:
    assert render_html(RANKING) == render_html(RANKING)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("jinja2", "plotly.graph_objects"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependencyError) as caught:
            page.check()
        assert caught.value.hint == "pip install 'kexport[report]'"
        assert module.partition(".")[0] in caught.value.message
        monkeypatch.undo()


def test_nan_is_the_worst_and_nothing_divides_by_it() -> None:
    ranking = Ranking(
        model="Toy", calibration="c", images=1, layers=(layer(0, "good", 20.0), layer(1, "bad", math.nan))
    )
    rows = damage_table(ranking).rows
    assert [row[0] for row in rows] == ["bad", "good"]
    assert rows[0][3:5] == ("nan %", "nan")
    assert columns(ranking)["y"][1] < columns(ranking)["y"][0]
    assert "nan%" not in own(render_html(ranking))


def test_a_network_without_int8_layers() -> None:
    empty = Ranking(model="Toy", calibration="c", images=1, layers=())
    assert damage_table(empty).rows == ()
    assert "<tbody>" in own(render_html(empty))
