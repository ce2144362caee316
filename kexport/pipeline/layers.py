"""The layers of a source, listed by a worker process: a model file is never loaded in the main one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kexport.errors import EnvironmentFailure, KexportError, UsageError
from kexport.pipeline.worker import LAYERS, Layers, PrepareRequest
from kexport.records import Status, decode, decode_as, encode
from kexport.sources.adapt.taps import LayerRow
from kexport.specs import ModelSpec

TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class _Place:
    """The files through which the worker is asked and answers."""

    folder: Path

    @property
    def asked(self) -> Path:
        return self.folder / "request.json"

    @property
    def answered(self) -> Path:
        return self.folder / "record.json"


def rows(model: ModelSpec, *, timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[LayerRow, ...]:
    """Every layer of ``model``; weights of an application are not needed. Raises what ended the worker."""
    with tempfile.TemporaryDirectory(prefix="kexport-") as folder:
        place = _Place(folder=Path(folder))
        place.asked.write_text(encode(PrepareRequest(model=model, folder=folder)))
        _run(place, model, timeout_seconds)
        record = decode(place.answered.read_bytes())
        if record.status is not Status.PASS:
            kinds = {kind.exit_code: kind for kind in (KexportError, UsageError, EnvironmentFailure)}
            raise kinds[record.exit_code](record.reason, hint=record.hint or None)
        found: Layers = decode_as(Layers, (place.folder / LAYERS).read_bytes())
    return found.rows


def _run(place: _Place, model: ModelSpec, timeout_seconds: float) -> None:
    command = [sys.executable, "-m", "kexport.pipeline.worker", "layers", str(place.asked), str(place.answered)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise KexportError(
            f"{model.source} was not loaded within {timeout_seconds:g} s", hint="kexport doctor (memory, cores)"
        ) from error
    if not place.answered.exists():
        tail = "\n".join(done.stderr.splitlines()[-3:])
        raise KexportError(
            f"the process that loads {model.source} ended with {done.returncode} and no result\n{tail}",
            hint="kexport doctor (memory, packages)",
        )
