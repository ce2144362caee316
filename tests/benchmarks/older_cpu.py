"""int8 on CPUs without VNNI: the same decisions with `--kernels portable`, and what that costs: parity/older-cpu.md.

    PYTHONPATH=. KEXPORT_LAB=FOLDER python tests/benchmarks/older_cpu.py CACHE --preload hide.so

``hide.so`` is a library that hides VNNI and AMX from CPUID with ``NOVNNI=1``, and AVX-512 as well with ``NOVNNI=2``:
by CPUID faulting (Linux on Intel), or, where a CPU has none, with a trap in the place of each such instruction of the
runtimes. They then take an older CPU's kernels at full speed. Four trained networks are
calibrated on 100 photographs and decide on 400, with both ranges of kernels. About 15 minutes on two cores; CACHE keeps
artifacts and answers, so that an ended run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import int8_networks
import numpy as np
import older_cpu_page
import pair_sums

import kexport
from kexport import machine, store
from kexport.images import photographs
from kexport.records import Record
from tests.consumers import asking, environments

KERNELS = ("full", "portable")
CLIENTS = {"onnx": "onnxruntime_", "tflite": "litert_"}
CPUS = {"this CPU": "", "no VNNI": "1", "no AVX-512": "2"}
LIMIT_SECONDS = 900.0


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network: its source on the command line, and the options that build it."""

    name: str
    source: str
    options: dict[str, Any]
    decides: bool = True
    """Whether its classes lie so far apart that decisions say something."""


def networks(lab: Path) -> tuple[Network, ...]:
    """Those that the lab has weights of."""
    return (
        Network(
            name="MobileNet-a0.25", source="MobileNet",
            options={"alpha": 0.25, "weights": str(lab / "mobilenet_0.25_224.weights.h5")},
        ),
        Network(
            name="MobileNetV3Small", source="MobileNetV3Small",
            options={"weights": str(lab / "mobilenetv3small_1.0_224.weights.h5")},
        ),
        Network(name="efficientnetlite0", source=str(lab / "efficientnetlite0.keras"), options={}),
        Network(
            name="efficientnetb0_finetuned", source=str(lab / "efficientnetb0_finetuned.keras"),
            options={"input_shape": (224, 224, 3)},
            decides=False,
        ),
    )  # fmt: skip


