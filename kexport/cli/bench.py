"""``kexport bench``: latency of stored artifacts."""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from kexport.cli import progress
from kexport.cli.options import json_option, trusted_option
from kexport.cli.run_cells import tell

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
    """Measure the latency of stored artifacts, each in its own process; the folder artifacts unless said.

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
    with progress.create() as observer:
        records = pipeline.bench(paths or ARTIFACTS, settings, observer, with_keras=with_keras, trusted=trusted)
    return tell(records, as_json=as_json, seconds=time.monotonic() - started)
