"""Latency of two files of one network against each other, on one runtime.

Both files are open in one process and run in alternating blocks A B A B, so that both meet the same machine.
Where their weights lie in memory moves a latency of one millisecond by up to five percent, and differs from
process to process: so several processes, every other one opens the peer's file first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from kexport import runtimes
from kexport.errors import ArtifactError
from kexport.images.seeded import seeded_images
from kexport.sources import catalog

WAYS = ("native", "peer")
PROCESSES = 6
BLOCKS = 6
BLOCK_SECONDS = 0.25
SETTLE_RUNS = 3  # first runs of a block: the other file's threads may still be spinning


def worker(runtime: str, name: str, native: str, peer: str, first: str) -> int:
    """Measure in this process, opening the file of ``first`` (of `WAYS`) before the other; prints one line of JSON."""
    files = dict(zip(WAYS, (Path(native), Path(peer)), strict=True))
    try:
        sessions = _opened(runtime, files, first=first)
    except ArtifactError as error:
        told = error.message.replace(str(files["peer"]), files["peer"].name)
        print(json.dumps({"peer_unusable": f"the peer's file does not load: {told:.300}"}))
        return 0
    extra = [spec.name for spec in sessions["peer"].signature[0][1:]]
    if extra:
        print(json.dumps({"peer_unusable": f"the peer's file asks for {len(extra)} more inputs: {', '.join(extra)}"}))
        return 0
    print(json.dumps(_compared(sessions, {way: _feed(session, name) for way, session in sessions.items()})))
    return 0


def merged(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result of several processes: medians, the ratios of all blocks, the worst difference and signal."""
    ratios = [ratio for each in found for ratio in each["latency_ratio_of_blocks"]]
    return {
        "native_latency_seconds": median(each["native_latency_seconds"] for each in found),
        "peer_latency_seconds": median(each["peer_latency_seconds"] for each in found),
        "latency_ratio": median(ratios),
        "latency_ratio_of_blocks": ratios,
        "max_difference": float(np.max([each["max_difference"] for each in found])),  # NaN stays
        "signal": float(np.min([each["signal"] for each in found])),
        "effective": found[0]["effective"],
    }


def _opened(runtime: str, files: Mapping[str, Path], *, first: str) -> dict[str, runtimes.Session]:
    """Both sessions, native's first in the mapping. ArtifactError is the peer's; native's own ends the process."""
    kind, options = runtimes.find(runtime), runtimes.SessionOptions(threads=2)
    sessions = {}
    for way in sorted(WAYS, key=lambda way: way != first):
        try:
            sessions[way] = runtimes.open_session(kind, files[way], options=options)
        except ArtifactError as error:
            if way == "peer":
                raise
            raise SystemExit(str(error)) from error
    return {way: sessions[way] for way in WAYS}


def _compared(sessions: Mapping[str, runtimes.Session], feeds: Mapping[str, dict[str, runtimes.Tensor]]) -> Any:
    outputs = {way: next(iter(sessions[way].run(feeds[way]).values())) for way in WAYS}
    samples: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(BLOCKS):
        for way in WAYS:
            samples[way].append(_block(sessions[way], feeds[way]))
    medians = {way: median(sample for block in samples[way] for sample in block) for way in WAYS}
    ratios = [median(ours) / median(theirs) for ours, theirs in zip(*samples.values(), strict=True)]
    return {
        "native_latency_seconds": medians["native"],
        "peer_latency_seconds": medians["peer"],
        "latency_ratio_of_blocks": ratios,
        "max_difference": float(np.abs(outputs["native"] - outputs["peer"]).max()),
        "signal": float(outputs["native"].std()),
        "effective": [session.effective for session in sessions.values()],
    }


def _feed(session: runtimes.Session, name: str) -> dict[str, runtimes.Tensor]:
    spec = session.signature[0][0]
    height, width, channels = (size or 224 for size in spec.shape[1:])
    low, high = catalog.input_range(catalog.application(name))
    return {spec.name: seeded_images(1, (height, width, channels), seed=0, low=low, high=high)}


def _block(session: runtimes.Session, feed: dict[str, runtimes.Tensor]) -> list[float]:
    for _ in range(SETTLE_RUNS):
        session.run(feed)
    block: list[float] = []
    while sum(block) < BLOCK_SECONDS or len(block) < 3:
        start = time.perf_counter()
        session.run(feed)
        block.append(time.perf_counter() - start)
    return block
