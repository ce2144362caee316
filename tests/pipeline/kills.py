"""Kills a run at a random moment, and looks at what it leaves.

    python -m tests.pipeline.kills [--times 50] [--seed 0] [--keras] [--isolate]

Each time: a run of two artifacts is killed (SIGKILL) after a random part of its usual time: all its processes at once,
the parent alone, or what it has started: workers, and the warm processes that they are forked from. Then no process of
it may be there after a second, no file but whole ones; the run with ``--resume`` ends with the same bytes as an
undisturbed one, and ``kexport verify`` finds nothing. With ``--keras`` every run builds its model; without, it finds it
prepared, and most kills hit the writing of files. With ``--isolate`` no process is forked. Exit 1 where anything does
not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from kexport import pipeline, store
from kexport.files import STAGING, file_digest
from kexport.pipeline import Request, ask
from kexport.records import Status
from kexport.store import manifest
from tests.pipeline.prepared_once import CELLS, COPY, Silent, prepare

WHO = ("all", "parent", "worker", "server")
ISOLATE = "KILLS_ISOLATE"
ORPHAN_SECONDS = 1.0
OWN = {store.LOCK, store.HOLDER, store.MANIFEST}


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill: who, and when."""

    who: str
    after_seconds: float


def run(out: Path, saved: Path | None) -> list[Status]:
    """The run itself, in this process."""
    if saved is not None:
        real, code = ask.command, f"SAVED = {str(saved)!r}\n{COPY}"

        def command(kind: str, asked: Path, answered: Path) -> tuple[str, ...]:
            if kind == "prepare":
                return (sys.executable, "-c", code, kind, str(asked), str(answered))
            return real(kind, asked, answered)

        ask.command = command
    request = Request(cells=CELLS, directory=out, jobs=int(os.environ.get("KILLS_JOBS", "1")), resume=True,
                      isolate=bool(os.environ.get(ISOLATE)))  # fmt: skip
    return [record.status for record in pipeline.run(request, Silent())]


def started(out: Path, saved: Path | None, *, isolate: bool = False) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "tests.pipeline.kills", "--run", str(out), *([] if saved is None else [str(saved)])]
    environment = {**os.environ, ISOLATE: "1" * isolate}
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def killed(out: Path, saved: Path | None, kill: Kill, wanted: dict[str, str], *, isolate: bool = False) -> list[str]:
    """What does not hold after one kill; nothing if all does."""
    process = started(out, saved, isolate=isolate)
    time.sleep(kill.after_seconds)
    all_of_it = _kill(process, kill.who)
    problems = [] if kill.who in ("worker", "server") else _orphans(out, all_of_it)
    process.communicate(timeout=200)
    problems += [*_orphans(out, all_of_it), *_half(out, wanted)]
    done = started(out, saved)
    _, told = done.communicate(timeout=300)
    if done.returncode != 0:
        problems.append(f"the resumed run ended with {done.returncode}: {told.decode()[-300:]}")
    found = hashes(out)
    if found != wanted:
        problems.append(f"other files than an undisturbed run makes: {found}")
    return problems + list(store.verify(out))


def _kill(process: subprocess.Popen[bytes], who: str) -> list[psutil.Process]:
    """Kill those processes at once; a worker that is not there yet, or no more, is the parent. All that there were."""
    try:
        parent = psutil.Process(process.pid)
        started, below = parent.children(), parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    victims = {"all": [parent, *below], "worker": below, "server": started}.get(who) or [parent]
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    return below


def _orphans(out: Path, before: list[psutil.Process]) -> list[str]:
    """Processes that still work on the directory, or were of the run ``before``, a second later."""
    end = time.monotonic() + ORPHAN_SECONDS
    while (left := {*_working_on(out), *_there(before)}) and time.monotonic() < end:
        time.sleep(0.05)
    return [f"process {pid} is still there" for pid in sorted(left)]


def _there(processes: list[psutil.Process]) -> list[int]:
    """Those that have not ended; an id that another process has by now is no longer theirs."""
    return [each.pid for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def _working_on(out: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        words = process.info["cmdline"] or []
        inside = any(word == str(out) or f"{out}/" in word for word in words)
        if inside and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.info["pid"])
    return found


def hashes(out: Path) -> dict[str, str]:
    """The artifacts by name."""
    found = (path for path in sorted(out.glob("MobileNet-*/MobileNet-*")) if path.suffix != ".json")
    return {path.name: file_digest(path) for path in found}


def _half(out: Path, wanted: dict[str, str]) -> list[str]:
    """Files under their final name that are not what they should be: artifacts, records, the manifest."""
    if not out.is_dir():
        return []
    problems = [f"{name} is half written" for name, digest in hashes(out).items() if wanted.get(name) != digest]
    store.read_records(out)  # StoreError for a damaged one
    if (out / store.MANIFEST).exists():
        manifest.named(out)  # StoreError for a damaged one
    known = {*wanted, *OWN, *(f"{name}{ending}" for name in wanted for ending in (".json", ".failed.json"))}
    for path in sorted(out.rglob("*")):
        inside = path.relative_to(out).parts
        staged = any(part.startswith(STAGING) for part in inside)
        if not staged and path.is_file() and path.name not in known:
            problems.append(f"{path.name} is left")
    return problems


def undisturbed(folder: Path, saved: Path | None) -> tuple[dict[str, str], float]:
    """What a run makes that nobody kills, and how long it takes."""
    begin = time.monotonic()
    process = started(folder, saved)
    _, told = process.communicate(timeout=300)
    if process.returncode != 0:
        raise RuntimeError(told.decode())
    return hashes(folder), time.monotonic() - begin


def many(folder: Path, *, times: int, seed: int, keras: bool, isolate: bool) -> int:
    """Kill that many runs; the number of kills after which something did not hold."""
    saved = None if keras else prepare(folder)
    wanted, usual = undisturbed(folder / "undisturbed", saved)
    chance, bad = random.Random(seed), 0
    counts = dict.fromkeys(WHO, 0)
    for number in range(times):
        kill = Kill(who=WHO[number % len(WHO)], after_seconds=chance.uniform(0, usual))
        problems = killed(folder / f"out{number}", saved, kill, wanted, isolate=isolate)
        counts[kill.who] += 1
        bad += bool(problems)
        print(f"{number + 1}: {kill.who} after {kill.after_seconds:.2f} s: {problems or 'all holds'}", flush=True)
    print(f"{times} kills {counts} within {usual:.1f} s, {bad} with a problem")
    return bad


def main(arguments: list[str]) -> int:
    """Kill runs, or be one."""
    if arguments[:1] == ["--run"]:
        out, *saved = map(Path, arguments[1:])
        return 0 if set(run(out, saved[0] if saved else None)) == {Status.PASS} else 1
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keras", action="store_true")
    parser.add_argument("--isolate", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        bad = many(Path(folder), times=options.times, seed=options.seed, keras=options.keras, isolate=options.isolate)
        return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
