"""``kexport bench``: latency of stored artifacts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kexport.cli import output, progress, verdict
from kexport.cli.options import STORED_HINT, Here, json_option, trusted_option
from kexport.cli.run_cells import show

if TYPE_CHECKING:
    from kexport.evidence.versus import Versus
    from kexport.records import Record

ARTIFACTS = (Path("artifacts"),)

ORDER = 50


@click.command("bench")
@click.argument("paths", nargs=-1, type=Here(hint=STORED_HINT, exists=True), metavar="[DIR|ARTIFACT]...")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="cpu|cuda|...",
    help="A device of kexport list runtimes; refused, exit 3, where it would not really run there, e.g. --device cuda",
)
@click.option(
    "--threads", type=int, metavar="N", help="Compute threads; the usable cores unless said, e.g. --threads 1"
)
@click.option("--repetitions", type=int, metavar="N", help="Samples kept; 50 unless said, e.g. --repetitions 200")
@click.option("--warmup", type=int, metavar="N", help="Runs before them, not kept; 5 unless said, e.g. --warmup 10")
@click.option(
    "--batch", "batches", default=None, metavar="N,...",
    help="Images at once, one measurement for each number; 1 unless said, e.g. --batch 1,8,32",
)  # fmt: skip
@click.option(
    "--protocol", default=None, metavar="NAME",
    help="Measure as a published table does: keras.io is batch 32, 10 times 30 runs, e.g. --protocol keras.io",
)  # fmt: skip
@click.option(
    "--profile", is_flag=True,
    help="Tell where the time goes, by Keras layer and operator, e.g. kexport bench artifacts/MobileNet --profile",
)  # fmt: skip
@click.option("--with-keras", is_flag=True, help="Measure Keras in the same run, e.g. kexport bench --with-keras")
@trusted_option
@json_option
def command(
    *,
    paths: tuple[Path, ...],
    device: str,
    threads: int | None,
    repetitions: int | None,
    warmup: int | None,
    batches: str | None,
    protocol: str | None,
    profile: bool,
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
    from kexport import pipeline
    from kexport.evidence.protocols import settings_of
    from kexport.pipeline import lone

    asked = settings_of(
        protocol, batches=batches, device=device, threads=threads, repetitions=repetitions, warmup=warmup,
        profile=profile,
    )  # fmt: skip
    places = paths or ARTIFACTS
    records: tuple[Record, ...] = ()
    with progress.create() as observer:
        for settings in asked:
            records = pipeline.bench(places, settings, observer, with_keras=with_keras, trusted=trusted)
    pair = lone.versus(places[0], places[1], asked[0]) if _are_two(places) else None
    show(records, as_json=as_json, more={} if pair is None else {"versus": _shown(pair)})
    for path in lone.apart(places)[1]:
        output.message(f"{path}: measured; nothing is stored, as it is alone or its folder cannot be written")
    output.message(verdict.text(records, seconds=time.monotonic() - started))
    if pair is not None and not as_json:
        from kexport.evidence.versus import told

        output.data(told(pair))
    return verdict.exit_code([record for record in records if not _is_compared_with_nothing(record)])


def _is_compared_with_nothing(record: Record) -> bool:
    """Whether the file has no record: that it is measured is all that was asked for."""
    return record.source is None and record.status == "UNPROVEN"


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
