"""A thousand fine-tuned models on a hundred workers, simulated from measured costs, and the simulation checked.

    python -m tests.benchmarks.thousand [--models 200] [--workers 2] [--sample 40] [-o parity/thousand-models.md]

Measured on a cluster of this machine: a run of ``--sample`` small models by one worker gives what a model costs there
(the times between its records) and how long the first takes; the command's own processor time gives what each model
costs it. A run of ``--models`` by ``--workers`` is simulated from that, and made: the page has both. Then a thousand
models are simulated on up to a thousand workers, one core each. Not in it: the network between machines and the store.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kexport import machine
from kexport.store.directory import record_paths
from tests.pipeline.cluster import MODELS, cluster, export

FLEETS = (1, 10, 50, 100, 200, 500, 1000)
THOUSAND = 1000


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds. ``first`` is when the first record of a worker is there, counted from the start of the command;
    ``models`` are what further ones cost a worker; ``command`` is what each costs the command, one after another."""

    first: float
    models: tuple[float, ...]
    command: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: when each record was there, when it ended, and the command's own processor time."""

    arrivals: tuple[float, ...]
    wall_seconds: float
    command_seconds: float


def simulate(costs: Costs, *, models: int, workers: int, seed: int = 0) -> float:
    """When the last of the models is done and noted: free workers take the next, the command notes one at a time."""
    chance = random.Random(seed)
    done = [costs.first] * min(workers, models)
    free = list(done)
    while len(done) < models:
        done.append(heapq.heappop(free) + chance.choice(costs.models))
        heapq.heappush(free, done[-1])
    noted = 0.0
    for each in sorted(done):
        noted = max(noted, each) + costs.command
    return noted


def measured(folder: Path, name: str, *, workers: int, count: int) -> Run:
    """``kexport export --cluster`` over the models of the folder, as a process of its own."""
    with cluster(folder, workers) as (address, _):
        time.sleep(5.0)  # the workers have imported what they need
        start = time.monotonic()
        made = export(folder, name, "onnx", "--cluster", address)
        arrivals = watched(made, folder / name, start)
        _, _, usage = os.wait4(made.pid, 0)
        seconds = time.monotonic() - start
    if len(arrivals) != count:
        raise SystemExit(f"{len(arrivals)} records of {count}:\n" + (folder / f"{name}.log").read_text())
    return Run(arrivals=arrivals, wall_seconds=seconds, command_seconds=usage.ru_utime + usage.ru_stime)


def watched(made: subprocess.Popen[bytes], folder: Path, start: float) -> tuple[float, ...]:
    """When each record was there, looked for until the command has ended."""
    arrivals: list[float] = []
    while True:
        ended = os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        now = time.monotonic() - start
        arrivals += [now] * (len(record_paths(folder)) - len(arrivals))
        if ended:
            return tuple(arrivals)
        time.sleep(0.05)


def costs_of(small: Run, large: Run) -> Costs:
    """From two runs of one worker: what a model costs the command is how much more time it took for more of them."""
    more = len(large.arrivals) - len(small.arrivals)
    pairs = zip(large.arrivals, large.arrivals[1:], strict=False)
    return Costs(
        first=large.arrivals[0],
        models=tuple(round(later - earlier, 3) for earlier, later in pairs),
        command=max(0.0, (large.command_seconds - small.command_seconds) / more),
    )


def page(costs: Costs, check: tuple[int, int, float, float]) -> str:
    models, workers, told, real = check
    each = statistics.mean(costs.models)
    times = {fleet: simulate(costs, models=THOUSAND, workers=fleet) for fleet in FLEETS}
    rows = "\n".join(
        f"| {fleet:,} | {seconds:.0f} | {times[1] / seconds:.0f} | {costs.first / seconds:.0%} | "
        f"{THOUSAND * each / fleet / seconds:.0%} | {THOUSAND * costs.command / seconds:.0%} |"
        for fleet, seconds in times.items()
    )
    hardware = ", ".join(f"{key} {value}" for key, value in machine.hardware().items())
    shown = f"{costs.command * 1000:.1f} ms"
    limit = f"{each / max(costs.command, 1e-9):,.0f}"
    return f"""# A thousand models, a hundred workers

`python -m tests.benchmarks.thousand --models {models} --workers {workers} -o parity/thousand-models.md` writes
this page: costs measured on a Dask cluster of this machine, and a simulation from them. Models are small ones
of a user's own, each to ONNX with parity; a worker is one process with one thread.

Measured with one worker: {costs.first:.1f} s until its first record (the command starts, the worker imports Keras),
{each:.2f} s for each further model ({min(costs.models):.2f} to {max(costs.models):.2f}, {len(costs.models)} of them),
and {shown} of the command's own time for each.

Checked: {models} models by {workers} workers are simulated as {told:.0f} s, and took {real:.0f} s ({told / real:.2f}).
The run has the command's end in it, manifest and tables, and its workers, the scheduler and the command share
{os.cpu_count()} cores; the simulation gives each its own.

A thousand models, simulated; what the time would be for one part alone, as a share of it:

| workers | wall s | times one worker | a worker's first model | its other models | the command |
| ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

What breaks first: above about {limit} workers the command, which notes one record at a time, is slower than they
are. With a hundred workers each has ten models, and its first takes {costs.first / times[100]:.0%} of the time.
Network and store are not simulated: a hundred workers send a hundred artifacts at once.

Machine: {hardware}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    runs = []
    for number, (count, workers) in enumerate(
        ((options.sample // 4, 1), (options.sample, 1), (options.models, options.workers))
    ):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "models").mkdir()
            subprocess.run([sys.executable, "-c", MODELS, str(folder / "models"), str(count)], check=True, timeout=600)
            runs.append(measured(folder, f"run{number}", workers=workers, count=count))
            print(f"{count} models, {workers} workers: {runs[-1].wall_seconds:.1f} s", flush=True)
    small, large, real = runs
    costs = costs_of(small, large)
    told = simulate(costs, models=options.models, workers=options.workers)
    text = page(costs, (options.models, options.workers, told, real.wall_seconds))
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
