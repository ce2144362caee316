"""``kexport sensitivity``: the layers of a model by the damage that quantizing each alone does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from kexport.cli import completion, output, progress
from kexport.cli.options import Here, asked, calibration_option, json_option, model_options
from kexport.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from kexport.quantization.ranking import Ranking

TERMINAL, FORMATS = "terminal", ("md", "html", "json")

ORDER = 60


def report_format(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """Reads the name of a format; UnknownNameError offers the closest."""
    if text not in (TERMINAL, *FORMATS):
        raise UnknownNameError(
            kind="report format", value=text, legal=(TERMINAL, *FORMATS), hint="kexport sensitivity SOURCE --format md"
        )
    return text


def report_file(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Reads the name of a file; UsageError unless its ending says what to write."""
    if path is not None and path.suffix.lstrip(".") not in FORMATS:
        raise UsageError(f"-o {str(path)!r}: expected a name that ends in .html, .md or .json", hint="-o layers.html")
    return path


@click.command("sensitivity")
@click.argument("source", metavar="SOURCE", shell_complete=completion.sources)
@calibration_option
@click.option(
    "--images", type=int, metavar="N", help="How many of them are taken, evenly; 16 unless said, e.g. --images 32"
)
@model_options
@click.option(
    "--format",
    "form",
    default=TERMINAL,
    show_default=True,
    callback=report_format,
    metavar="terminal|md|html|json",
    help="Kind of text on stdout, e.g. --format md > layers.md",
)
@json_option
@click.option(
    "-o",
    "--output",
    "path",
    type=Here(dir_okay=False),
    callback=report_file,
    metavar="FILE",
    help="Write the page with its plot as well, or .md, .json by the name's ending, e.g. -o layers.html",
)
def command(
    source: str,
    *,
    calibration: str | None,
    images: int | None,
    form: str,
    as_json: bool,
    path: Path | None,
    **values: Any,
) -> int:
    """Rank the layers of a model by what quantizing each alone, to int8, does to the logits.

    Example: kexport sensitivity MobileNetV3Small --calibration photos -o layers.html
    """
    if calibration is None:
        raise UsageError(
            "kexport sensitivity needs calibration images: what int8 costs depends on what the network sees",
            hint=f"kexport sensitivity {source} --calibration photos",
        )
    from kexport import files
    from kexport.pipeline import requests
    from kexport.pipeline import sensitivity as layer_ranking
    from kexport.reports import page

    if "html" in (form, path.suffix.lstrip(".") if path is not None else ""):
        page.check()

    model = requests.single(source, asked({"calibration": calibration, **values}), command="sensitivity")
    with progress.create() as observer:
        found = layer_ranking.ranking(model, calibration, observer, images=images)
    if path is not None:
        files.prepare(path.parent)
        files.write(path, _texts()[path.suffix.lstrip(".")](found))
    _show(found, "json" if as_json else form)
    return 0


def _show(found: Ranking, form: str) -> None:
    from kexport.reports import terminal
    from kexport.reports.damage import damage_table

    if form == TERMINAL:
        output.renderables(terminal.shown(damage_table(found)))
    else:
        output.data(_texts()[form](found))


def _texts() -> dict[str, Callable[[Ranking], str]]:
    from kexport.records import encode
    from kexport.reports.damage import render_html, render_md

    return {"md": render_md, "html": render_html, "json": encode}
