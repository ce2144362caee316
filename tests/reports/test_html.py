"""The page: complete in itself, escaped, small enough; and, where there is a browser, looked at by one."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kexport.records import Check, Status
from kexport.reports import html, render
from tests.reports import made_up

RECORDS = made_up.run(models=6)
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOST_BYTES = 8_000_000


@pytest.fixture(scope="module")
def text() -> str:
    return render(RECORDS, "html")


def test_eighty_cells_fit_and_nothing_is_fetched() -> None:
    whole = render(made_up.run(models=40, schemes=("float32", "int8")), "html")
    assert whole.count('<tr class="cell"') == 160
    assert len(whole.encode()) < MOST_BYTES
    own = whole.replace(re.findall(r"<script>(.*?)</script>", whole, re.DOTALL)[0], "")
    assert not re.findall(r"(?:src|href)=\"(?!data:)", own)
    assert "http://" not in own
    assert "https://" not in own


def test_every_cell_has_its_numbers_units_and_doubts(text: str) -> None:
    assert text.count('<tr class="cell"') == len(RECORDS)
    for unit in ("MB", "of bound", "dB", "%", "points", "ms", "times"):
        assert f"<small>{unit}</small>" in text
    assert 'data-doubt="interquartile range is' in text
    assert RECORDS[0].reproduce in text
    for name in ("weights", "made", "machine", "versions"):
        assert f"<dt>{name}</dt>" in text


def test_hostile_words_are_shown_and_not_run() -> None:
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    hostile = [replace(record, model=bad, status=Status.FAIL, reason=bad) for record in RECORDS]
    found = render(hostile, "html")
    assert "<script>alert" not in found
    assert "<img" not in found.partition("plotly.js")[0]
    assert "&lt;/script&gt;" in found


def test_records_without_photographs_and_measurements_have_a_page_too() -> None:
    plain = [replace(record, accuracy=None, benchmarks=()) for record in RECORDS]
    found = render(plain, "html")
    assert '"axis": "SQNR of the logits against Keras, dB"' in found
    assert '<div class="plot" id="latencies">' not in found


def test_the_table_calls_weights_by_their_file() -> None:
    record = RECORDS[0]
    assert record.source is not None
    source = replace(record.source, weights="/home/anna/secret/trained.weights.h5")
    found = render([replace(record, source=source)], "html")
    assert ">trained.weights.h5<" in found
    assert found.count("/home/anna") == 1, "the whole path is for the details alone"


SCRIPT = """
<script>
addEventListener("load", function () {
  var out = [], rows = function () { return Array.prototype.filter.call(document.querySelectorAll("tr.cell"),
    function (row) { return !row.hidden; }); };
  try {
    out.push("ready " + document.documentElement.dataset.ready, "rows " + rows().length);
    var size = document.querySelectorAll("#cells th")[5];
    size.click();
    var sizes = rows().map(function (row) { return parseFloat(row.children[5].dataset.value); })
      .filter(function (value) { return !isNaN(value); });
    out.push("sorted " + sizes.every(function (value, i) { return !i || sizes[i - 1] <= value; }));
    size.click();
    out.push("direction " + size.getAttribute("aria-sort"));
    var scheme = document.getElementById("scheme");
    scheme.value = "int8"; scheme.dispatchEvent(new Event("input"));
    out.push("int8 " + rows().length + " " + document.getElementById("shown").textContent);
    var more = document.getElementById(rows()[0].dataset.more), before = more.hidden;
    rows()[0].click();
    out.push("opens " + before + " " + more.hidden);
    out.push("drawn " + document.querySelectorAll("#sizes .main-svg, #latencies .main-svg").length);
    out.push("fits " + (document.documentElement.scrollWidth <= window.innerWidth));
  } catch (error) { out.push("error " + error); }
  document.title = out.join(" | ");
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [1600, 500])
def test_in_a_browser(text: str, tmp_path: Path, width: int) -> None:
    """It draws, sorts, filters and opens, at both widths, without a word on the console."""
    assert BROWSER is not None
    path = tmp_path / "report.html"
    path.write_text(text.replace("</body>", SCRIPT))
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},1200",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--enable-logging=stderr",
            "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    title = re.findall(r"<title>(.*?)</title>", done.stdout)[0]
    count = len([record for record in RECORDS if record.scheme == "int8"])
    assert title.split(" | ")[:7] == [
        "ready yes", f"rows {len(RECORDS)}", "sorted true", "direction descending",
        f"int8 {count} {count} of {len(RECORDS)} cells", "opens true false", title.split(" | ")[6],
    ]  # fmt: skip
    assert int(title.split(" | ")[6].removeprefix("drawn ")) >= 2
    assert title.endswith("fits true"), title


def test_what_auto_tried_and_what_really_ran_is_on_the_page() -> None:
    tried = [replace(each, auto="taken: the fastest" if each.scheme == "int8" else "left: 9.0 ms") for each in RECORDS]
    found = render(tried, "html")
    assert "Tried by --schemes auto" in found
    assert "<dt>--schemes auto</dt><dd>taken: the fastest</dd>" in found
    assert "peak memory of the process" in found
    assert "Tried by" not in render(RECORDS, "html")


@pytest.mark.parametrize(
    ("name", "value", "bound", "expected"),
    [
        ("logits_error_to_signal", 2e-5, 1e-3, 0.02),
        ("sqnr_db", 100.0, 60.0, 0.01),
        ("sqnr_db", 54.0, 60.0, 1.995),
        ("cosine", 0.97, 0.85, 0.2),
        ("top1_agreement", 1.0, 1.0, 0.0),
        ("top1_agreement", 0.9, 0.8, 0.5),
        ("top1_agreement", 0.9, 1.0, math.inf),
        ("output_max_abs_error", 0.0, 1e-3, 0.0),
        ("output_max_abs_error", math.nan, 1e-3, math.nan),
    ],
)
def test_the_error_is_told_as_a_share_of_what_is_allowed(
    name: str, value: float, bound: float, expected: float
) -> None:
    """A file without any error uses nothing of its bounds, also of those that nothing can be better than."""
    check = Check(name=name, value=value, bound=bound, passed=True, why="rounding")
    assert html._used(check) == pytest.approx(expected, rel=1e-3, nan_ok=True)