def main() -> int:
    """Export, let every CPU decide, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--preload", type=Path, required=True)
    parser.add_argument("--networks", default="", help="comma separated; all unless said")
    options = parser.parse_args()
    cache, lab = options.cache.resolve(), int8_networks.lab_folder()
    calibration, evaluation = folders(lab, cache)
    rows = []
    wanted = options.networks.split(",") if options.networks else [network.name for network in networks(lab)]
    for network in (one for one in networks(lab) if one.name in wanted):
        for kernels in KERNELS:
            shown = evaluation if network.decides else without_classes(evaluation)
            made = exported(network, kernels, cache, calibration=calibration, evaluation=shown)
            given = rows_of(network, made[0], cache, sorted(evaluation.glob("*.jpg")))
            folder, preload = cache / kernels, options.preload.resolve()
            rows += [row(network, record, folder, given=given, preload=preload) for record in made]
            print(json.dumps(rows[-len(made) :]), flush=True)
    facts = machine.describe()
    older_cpu_page.write({"machine": {key: facts[key] for key in ("processor", "instructions")}, "rows": rows})
    return 0


def folders(lab: Path, cache: Path) -> tuple[Path, Path]:
    """The photographs that calibrate and those that decide, as folders of links."""
    cache.mkdir(parents=True, exist_ok=True)
    both = cache / "calibration", cache / "evaluation"
    for folder, paths in zip(both, int8_networks.split(lab), strict=True):
        if not folder.is_dir():
            int8_networks.link(paths, folder)
    return both


def without_classes(evaluation: Path) -> Path:
    """The same photographs under names that tell no class, for a network whose classes are others."""
    folder = evaluation.with_name("unlabelled")
    folder.mkdir(exist_ok=True)
    for path in evaluation.glob("*.jpg"):
        place = folder / f"photograph-{path.name}"
        if not place.is_symlink():
            place.symlink_to(path.resolve())
    return folder


def exported(network: Network, kernels: str, cache: Path, *, calibration: Path, evaluation: Path) -> tuple[Record, ...]:
    """The int8 files of both formats, with accuracy on the photographs in their records."""
    directory = cache / kernels
    found = [record for record in _read(directory) if record.model == network.name]
    if not found:
        kexport.export(
            network.source, formats="onnx,tflite", schemes="int8", kernels=kernels, calibration=str(calibration),
            eval=str(evaluation), output=directory, jobs=1, name=network.name, **network.options,
        )  # fmt: skip
        found = [record for record in _read(directory) if record.model == network.name]
    assert found, f"no record of {network.name}"
    return tuple(found)


def _read(directory: Path) -> tuple[Record, ...]:
    return store.read_records(directory) if directory.is_dir() else ()


def rows_of(network: Network, record: Record, cache: Path, paths: Sequence[Path]) -> Path:
    """The photographs as the network takes them, in one array."""
    place = cache / f"{network.name}.npy"
    if not place.exists():
        contract = record.source.preprocessing if record.source else None
        assert contract is not None
        read = (photographs.read(path, contract)[1] for path in paths)
        np.save(place, np.stack([photographs.prepare(image[None], contract)[0] for image in read]))
    return place


def row(network: Network, record: Record, folder: Path, *, given: Path, preload: Path) -> dict[str, Any]:
    """One file: its noise and accuracy on this CPU, its largest pair sum, and how each CPU decides."""
    assert record.artifact is not None
    path = folder / record.artifact.path
    answers = {cpu: answered(path, cpu, given, preload) for cpu in CPUS}
    here = answers["this CPU"].argmax(1)
    scored = record.accuracy
    assert scored is not None
    return {
        "network": network.name,
        "decides": network.decides,
        "format": record.format,
        "kernels": folder.name,
        "photographs": len(here),
        "sqnr_db": scored.logits_sqnr_db,
        "agreement_with_keras": scored.top1_agreement,
        "drop_points": scored.top1_drop_points,
        "largest_pair_sum": max(pair_sums.written_sums(path).values()) if record.format == "onnx" else None,
        "same_decisions": {cpu: float((found.argmax(1) == here).mean()) for cpu, found in answers.items()},
        "same_numbers": {cpu: bool(np.array_equal(found, answers["this CPU"])) for cpu, found in answers.items()},
        "versions": {name: record.versions[name] for name in ("onnxruntime", "ai-edge-litert")},
    }


def answered(path: Path, cpu: str, given: Path, preload: Path) -> np.ndarray:
    """The file's answers where that CPU's kernels run."""
    place = path.with_name(f"{path.name}.{CPUS[cpu] or 'here'}.npy")
    if not place.exists():
        hidden = {"LD_PRELOAD": str(preload), "NOVNNI": CPUS[cpu]} if CPUS[cpu] else {}
        client = CLIENTS[path.suffix[1:]]
        command = [sys.executable, str(environments.CLIENTS / "loop.py"), client]
        with asking.Asked(command, environments.variables(path.parent) | hidden) as asked:
            said = asked.answer(asking.request(path, given, place, []), LIMIT_SECONDS)
            require(said, asked, hidden)
    found: np.ndarray = np.load(place)
    return found


def require(said: dict[str, Any], asked: asking.Asked, hidden: dict[str, str]) -> None:
    """It answered, and what was to be hidden was."""
    if "seconds" not in said:
        raise SystemExit(f"no answers: {said}")
    told = list(asked.complaints())
    if hidden and not any("novnni level" in line for line in told):
        raise SystemExit(f"nothing is hidden here: {told}")


if __name__ == "__main__":
    sys.exit(main())
