"""How to measure: what was asked for, over what a published protocol says, over what is usual."""

from __future__ import annotations

from dataclasses import dataclass

from kexport import machine
from kexport.errors import UnknownNameError, UsageError
from kexport.evidence.benchmark import BenchSettings
from kexport.runtimes import DEFAULT_DEVICE, registry

MOST_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A published way to measure; ``source`` says where. Sampling ends after ``max_seconds`` at the latest."""

    batch: int
    repetitions: int
    warmup: int
    max_seconds: float
    source: str


PROTOCOLS = {
    "keras.io": Protocol(
        batch=32,
        repetitions=300,
        warmup=1,
        max_seconds=6 * 3600.0,
        source="https://keras.io/api/applications/: the average of 30 batches and 10 repetitions, batch size 32",
    ),
}


def settings_of(
    protocol: str | None = None,
    *,
    batches: str | None = None,
    device: str = DEFAULT_DEVICE,
    threads: int | None = None,
    repetitions: int | None = None,
    warmup: int | None = None,
    profile: bool = False,
) -> tuple[BenchSettings, ...]:
    """One value for each batch. Raises UsageError for what cannot be measured here."""
    known_devices = dict.fromkeys(name for kind in registry().values() for name in kind.devices)
    if device not in known_devices:
        raise UnknownNameError(kind="device", value=device, legal=known_devices, hint="kexport list runtimes")
    if profile and not device.startswith(DEFAULT_DEVICE):
        raise UsageError(
            f"--profile on device {device}: a runtime tells there when it started an operator, not how long it ran",
            hint=f"--device {DEFAULT_DEVICE} --profile",
        )
    if protocol is not None and protocol not in PROTOCOLS:
        raise UnknownNameError(kind="protocol", value=protocol, legal=PROTOCOLS, hint="--protocol keras.io")
    known = PROTOCOLS.get(protocol or "")
    usual = BenchSettings(threads=threads_of(threads), device=device)
    return tuple(
        BenchSettings(
            device=device,
            threads=usual.threads,
            batch=batch,
            repetitions=_first(repetitions, known.repetitions if known else None, usual.repetitions),
            warmup=_first(warmup, known.warmup if known else None, usual.warmup),
            max_seconds=known.max_seconds if known else usual.max_seconds,
            profile=profile,
        )
        for batch in _batches(batches, known.batch if known else usual.batch)
    )


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def threads_of(asked: int | None, option: str = "--threads") -> int:
    """At most as many as there are cores: more of them measure how the system switches between threads.

    Raises UsageError for more.
    """
    cores = machine.cores()
    if asked is not None and not 1 <= asked <= cores:
        raise UsageError(f"{option} {asked}: expected 1 to {cores}, the usable cores here", hint=f"{option} {cores}")
    return cores if asked is None else asked


def _batches(text: str | None, usual: int) -> tuple[int, ...]:
    if text is None:
        return (usual,)
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 1 <= int(word) <= MOST_BATCH for word in words):
        raise UsageError(
            f"--batch {text!r}: expected numbers from 1 to {MOST_BATCH}, with commas between", hint="--batch 1,8,32"
        )
    return tuple(dict.fromkeys(map(int, words)))
