"""What the recipes that come with kexport do to trained networks: parity/recipes.md.

    PYTHONPATH=. KEXPORT_LAB=FOLDER python tests/benchmarks/recipes.py CACHE

Four trained networks are calibrated on 100 photographs and decide on 400 others, without a recipe and with each. Both
files of a format are then run by turns, with one session alive at a time (`turns`): one thread, the seconds in which
the process had a processor. CACHE keeps files, so that an ended run goes on; take an empty one for another version.
About fifteen minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import int8_networks
import older_cpu
import processes
import turns
from md_text import table

import kexport
from kexport import machine, store
from kexport.quantization import recipe_file
from kexport.records import Record

PLACE = Path(__file__).resolve().parents[2] / "parity"
USUAL, ROUNDS = "none", 9
IDLE = "no rule means a layer"
LIMIT_BYTES, LIMIT_SECONDS = 8 * 2**30, 600.0
Json = dict[str, Any]
HEADER = (
    "network", "recipe", "format", "SQNR dB", "agreement", "drop, points", "MB", "time of the file without", "interval",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Export, run by turns, write the page."""
    if arguments[:1] == ["--task"]:
        print(json.dumps(in_turns(*arguments[1:]), allow_nan=False))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    cache, lab = parser.parse_args(arguments).cache.resolve(), int8_networks.lab_folder()
    calibration, evaluation = older_cpu.folders(lab, cache)
    rows = []
    for network in older_cpu.networks(lab):
        shown = evaluation if network.decides else older_cpu.without_classes(evaluation)
        rows += list(measured(network, cache, calibration=calibration, evaluation=shown))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    facts = machine.describe()
    write({"machine": {key: facts[key] for key in ("processor", "instructions")}, "rows": rows})
    return 0


def measured(network: older_cpu.Network, cache: Path, *, calibration: Path, evaluation: Path) -> Iterator[Json]:
    """The rows of a network: every recipe that means one of its layers, and none."""
    usual = made(network, USUAL, cache, calibration=calibration, evaluation=evaluation)
    yield from (row(network, USUAL, record) for record in usual.values())
    for name in recipe_file.names():
        found = made(network, name, cache, calibration=calibration, evaluation=evaluation)
        for form, record in found.items():
            pair = file(record, cache / name), file(usual[form], cache / USUAL)
            yield row(network, name, record) | by_turns(*pair, record)


def made(
    network: older_cpu.Network, recipe: str, cache: Path, *, calibration: Path, evaluation: Path
) -> dict[str, Record]:
    """The records of both formats; none where the recipe means no layer of the network."""
    directory = cache / recipe
    records = _read(directory, network)
    if not records:
        kexport.export(
            network.source, formats="onnx,tflite", schemes="int8", calibration=str(calibration),
            eval=str(evaluation), recipe=None if recipe == USUAL else recipe, output=directory, jobs=1,
            name=network.name, **network.options,
        )  # fmt: skip
        records = _read(directory, network)
    assert sorted(records) == ["onnx", "tflite"], (network.name, recipe, sorted(records))
    idle = {form for form, record in records.items() if IDLE in record.reason}
    assert all(record.artifact is not None for form, record in records.items() if form not in idle)
    return {form: record for form, record in records.items() if form not in idle}


def _read(directory: Path, network: older_cpu.Network) -> dict[str, Record]:
    records = store.read_records(directory) if (directory / store.MANIFEST).exists() else ()
    return {record.format: record for record in records if record.model == network.name}


def file(record: Record, directory: Path) -> Path:
    """Where the artifact of a record lies."""
    assert record.artifact is not None
    return directory / record.artifact.path


def by_turns(native: Path, peer: Path, record: Record) -> Json:
    """How long the first takes in parts of what the second does."""
    command = [sys.executable, __file__, "--task", native, peer, *values(record)]
    line, reason = processes.run(list(map(str, command)), limit_bytes=LIMIT_BYTES, limit_seconds=LIMIT_SECONDS)
    if not line:
        raise SystemExit(f"{native}: {reason}")
    found: Json = json.loads(line)
    return found


def in_turns(native: str, peer: str, low: str, high: str) -> Json:
    """In a process of its own: so many rounds of both files."""
    files = dict(zip(turns.WAYS, (Path(native), Path(peer)), strict=True))
    rounds = []
    for number in range(ROUNDS):
        ways = turns.WAYS[:: 1 if number % 2 == 0 else -1]
        rounds.append({way: turns.turn(files[way], (float(low), float(high)))[0] for way in ways})
    found = turns.summary(rounds)
    return {key: found[key] for key in ("ratio", "ratio_low", "ratio_high", "coverage", "rounds")}


def values(record: Record) -> tuple[float, float]:
    """The least and the greatest value that a pixel becomes."""
    contract = record.source.preprocessing if record.source else None
    assert contract is not None
    channels = tuple(zip(contract.mean, contract.std, strict=True))
    ends = [(pixel * contract.scale - mean) / std for pixel in (0, 255) for mean, std in channels]
    return min(ends), max(ends)


def row(network: older_cpu.Network, recipe: str, record: Record) -> Json:
    """What the record of a file says."""
    scored, artifact = record.accuracy, record.artifact
    assert scored is not None
    assert artifact is not None
    return {
        "network": network.name,
        "decides": network.decides,
        "recipe": recipe,
        "format": record.format,
        "status": record.status,
        "photographs": scored.images,
        "sqnr_db": scored.logits_sqnr_db,
        "agreement": scored.top1_agreement if network.decides else None,
        "drop_points": scored.top1_drop_points if network.decides else None,
        "bytes": artifact.size_bytes,
        "versions": {name: record.versions[name] for name in ("onnxruntime", "ai-edge-litert")},
    }


def write(found: Json) -> None:
    """Both files."""
    (PLACE / "recipes.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (PLACE / "recipes.md").write_text("\n".join(lines(found)) + "\n", encoding="utf-8")


def lines(found: Json) -> Iterator[str]:
    """The page."""
    rows = found["rows"]
    versions = rows[0]["versions"]
    yield from (
        "# What the recipes of int8 do",
        "",
        f"`tests/benchmarks/recipes.py` on {found['machine']['processor']}: ONNX Runtime {versions['onnxruntime']},",
        f"LiteRT {versions['ai-edge-litert']}, one thread; trained weights, calibrated on 100 photographs, judged on",
        f"{rows[0]['photographs']} others. `kexport list recipes` tells what there is, `--recipe NAME` takes one. The",
        "time is that of the file in parts of the one without a recipe, by turns: above 1 it is slower. A recipe that",
        "means no layer of a network has no row there.",
        "",
        table(HEADER, [_cells(each) for each in rows], text_columns=3),
    )


def _cells(each: Json) -> tuple[str, ...]:
    ratio = each.get("ratio")
    return (
        each["network"],
        each["recipe"],
        each["format"],
        f"{each['sqnr_db']:.2f}",
        "-" if each["agreement"] is None else f"{each['agreement']:.4f}",
        "-" if each["drop_points"] is None else f"{each['drop_points']:+.2f}",
        f"{each['bytes'] / 1e6:.2f}",
        "-" if ratio is None else f"{ratio:.2f}",
        "-" if ratio is None else f"{each['ratio_low']:.2f} to {each['ratio_high']:.2f}",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
