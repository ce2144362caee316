"""``kexport parity``: check stored artifacts again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kexport.cli import output, progress
from kexport.cli.options import STORED_HINT, Here, json_option, trusted_option
from kexport.cli.run_cells import tell
from kexport.errors import UsageError

if TYPE_CHECKING:
    from kexport.evidence.by_layer import ByLayer

ARTIFACTS = (Path("artifacts"),)

ORDER = 40


@click.command("parity")
@click.argument("paths", nargs=-1, type=Here(hint=STORED_HINT, exists=True), metavar="[DIR|ARTIFACT]...")
@click.option(
    "--with-keras",
    is_flag=True,
    help="Let Keras build the model and answer again, instead of its stored answers, e.g. kexport parity --with-keras",
)
@click.option(
    "--eval",
    "photographs",
    metavar="FOLDER|FILE.csv",
    help="Measure accuracy again, on the photographs that Keras saw at the export, e.g. --eval photos",
)
@click.option(
    "--by-layer",
    is_flag=True,
    help="Compare the inner values, and name the layers where a file begins to differ, e.g. --by-layer",
)
@click.option(
    "--reference",
    type=Here(dir_okay=False, exists=True),
    metavar="FILE",
    help="With --by-layer: stored answers of Keras, for files of any maker, e.g. --reference M-reference-012.npz",
)
@click.option(
    "-o",
    "--output",
    "reproduce",
    type=Here(file_okay=False),
    metavar="FOLDER",
    help="With --by-layer: a page, error over depth; the first layer that differs as a file, with script, e.g. -o why",
)
@trusted_option
@json_option
def command(
    paths: tuple[Path, ...],
    *,
    with_keras: bool,
    photographs: str | None,
    by_layer: bool,
    reference: Path | None,
    reproduce: Path | None,
    trusted: tuple[str, ...],
    as_json: bool,
) -> int:
    """Compare stored artifacts with what Keras answered; the folder artifacts unless said.

    Keras's answers lie beside the artifacts, so that neither Keras nor the model's code is needed.

    Example: kexport parity artifacts/ResNet50/ResNet50-float32.onnx
    """
    if by_layer:
        return _by_layer(paths or ARTIFACTS, reference, reproduce, as_json=as_json)
    if reproduce is not None:
        raise UsageError("-o is for --by-layer: expected both", hint="kexport parity FILE --by-layer -o difference")
    if photographs is not None and with_keras:
        raise UsageError("--eval and --with-keras: expected one of them", hint="kexport export MODEL --eval FOLDER")
    if reference is not None:
        raise UsageError("--reference is for --by-layer: expected both", hint="kexport parity FILE --by-layer")
    started = time.monotonic()
    from kexport import pipeline

    with progress.create() as observer:
        records = pipeline.recheck(
            paths or ARTIFACTS, observer, trusted=trusted, with_keras=with_keras, photographs=photographs
        )
    return tell(records, as_json=as_json, seconds=time.monotonic() - started)


def _check_folder(output: Path) -> None:
    """UsageError for the name of one file: a page, a network and a script are written."""
    if output.suffix in (".html", ".md", ".json", ".csv") and not output.is_dir():
        raise UsageError(
            f"-o {output}: --by-layer writes a page, the first layer that differs and a script: expected a folder",
            hint=f"kexport parity FILE --by-layer -o {output.with_suffix('')}",
        )


def _page(found: ByLayer, folder: Path) -> Path:
    """The drawing and the table as a page."""
    from kexport import files
    from kexport.reports import depth

    files.prepare(folder)
    files.write(folder / "by-layer.html", depth.render_html(found))
    return folder / "by-layer.html"


def _by_layer(paths: tuple[Path, ...], reference: Path | None, reproduce: Path | None, *, as_json: bool) -> int:
    """The tables to stdout, the verdicts to stderr; 1 where a layer leaves its tolerance."""
    from kexport.pipeline.by_layer import by_layer
    from kexport.records import encode
    from kexport.reports import page, terminal
    from kexport.reports.by_layer import layer_table, verdict

    if reproduce is not None:
        _check_folder(reproduce)
        page.check()

    with progress.create() as observer:
        found = by_layer(paths, observer, reference=reference, reproduce=reproduce)
    if as_json:
        output.data(encode(found))
    else:
        output.renderables([item for each in found for item in terminal.shown(layer_table(each))])
    for each in found:
        output.message(verdict(each))
        if reproduce is not None:
            folder = reproduce / Path(each.artifact).name
            output.message(f"{_page(each, folder)}: error over depth, to look at in a browser")
            if each.first:
                output.message(f"{folder / 'reproduce.py'} shows it again without kexport")
    return 1 if any(each.first for each in found) else 0
