"""The float network observed part by part (`parts`), with what is known of the front from an earlier run.

What is kept of a part is small: its statistics and a few positions of every image, as one array for each of them all,
and what crosses to the head, batch by batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from kexport.graph import Graph
from kexport.quantization import Array, Batches, Compile
from kexport.quantization.known import Arrays, Memory, Nothing, digest, made_by
from kexport.quantization.observe import statistics
from kexport.quantization.observe.parts import parts
from kexport.quantization.observe.statistics import Observed

MOST_BYTES = 1 << 26
"""Of what is kept of a part."""
ROWS, SIZES, CHANNELS, COUNTS, SAMPLES = "rows", "sizes", "channels", "counts", "samples"
IMAGES, FOLDS = "images", "folds"
FIELDS, FOLDED = ("mean", "power", "linear"), ("lows", "highs")


def observe(
    graph: Graph, batches: Batches, compile_: Compile, *, values: Collection[str], memory: Memory | None = None
) -> dict[str, Observed]:
    """As `statistics.observe`; what the ``memory`` has of the part before the head is not observed again."""
    two, memory = parts(graph), memory or Nothing()
    if two is None:
        return _front(graph, batches, compile_, values, memory, crossing=None)[0]
    before = [name for name in values if name in two.front.shapes]
    behind = [name for name in values if name not in two.front.shapes]
    seen, crossed = _front(two.front, batches, compile_, before, memory, crossing=two.crossing)
    again = [{two.crossing: rows} for rows in crossed]
    return seen | statistics.observe(two.back, lambda: again, compile_, values=behind)


def _front(
    graph: Graph, batches: Batches, compile_: Compile, values: Collection[str], memory: Memory, *, crossing: str | None
) -> tuple[dict[str, Observed], list[Array]]:
    names = statistics.wanted(graph, values)
    if isinstance(memory, Nothing):
        return statistics.observed(graph, batches, compile_, names=names, shown=crossing)
    made = made_by(graph)
    how = FIELDS, FOLDED, statistics.FOLDS, statistics.SAMPLED
    key = digest("observed", how, [made[name] for name in names], None if crossing is None else made[crossing])
    known = memory.get(key)
    if known is not None:
        return unpacked(known, names), [] if crossing is None else unjoined(known)
    seen, crossed = statistics.observed(graph, batches, compile_, names=names, shown=crossing)
    kept = {**packed(seen), **joined(crossed)}
    if sum(array.nbytes for array in kept.values()) <= MOST_BYTES:
        memory.put(key, kept)
    return seen, crossed


def joined(batches: Sequence[Array]) -> Arrays:
    """Batches of one value as arrays to be kept."""
    return {ROWS: np.concatenate(batches), SIZES: np.array([len(rows) for rows in batches])} if batches else {}


def unjoined(arrays: Arrays) -> list[Array]:
    """The batches again."""
    return _cut(arrays[ROWS], arrays[SIZES])


def packed(seen: Mapping[str, Observed]) -> Arrays:
    """What was observed as arrays to be kept, in the order of the values."""
    each = list(seen.values())
    return {
        CHANNELS: np.array([len(one.mean) for one in each]),
        FOLDS: np.array([len(one.lows) for one in each]),
        IMAGES: np.array([one.images for one in each]),
        COUNTS: np.array([one.samples.size for one in each]),
        SAMPLES: np.concatenate([one.samples.reshape(-1) for one in each]),
        **{field: np.concatenate([getattr(one, field).reshape(-1) for one in each]) for field in (*FIELDS, *FOLDED)},
    }


def unpacked(arrays: Arrays, names: Sequence[str]) -> dict[str, Observed]:
    """What was observed of the values ``names``."""
    channels, folds = arrays[CHANNELS], arrays[FOLDS]
    columns = {field: _cut(arrays[field], channels) for field in FIELDS}
    columns |= {field: _cut(arrays[field], channels * folds) for field in FOLDED}
    columns[SAMPLES] = _cut(arrays[SAMPLES], arrays[COUNTS])
    found = {}
    for place, (name, width) in enumerate(zip(names, channels, strict=True)):
        own = {field: column[place] for field, column in columns.items()}
        own |= {field: own[field].reshape(-1, width) for field in (*FOLDED, SAMPLES)}
        found[name] = Observed(images=int(arrays[IMAGES][place]), **own)
    return found


def _cut(whole: Any, sizes: Any) -> list[Any]:
    return [whole[start:end] for start, end in pairwise(accumulate(map(int, sizes), initial=0))]
