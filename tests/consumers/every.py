"""Every consumer of kexport's files, twelve networks, every scheme of both formats: parity/consumers.md and .json.

    PYTHONPATH=. python tests/consumers/every.py CACHE [--consumers NAME,...] [--networks NAME,...] [--page]

CACHE is a folder outside the repository: environments (about 3 GB), artifacts (about 5 GB) and one small file per cell,
so that a run that was ended goes on where it was. On two cores the files take 60 minutes, most of it for int8 and
int16x8, the installations 5, all cells 30. Node 20 and Chromium are wanted for the browsers; a consumer that cannot be
installed is told.
``--page`` writes the pages from what is kept, and asks nobody. Cells of the committed parity/consumers.json stay, each
with its consumer's version, until the consumer is asked about the same network, format and scheme anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.consumers import asking, cells, environments, page
from tests.consumers.artifacts import NETWORKS, Exported
from tests.consumers.cells import Cell
from tests.consumers.consumer import CONSUMERS, Consumer

LIMIT_SECONDS = 90.0


def main() -> int:
    """Ask, then write the pages; exit 1 where a consumer is not there."""
    options = _options()
    options.cache.mkdir(parents=True, exist_ok=True)
    exported = [Exported(network, options.cache.resolve()) for network in NETWORKS]
    missing = [] if options.page else list(_asked(options, exported))
    page.write(list(_kept(options.cache, exported)), exported)
    sys.stderr.writelines(f"{line}\n" for line in missing)
    return 1 if missing else 0


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--consumers", type=_names, help="some of them; all unless said")
    parser.add_argument("--networks", type=_names, help="some of them; all unless said")
    parser.add_argument("--page", action="store_true", help="write the pages from what is kept")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds for one file")
    options = parser.parse_args(arguments)
    consumers, networks = [each.name for each in CONSUMERS], [each.name for each in NETWORKS]
    for option, known in (("consumers", consumers), ("networks", networks)):
        unknown = set(getattr(options, option) or ()) - set(known)
        if unknown:
            parser.error(f"--{option} {', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
    return options


def _names(text: str) -> list[str]:
    return text.split(",")


def _asked(options: argparse.Namespace, exported: Sequence[Exported]) -> Iterator[str]:
    """Ask every consumer that is wanted; why one cannot be."""
    chosen = [one for one in exported if not options.networks or one.network.name in options.networks]
    for one in chosen:
        one.make()
    for consumer in CONSUMERS:
        if not options.consumers or consumer.name in options.consumers:
            failed = environments.ready(consumer, options.cache.resolve())
            if failed:
                yield f"{consumer.name} cannot be installed: {failed}"
            else:
                _ask(consumer, options.cache.resolve(), chosen, options.limit)


def _ask(consumer: Consumer, cache: Path, exported: Sequence[Exported], limit: float) -> None:
    """Every file of its formats that it was not asked for yet."""
    command, variables = environments.command(consumer, cache), environments.variables(cache)
    with asking.Asked(command, variables) as asked, tempfile.TemporaryDirectory() as folder:
        for one in exported:
            for file in one.files:
                place = cells.place(cache, consumer, file)
                if file.format not in consumer.formats or file.missing or cells.kept(place, file):
                    continue
                answers = Path(folder) / "answers.npy"
                said = asked.answer(asking.request(file.path, one.rows(), answers, one.pictures()), limit)
                found = _found(said) if "seconds" not in said else {
                    **cells.judged(file, one.reference, np.load(answers)), "seconds": round(said["seconds"], 2),
                }  # fmt: skip
                cell = cells.made(file, consumer, asked.version, found)
                cells.keep(cell, place)
                words = (cell.consumer, cell.network, cell.format, cell.scheme, cell.state)
                print(*words, f"{cell.told:.200}", flush=True)


def _found(said: dict[str, Any]) -> dict[str, Any]:
    [(state, told)] = said.items()
    return {"state": state, "told": f"more than {told:.0f} s" if state == "slow" else str(told)}


def _kept(cache: Path, exported: Sequence[Exported]) -> Iterator[Cell]:
    for consumer in CONSUMERS:
        for one in exported:
            for file in one.files:
                found = cells.kept(cells.place(cache, consumer, file), file)
                if found is not None:
                    yield found


if __name__ == "__main__":
    sys.exit(main())
