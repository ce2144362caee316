"""Artifacts that nothing is written beside: lone files, files of other makers, folders that cannot be written.

They are measured and compared where they lie, and the records only come back. Parity needs the record beside the file,
which says what it was made from; its place is rebuilt in a folder of links that is gone afterwards.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kexport import files, runtimes, store
from kexport.errors import StoreError, UsageError
from kexport.evidence import artifact_file
from kexport.evidence.artifact_file import ArtifactFile
from kexport.evidence.benchmark import BenchRequest, BenchSettings, environment
from kexport.evidence.versus import Versus, VersusRequest
from kexport.pipeline.ask import ask
from kexport.pipeline.measuring import PREPARING_SECONDS, alone
from kexport.records import Artifact, Record, Status
from kexport.registry import Format
from kexport.store import references

Recheck = Callable[[Path, Collection[str]], tuple[Record, ...]]


def is_artifact(path: Path) -> bool:
    """Whether a path is one artifact by its name, or by what lies in the folder."""
    named = any(path.name.lower().endswith(form.suffix) for form in Format)
    return named or any(form.marker and (path / form.marker).is_file() for form in Format)


def apart(paths: Iterable[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The paths in artifact directories that can be written, and the artifacts that nothing is written beside."""
    stored: list[Path] = []
    lone: list[Path] = []
    for path in paths:
        directory = _directory(path)
        if directory is None:
            (lone if is_artifact(path) else stored).append(path)  # what is neither is refused with the stored ones
        elif _writable(directory):
            stored.append(path)
        else:
            lone += [path] if is_artifact(path) else _artifacts(path)
    return tuple(stored), tuple(dict.fromkeys(lone))


def _directory(path: Path) -> Path | None:
    """The artifact directory that a path is, or lies in with a record of its own."""
    for candidate in (path, path.parent, path.parent.parent):
        if (candidate / store.MANIFEST).is_file():
            beside = path.with_name(f"{path.name}.json").is_file()
            return candidate if beside or not is_artifact(path) else None
    return None


def _writable(directory: Path) -> bool:
    try:
        files.prepare(directory, needed_bytes=0)
    except (StoreError, UsageError):
        return False
    return True


def _artifacts(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if is_artifact(path)]


def measured(path: Path, settings: BenchSettings) -> Record:
    """The latency of one artifact alone, in a record that is not written. Raises as `alone` and the reader do."""
    found = artifact_file.read(path)
    sample = alone(_request(found, settings))
    record = _record(found) if found.record is None else found.record
    return replace(record, benchmarks=(sample,))


def versus(first: Path, second: Path, settings: BenchSettings) -> Versus:
    """Both artifacts by turns in one process."""
    request = VersusRequest(
        first=_request(artifact_file.read(first), settings), second=_request(artifact_file.read(second), settings)
    )
    rows = {each.settings.batch for each in (request.first, request.second)}
    assert len(rows) == 1
    answer: Versus = ask(
        "versus", request, what=f"{request.first.label} against {request.second.label}",
        timeout_seconds=PREPARING_SECONDS + 4 * settings.max_seconds,
        environment=environment(settings),
    )  # fmt: skip
    return answer


def _request(found: ArtifactFile, settings: BenchSettings) -> BenchRequest:
    low, high = _range(found)
    fixed = runtimes.static_batch(found.contents.inputs)
    return BenchRequest(
        runtime=runtimes.for_format(found.format).name, path=str(found.path),
        settings=replace(settings, batch=fixed or settings.batch), low=low, high=high,
    )  # fmt: skip


def _range(found: ArtifactFile) -> tuple[float, float]:
    """The range of the input, from the record or the contract; of nothing known, pixels or -1 to 1."""
    if found.record is not None and found.record.source is not None and found.record.source.input_range:
        return found.record.source.input_range
    contract = found.contract
    if contract is not None:
        ends = [
            (p * contract.scale - m) / s for p in (0, 255) for m, s in zip(contract.mean, contract.std, strict=True)
        ]
        return min(ends), max(ends)
    return (0.0, 255.0) if found.contents.inputs and found.contents.inputs[0].dtype == "uint8" else (-1.0, 1.0)


def _record(found: ArtifactFile) -> Record:
    """What can be said of a file without its record."""
    types = {weight.dtype for weight in found.contents.weights}
    scheme = next((dtype for dtype in ("int8", "uint8", "float16", "float32") if dtype in types), "unknown")
    return Record(
        model=found.path.name, format=found.format, scheme=scheme, status=Status.UNPROVEN,
        reason="no record beside the file: measured, and compared with nothing",
        artifact=Artifact(
            path=found.path.name, format=found.format, scheme=scheme, size_bytes=found.size_bytes, sha256=found.sha256,
            engine=found.contents.producer or "unknown", engine_reason="", operations=found.contents.operations,
            inputs=found.contents.inputs, outputs=found.contents.outputs, opset=found.contents.opset,
        ),
    )  # fmt: skip


def rechecked(paths: Sequence[Path], recheck: Recheck, trusted: Collection[str]) -> Iterator[Record]:
    """Each artifact compared with Keras again, in a folder of links; its own place is left as it is.

    Raises UsageError for one without its record: nothing says then what it should compute.
    """
    for path in paths:
        found = artifact_file.read(path)
        if found.record is None or found.record.artifact is None:
            raise UsageError(
                f"{path}: {found.notes[-1] if found.notes else 'no record'}; parity needs what it was made from",
                hint=f"kexport inspect {path}",
            )
        with tempfile.TemporaryDirectory(prefix="kexport-lone-") as folder:
            place = Path(folder) / found.record.artifact.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())
            shutil.copyfile(path.with_name(f"{path.name}.json"), place.with_name(f"{place.name}.json"))
            for kind in references.Kind:
                name = references.name_of(found.record, kind)
                if name is not None and path.with_name(name).is_file():
                    shutil.copyfile(path.with_name(name), place.with_name(name))
            store.write_manifest(Path(folder))
            yield from recheck(place, trusted)
