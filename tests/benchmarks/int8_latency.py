"""How fast kexport's int8 files are beside the peers' int8 files of the same networks: parity/int8-latency.md.

    PYTHONPATH=. python tests/benchmarks/int8_latency.py CACHE --peers-python PEERS/bin/python

Seeded weights and synthetic images: speed does not depend on them. Every peer of `int8_peers` quantizes what it reads;
its file and kexport's of the same format are run by turns, with one session alive at a time (`turns`): one thread, the
seconds in which the process had a processor. kexport's own float32 file stands beside them. CACHE keeps files, so that
an ended run goes on; take an empty one for another version. ``--networks`` measures some again, and leaves the others
of the page as they are if they are of the same machine. About twenty minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import int8_latency_page
import int8_networks
import int8_peers
import numpy as np
import turns
from int8_accuracy import OWN, Tools, records_of, unmade

from kexport import machine
from kexport.images.seeded import seeded_images
from kexport.sources import catalog
from kexport.specs import ModelSpec, WeightsSpec

NETWORKS = ("MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "ResNet50")
IMAGES, ROUNDS = 8, 9
OWN_FLOAT = "kexport-float32"
Json = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Make the files, run them by turns, write the page; exit code 1 where a bound is missed."""
    if arguments[:1] == ["--task"]:
        return _task(*arguments[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--peers-python", required=True)
    parser.add_argument("--networks", type=names, default=NETWORKS, help=f"default {','.join(NETWORKS)}")
    options = parser.parse_args(arguments)
    tools = Tools(script=Path(__file__).resolve(), peers_python=options.peers_python)
    cache, wanted = options.cache.resolve(), options.networks
    rows = [row for name in wanted for row in measure(name, cache / name, tools)]
    facts = machine.describe()
    rows = sorted([*int8_latency_page.others(facts, wanted), *rows], key=lambda row: NETWORKS.index(row["network"]))
    int8_latency_page.write({"machine": facts, "images": IMAGES, "rows": rows})
    return int(any(int8_latency_page.missed(row) for row in rows))


def names(text: str) -> tuple[str, ...]:
    """Networks of this comparison; others are refused before anything is measured."""
    found = tuple(text.split(","))
    if not set(found) <= set(NETWORKS):
        raise argparse.ArgumentTypeError(f"{text!r}: expected some of {', '.join(NETWORKS)}")
    return found


def _task(name: str, *arguments: str) -> int:
    """In a process of its own: ``prepare`` holds Keras, ``turns`` one runtime. Prints one line of JSON."""
    found = prepare(arguments[0], Path(arguments[1])) if name == "prepare" else by_turns(*arguments)
    print(json.dumps(found, allow_nan=False))
    return 0


def measure(name: str, folder: Path, tools: Tools) -> list[Json]:
    """The rows of a network: kexport's int8 file of a format beside every other file of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / int8_peers.KERAS_ONNX).exists():
        done, reason = tools.task("prepare", name, folder)
        if not done:
            raise SystemExit(f"{name}: nothing to quantize: {reason}")
    own = _own(name, folder, tools)
    rows = []
    for other, title, path, facts in _others(folder, own, tools):
        row = {"network": name, "other": other, "title": title, "format": path.suffix[1:]} | facts
        if not row["reason"]:
            line, reason = tools.task("turns", name, own[path.suffix[1:], "int8"], path)
            row |= json.loads(line) if line else {"reason": f"does not run: {reason}"}
        print(json.dumps({key: row.get(key) for key in ("network", "title", "ratio", "reason")}), file=sys.stderr)
        rows.append(row)
    return rows


def prepare(name: str, folder: Path) -> Json:
    """What the peers read, and the images that calibrate."""
    from kexport.sources.build import build

    low, high = catalog.input_range(catalog.application(name))
    side = int8_networks.SIDE
    np.save(folder / int8_networks.CALIBRATION, seeded_images(IMAGES, (side, side, 3), seed=0, low=low, high=high))
    spec = ModelSpec(application=name, input_shape=(side, side, 3), weights=WeightsSpec(kind="random", seed=0))
    int8_networks.export(build(spec), folder)
    return {"images": IMAGES}


def _own(name: str, folder: Path, tools: Tools) -> dict[tuple[str, str], Path]:
    """kexport's files by format and scheme; the float ONNX file lies where a peer reads it, too."""
    directory = folder / OWN
    if not records_of(directory):
        options = ["--schemes", "float32,int8", "--formats", "onnx,tflite", "--jobs", "1", "-o", directory]
        _, reason = tools.export(name, "--weights", "random:0", "--calibration", "synthetic:0", *options)
        found = records_of(directory)
        bad = [each for each in found.values() if each.artifact is None or each.status != "PASS"]
        if bad or len(found) != 4:
            raise SystemExit(f"{name}: {unmade((*bad, None, None)[:2], reason)}")
    made = {key: directory / each.artifact.path for key, each in records_of(directory).items() if each.artifact}
    link = folder / int8_peers.KEXPORT_ONNX
    if not link.is_symlink():
        link.symlink_to(made["onnx", "float32"])
    return made


def _others(
    folder: Path, own: dict[tuple[str, str], Path], tools: Tools
) -> Iterator[tuple[str, str, Path, dict[str, Any]]]:
    """Name, title and file of all that kexport's int8 file is held against, and what making it took."""
    for form in ("onnx", "tflite"):
        yield OWN_FLOAT, "kexport, float32", own[form, "float32"], {"reason": ""}
    for name, method in int8_peers.METHODS.items():
        path = folder / f"{name}{method.suffix}"
        yield name, method.title, path, _quantized(name, path, folder, tools)


def _quantized(name: str, path: Path, folder: Path, tools: Tools) -> Json:
    """What making the peer's file took. One that cannot read Keras's own ONNX file is given kexport's float file."""
    facts = path.with_suffix(f"{path.suffix}.json")
    if facts.exists() and path.exists():
        known: Json = json.loads(facts.read_text(encoding="utf-8"))
        return known
    own = int8_peers.METHODS[name].source
    found = _tried(name, own, path, folder, tools) | {"refused": ""}
    if found["reason"] and own == int8_peers.KERAS_ONNX:
        found = _tried(name, int8_peers.KEXPORT_ONNX, path, folder, tools) | {"refused": found["reason"]}
    if not found["reason"]:
        facts.write_text(json.dumps(found), encoding="utf-8")
    return found


def _tried(name: str, source: str, path: Path, folder: Path, tools: Tools) -> Json:
    """What the peer's versions are, and why it made no file; empty is good."""
    line, reason = tools.quantize(name, folder / source, folder / int8_networks.CALIBRATION, path)
    found = json.loads(line) if line else {}
    told = f"not installed ({found['missing']})" if "missing" in found else reason
    return {"versions": found.get("versions", {}), "reason": told}


def by_turns(name: str, native: str, peer: str) -> Json:
    """So many rounds of both files in this process."""
    between = catalog.input_range(catalog.application(name))
    files = dict(zip(turns.WAYS, (Path(native), Path(peer)), strict=True))
    rounds, facts = [], {}
    for number in range(ROUNDS):
        made = {way: turns.turn(files[way], between) for way in turns.WAYS[:: 1 if number % 2 == 0 else -1]}
        rounds.append({way: samples for way, (samples, _) in made.items()})
        facts = {f"{way}_effective": told["effective"] for way, (_, told) in made.items()}
    return turns.summary(rounds) | facts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
