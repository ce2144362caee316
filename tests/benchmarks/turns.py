"""Latency of two files on the runtime of their format by turns, with one session alive at a time.

Sessions that are open together disturb each other: threads of the one still spin while the other one runs. So every
turn opens its session, warms it, samples it and closes it. A round is one turn of each file, the order changes from
round to round; its ratio is that of the two medians. The interval is that of the median of the ratios, from order
statistics (`kexport.evidence.latency`).

One thread, and the seconds are those in which this process had a processor (`time.process_time`): on an idle machine
that is the latency, and on one that others use it does not count what they take.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import int8_networks
import numpy as np

from kexport import runtimes
from kexport.evidence.latency import median_interval
from kexport.images.seeded import seeded_images

WAYS = ("native", "peer")
THREADS = 1
WARM_SECONDS, TURN_SECONDS = 0.3, 0.5
LEAST_RUNS = 3
Range = tuple[float, float]


def worker(native: str, peer: str, low: str, high: str, rounds: str) -> int:
    """So many rounds in this process; ``low`` and ``high`` bound the inputs of the native file. Prints one line."""
    files = dict(zip(WAYS, (Path(native), Path(peer)), strict=True))
    ranges: dict[str, Range] = {"native": (float(low), float(high)), "peer": (-1.0, 1.0)}
    found: list[dict[str, list[float]]] = []
    facts: dict[str, Any] = {}
    for number in range(int(rounds)):
        ways = WAYS if number % 2 == 0 else WAYS[::-1]
        turns = {way: turn(files[way], ranges[way]) for way in ways}
        found.append({way: turns[way][0] for way in WAYS})
        facts = {way: turns[way][1] for way in WAYS}
    print(json.dumps({"rounds": found, **facts}, allow_nan=False))
    return 0


def turn(path: Path, between: Range) -> tuple[list[float], dict[str, Any]]:
    """Seconds of each run of one session, which is closed again; and what it was."""
    session, _ = int8_networks.opened(path, threads=THREADS)
    spec = session.signature[0][0]
    feed = {spec.name: as_read(image(spec.shape, between), spec.dtype, between)}
    _sampled(session, feed, WARM_SECONDS)
    samples = _sampled(session, feed, TURN_SECONDS)
    output = next(iter(session.run(feed).values()))
    facts = {"input": list(spec.shape), "effective": session.effective, "signal": float(output.std())}
    del session
    gc.collect()
    return samples, facts


def image(shape: Sequence[int | None], between: Range) -> runtimes.Tensor:
    """One seeded image, with channels last or first as the shape has them."""
    first = shape[1] == 3
    height, width = (int(size or 0) for size in (shape[2:4] if first else shape[1:3]))
    found = seeded_images(1, (height, width, 3), seed=0, low=between[0], high=between[1])
    return np.ascontiguousarray(found.transpose(0, 3, 1, 2)) if first else found


def as_read(real: runtimes.Tensor, dtype: str, between: Range) -> runtimes.Tensor:
    """The image as a file with integer inputs reads it: ``between`` over all numbers of the type."""
    if not dtype.startswith(("int", "uint")):
        return real
    limits, (low, high) = np.iinfo(dtype), between
    return np.rint(limits.min + (real - low) / (high - low) * (limits.max - limits.min)).astype(dtype)


def _sampled(session: runtimes.Session, feed: dict[str, runtimes.Tensor], seconds: float) -> list[float]:
    samples: list[float] = []
    while sum(samples) < seconds or len(samples) < LEAST_RUNS:
        start = time.process_time()
        session.run(feed)
        samples.append(time.process_time() - start)
    return samples


def summary(rounds: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """Medians of both files, the ratio with its interval, and of how many rounds and runs. Seconds."""
    medians = [{way: median(each[way]) for way in WAYS} for each in rounds]
    ratios = [each["native"] / each["peer"] for each in medians]
    low, high, coverage = median_interval(sorted(ratios))
    return {
        **{f"{way}_seconds": median(each[way] for each in medians) for way in WAYS},
        **{f"{way}_runs": sum(len(each[way]) for each in rounds) for way in WAYS},
        "ratio": median(ratios),
        "ratio_low": low,
        "ratio_high": high,
        "coverage": coverage,
        "rounds": len(rounds),
        "ratios": ratios,
    }
