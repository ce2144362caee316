"""Where a consumer's numbers leave those of the format's own runtime: the first node, and what it looks like.

    PYTHONPATH=. python tests/consumers/smallest.py CACHE CONSUMER FILE

FILE is one of CACHE's artifacts that CONSUMER computes wrongly or refuses. The network is cut off behind one node after
the other, by bisection, and asked about one picture; what is told then is run alone, on the numbers that it is given in
the network. The last line says whether that one node shows the fault.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.consumers import asking, environments, prefixes
from tests.consumers.consumer import CONSUMERS, Consumer

LARGEST = 0.1
"""Of the largest number: more is no rounding."""
LIMIT_SECONDS = 90.0
RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}


@dataclass(frozen=True, kw_only=True)
class Asker:
    """A consumer in its process, beside the format's own runtime in its."""

    asked: asking.Asked
    own: asking.Asked
    folder: Path

    def departs(self, content: bytes, rows: np.ndarray, suffix: str) -> str:
        """How the consumer's answer to a file differs from the runtime's; nothing where it does not."""
        file, given, found = self.folder / f"cut.{suffix}", self.folder / "rows.npy", self.folder / "found.npy"
        file.write_bytes(content)
        np.save(given, rows)
        answers = []
        for asked in (self.own, self.asked):
            said = asked.answer(asking.request(file, given, found, []), LIMIT_SECONDS)
            if "seconds" not in said:
                return " ".join(f"{said}".split())[:200]
            answers.append(np.load(found))
        return self._apart(*answers)

    @staticmethod
    def _apart(expected: np.ndarray, found: np.ndarray) -> str:
        if expected.size != found.size:
            return f"{found.size} numbers, not {expected.size}"
        orders = [expected, *([expected.transpose(0, 3, 1, 2)] if expected.ndim == 4 else [])]
        largest = max(float(np.abs(expected).max()), 1e-9)
        apart = min(float(np.abs(order.reshape(-1) - found.reshape(-1)).max()) for order in orders) / largest
        return "" if apart <= LARGEST else f"off by {apart:.2g} of the largest number"


def first(count: int, departs: Callable[[int], str]) -> tuple[int, str] | None:
    """The first of ``count`` places where something departs, by bisection; None where nothing does."""
    told, low, high = departs(count - 1), 0, count - 1
    if not told:
        return None
    while low < high:
        middle = (low + high) // 2
        found = departs(middle)
        low, high, told = (low, middle, found) if found else (middle + 1, high, told)
    return low, told


def main(cache: Path, name: str, file: Path) -> int:
    """Tell the node."""
    consumer = next(one for one in CONSUMERS if one.name == name)
    own = next(one for one in CONSUMERS if one.name == RUNTIMES[file.suffix[1:]])
    rows = np.load(cache / "rows" / f"{file.parent.name}.npy")[:1]
    cuts = prefixes.of(file)

    def started(one: Consumer) -> asking.Asked:
        return asking.Asked(environments.command(one, cache), environments.variables(cache))

    with started(consumer) as asked, started(own) as runtime, tempfile.TemporaryDirectory() as folder:
        asker = Asker(asked=asked, own=runtime, folder=Path(folder))
        found = first(len(cuts), lambda place: asker.departs(cuts.until(place), rows, file.suffix[1:]))
        if found is None:
            print("nothing departs")
            return 1
        place, told = found
        print(f"{consumer.name}, {file.name}, {cuts.described(place)}: {told}")
        print(f"alone: {_alone(asker, cuts, place, rows, file.suffix[1:])}")
    return 0


def _alone(asker: Asker, cuts: Any, place: int, rows: np.ndarray, suffix: str) -> str:
    """The node by itself."""
    source = cuts.source(place)
    if source is None:
        return "it reads several values"
    given = rows
    if source >= 0:
        said = asker.departs(cuts.until(source), rows, suffix)
        if said:
            return "what it reads cannot be had"
        file, found = asker.folder / f"cut.{suffix}", asker.folder / "given.npy"
        asker.own.answer(asking.request(file, asker.folder / "rows.npy", found, []), LIMIT_SECONDS)
        given = np.load(found)
    return asker.departs(cuts.alone(place), given, suffix) or "right"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3]).resolve()))
