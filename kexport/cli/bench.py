"""``kexport bench``: latency of stored artifacts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kexport.cli import output, progress, verdict
from kexport.cli.options import json_option, trusted_option
from kexport.cli.run_cells import show

if TYPE_CHECKING:
    from kexport.evidence.versus import Versus

ARTIFACTS = (Path("artifacts"),)

ORDER = 50


@click.command("bench")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="[DIR|ARTIFACT]...")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to run; refused, exit 3, where it would not really run there, e.g. --device cuda",
)
@click.option(
    "--threads", type=int, metavar="N", help="Compute threads; the usable cores unless said, e.g. --threads 1"
)
@click.option(
    "--repetitions", type=int, default=50, show_default=True, metavar="N", help="Samples kept, e.g. --repetitions 200"
)
@click.option(
    "--warmup", type=int, default=5, show_default=True, metavar="N", help="Runs before them, not kept, e.g. --warmup 10"
)
@click.option("--with-keras", is_flag=True, help="Measure Keras in the same run, e.g. kexport bench --with-keras")
@trusted_option
@json_option
def command(
    *,
    paths: tuple[Path, ...],
    device: str,
    threads: int | None,
    repetitions: int,
    warmup: int,
    with_keras: bool,
    trusted: tuple[str, ...],
    as_json: bool,
) -> int:
    """Measure the latency of artifacts, each in its own process; those of the folder artifacts unless said.

    Of two artifacts, the first is also measured against the second, by turns in one process. A file alone, of any
    maker, and folders that cannot be written are measured as well; nothing is stored then.

    Example: kexport bench artifacts/MobileNet --threads 2 --with-keras
    """
    started = time.monotonic()
    from kexport import machine, pipeline
    from kexport.evidence.benchmark import BenchSettings

    settings = BenchSettings(
        device=device,
        threads=machine.cores() if threads is None else threads,
        repetitions=repetitions,
        warmup=warmup,
    )
    asked = paths or ARTIFACTS
    with progress.create() as observer:
        records = pipeline.bench(asked, settings, observer, with_keras=with_keras, trusted=trusted)
    pair = pipeline.lone.versus(asked[0], asked[1], settings) if _are_two(asked) else None
    show(records, as_json=as_json, more={} if pair is None else {"versus": _shown(pair)})
    for path in pipeline.lone.apart(asked)[1]:
        output.message(f"{path}: measured; nothing is stored, as it is alone or its folder cannot be written")
    output.message(verdict.text(records, seconds=time.monotonic() - started))
    if pair is not None and not as_json:
        from kexport.evidence.versus import told

        output.data(told(pair))
    return verdict.exit_code([record for record in records if record.source is not None])


def _are_two(paths: tuple[Path, ...]) -> bool:
    from kexport.pipeline import lone

    return len(paths) == 2 and all(map(lone.is_artifact, paths))


def _shown(pair: Versus) -> dict[str, object]:
    from kexport.evidence.versus import ratio, told

    each = ratio(pair)
    return {
        "first": pair.first,
        "second": pair.second,
        "ratio": each.median,
        "low": each.low,
        "high": each.high,
        "coverage": each.coverage,
        "pairs_seconds": pair.pairs_seconds,
        "told": told(pair),
    }
