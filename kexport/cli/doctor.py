"""``kexport doctor``: what this machine can do, what is in the way, and the cure."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import rich_click as click

from kexport import machine
from kexport.cli import output
from kexport.cli.options import json_option
from kexport.errors import EnvironmentFailure
from kexport.sources import backend

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
LITTLE_MEMORY_BYTES = 4 * 2**30
EXPORTING = ("keras", "onnx", "ai_edge_litert", "flatbuffers", "onnxruntime")
TENSORFLOW = ("tensorflow", "tf2onnx")
KERAS_AT_LEAST = (3, 15, 1)

ORDER = 90


class Level(StrEnum):
    """How bad a finding is: only `BLOCKED` changes the exit code."""

    OK = "ok"
    WARNING = "warning"
    BLOCKED = "blocked"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at; everything but OK carries a cure."""

    level: Level
    name: str
    value: str
    cure: str = ""


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Tell what this machine can do, what is in the way, and the cure; exit 3 when exporting cannot work.

    Example: kexport doctor
    """
    findings = tuple(examine())
    output.data(json.dumps([asdict(item) for item in findings], indent=2) if as_json else _text(findings))
    return EnvironmentFailure.exit_code if any(item.level is Level.BLOCKED for item in findings) else 0


def examine() -> Iterator[Finding]:
    """Everything, in the order in which it is told."""
    versions = machine.versions()
    yield _python(sys.version_info[:2])
    yield from (_ok(name, version) for name, version in versions.items() if name != "python")
    yield _exporting(tuple(name for name in EXPORTING if not backend.installed(name)))
    yield _tensorflow(tuple(name for name in TENSORFLOW if not backend.installed(name)))
    if "keras" in versions:
        yield _keras(versions["keras"])
        yield _backend(backend.chosen())
    yield _bounds(versions, required())
    yield _ok("cores", str(machine.cores()))
    yield _memory(machine.memory_bytes())
    yield _memory(machine.available_bytes(), name="memory available now")
    yield _int8(machine.instructions(), machine.processor())
    yield _onnxruntime(versions)
    if "onnxruntime" in versions or "onnxruntime-gpu" in versions:
        yield _providers(gpu=NVIDIA_DRIVER.exists())


def _python(version: tuple[int, int]) -> Finding:
    text = ".".join(map(str, version))
    if version >= (3, 11):
        return _ok("python", text)
    return Finding(level=Level.BLOCKED, name="python", value=text, cure="install Python 3.11 or later")


def _exporting(absent: tuple[str, ...]) -> Finding:
    if not absent:
        return _ok("exporting", "every package is installed")
    return Finding(
        level=Level.BLOCKED,
        name="exporting",
        value=f"not installed: {', '.join(absent)}",
        cure="pip install 'kexport[cpu]', 'kexport[cuda]' with an NVIDIA GPU, or 'kexport[light]' without TensorFlow",
    )


def _tensorflow(absent: tuple[str, ...]) -> Finding:
    """What only TensorFlow writes; the rest of exporting does without."""
    name = "SavedModel, tf2onnx, TFLite converter"
    if not absent:
        return _ok(name, "every package is installed")
    return Finding(level=Level.WARNING, name=name, value=f"not installed: {', '.join(absent)}", cure=backend.INSTALL)


def _backend(name: str) -> Finding:
    if not backend.usable(name):
        return Finding(
            level=Level.BLOCKED, name="keras backend", value=f"{name}, {backend.lacking(name)}", cure=backend.EITHER
        )
    if name in backend.TAKEN:
        return _ok("keras backend", name)
    return Finding(
        level=Level.WARNING,
        name="keras backend",
        value=f"{name}, with which kexport's tests have not run",
        cure=backend.take(backend.TAKEN[0]),
    )


def _keras(version: str) -> Finding:
    if _parts(version) >= KERAS_AT_LEAST:
        return _ok("keras security fixes", "present")
    wanted = ".".join(map(str, KERAS_AT_LEAST))
    return Finding(
        level=Level.BLOCKED,
        name="keras security fixes",
        value=f"absent from {version}: a model file can run code",
        cure=f"pip install 'keras>={wanted}'",
    )


def required() -> dict[str, str]:
    """The lowest version of each package that kexport asks for: those that its tests have run with."""
    try:
        lines = metadata.requires("kexport") or []
    except metadata.PackageNotFoundError:  # run from a checkout
        return {}
    found = (re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\d.]+)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


def _bounds(versions: Mapping[str, str], lowest: Mapping[str, str]) -> Finding:
    old = [name for name, bound in lowest.items() if name in versions and _parts(versions[name]) < _parts(bound)]
    if not old:
        return _ok("package versions", "none is older than kexport's tests have run with")
    return Finding(
        level=Level.WARNING,
        name="package versions",
        value=", ".join(f"{name} {versions[name]} is older than {lowest[name]}" for name in old),
        cure="pip install " + " ".join(shlex.quote(f"{name}>={lowest[name]}") for name in old),
    )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _memory(usable: int, *, name: str = "memory") -> Finding:
    text = f"{usable / 2**30:.1f} GiB"
    if usable >= LITTLE_MEMORY_BYTES:
        return _ok(name, text)
    cure = "--jobs 1, and leave out the largest networks (kexport list models)"
    return Finding(level=Level.WARNING, name=name, value=text, cure=cure)


def _int8(instructions: tuple[str, ...], processor: str) -> Finding:
    good = machine.SUMS_OF_EIGHT_BITS & set(instructions)
    if good:
        return _ok("int8 instructions", ", ".join(sorted(good)))
    return Finding(
        level=Level.WARNING,
        name="int8 instructions",
        value=f"none ({processor}): int8 gains less time here, and ONNX files of --kernels full can saturate",
        cure="--kernels portable (what is written unless said) decides alike here; --schemes auto takes what is faster",
    )


def _onnxruntime(versions: Mapping[str, str]) -> Finding:
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if name in versions]
    if len(found) == 1:
        return _ok("onnx runtime package", found[0])
    if not found:
        cure = "pip install 'kexport[cpu]'"
        return Finding(level=Level.WARNING, name="onnx runtime package", value="none is installed", cure=cure)
    return Finding(
        level=Level.BLOCKED,
        name="onnx runtime package",
        value="onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
        cure="pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'kexport[cpu]'   (or 'kexport[cuda]')",
    )


def _providers(*, gpu: bool) -> Finding:
    name = "execution providers"
    machine.no_telemetry()
    try:
        import onnxruntime
    except ImportError as error:
        cure = "pip install --force-reinstall onnxruntime"
        return Finding(level=Level.BLOCKED, name=name, value=f"onnxruntime does not load: {error}", cure=cure)
    listed: list[str] = onnxruntime.get_available_providers()
    cuda = "CUDAExecutionProvider" in listed
    if cuda and not gpu:
        value = f"{', '.join(listed)}; but there is no NVIDIA driver, so CUDA would quietly become the CPU"
        return Finding(level=Level.WARNING, name=name, value=value, cure="install the driver, or 'kexport[cpu]'")
    if gpu and not cuda:
        value = f"{', '.join(listed)}; the NVIDIA GPU of this machine stays unused"
        cure = "pip uninstall -y onnxruntime && pip install 'kexport[cuda]'"
        return Finding(level=Level.WARNING, name=name, value=value, cure=cure)
    return _ok(name, ", ".join(listed))


def _ok(name: str, value: str) -> Finding:
    return Finding(level=Level.OK, name=name, value=value)


def _text(findings: tuple[Finding, ...]) -> str:
    width = max(len(item.name) for item in findings)
    lines = []
    for item in findings:
        lines.append(f"{item.level:<8}{item.name:<{width}}  {item.value}")
        if item.cure:
            lines.append(f"{'':<8}{'':<{width}}  cure: {item.cure}")
    return "\n".join(lines)
