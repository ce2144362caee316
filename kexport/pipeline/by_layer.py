"""Where a file begins to differ from Keras: each in a process of its own, from what was stored of Keras's layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kexport import files, machine, store
from kexport.errors import StoreError, UsageError
from kexport.evidence import artifact_file
from kexport.evidence.by_layer import ByLayer
from kexport.pipeline import kept, lone, reproduction
from kexport.pipeline.artifacts import by_directory
from kexport.pipeline.ask import ask
from kexport.pipeline.events import Event, Observer
from kexport.pipeline.kept import Kept
from kexport.pipeline.runners.jobs import Progress
from kexport.pipeline.tasks.by_layer import ByLayerRequest
from kexport.pipeline.workspace import workspace
from kexport.records import LayerNoise, LayersRecord, Record
from kexport.registry import Engine
from kexport.sources import stored
from kexport.specs import Format

SHOWN = ("onnx", "tflite")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question, and the record that the answer belongs to; None where nothing can be written."""

    request: ByLayerRequest
    directory: Path | None = None
    record: Record | None = None


def by_layer(
    paths: Sequence[Path], observer: Observer, *, reference: Path | None = None, reproduce: Path | None = None
) -> tuple[ByLayer, ...]:
    """Every ONNX and TFLite artifact that ``paths`` name; with a ``reference`` the files themselves, of any maker.

    What was found of an artifact in a folder that can be written goes into its record, unless the file was changed.
    What shows the first difference again goes into a folder of the artifact's name in ``reproduce``.

    Raises UsageError where there is nothing to compare, StoreError where nothing was stored of Keras's layers.
    """
    asked = [_Asked(request=_alone(path, reference)) for path in paths] if reference else list(_stored(paths))
    if not asked:
        raise UsageError(
            f"{', '.join(map(str, paths))}: no ONNX or TFLite artifact, and only those show inner values",
            hint="kexport export MODEL --formats onnx,tflite",
        )
    found = tuple(_answer(each.request, observer) for each in asked)
    for each, answer in zip(asked, found, strict=True):
        if reproduce is not None:
            reproduction.write(each.request, answer, reproduce / Path(answer.artifact).name)
    _keep([(each, answer) for each, answer in zip(asked, found, strict=True) if each.record and not answer.notes])
    return found


def _keep(judged: Sequence[tuple[_Asked, ByLayer]]) -> None:
    """Into the records, directory by directory."""
    for directory in dict.fromkeys(each.directory for each, _ in judged):
        assert directory is not None
        here = [(each.record, answer) for each, answer in judged if each.directory == directory and each.record]
        with workspace(directory):
            for record, answer in here:
                store.write_record(directory, replace(record, by_layer=_kept(answer)), Path(answer.artifact).name)
            store.write_manifest(directory, only=[answer.artifact for _, answer in here])


def _kept(found: ByLayer) -> LayersRecord:
    begins = {each.layer: blamed for each, blamed in zip(found.roots, found.first, strict=True)}
    noises = (
        LayerNoise(layer=each.layer, sqnr_db=each.sqnr_db, added=each.added, begins=begins.get(each.layer, ""))
        for each in found.layers
    )
    return LayersRecord(tolerance_db=found.tolerance_db, layers=tuple(noises))


def _answer(request: ByLayerRequest, observer: Observer) -> ByLayer:
    def tell(progress: Progress) -> None:
        observer.observe(
            Event(
                label=request.artifact,
                step=progress.step,
                seconds=progress.seconds,
                memory_bytes=progress.memory_bytes,
            )
        )

    found: ByLayer = ask("by_layer", request, what=f"the layers of {request.artifact}", tell=tell)
    return found


def _stored(paths: Sequence[Path]) -> Iterator[_Asked]:
    stored_ones, alone = lone.apart(paths)
    for directory, records in by_directory(stored_ones):
        for record in records:
            if record.artifact is not None and record.format in SHOWN:
                path = directory / record.artifact.path
                request = _request(path, record, kept.of(directory, record))
                yield _Asked(request=request, directory=directory, record=record)
    for path in alone:
        found = artifact_file.read(path).record or artifact_file.beside(path)
        if found is None:
            raise UsageError(
                f"{path}: no whole record lies beside it, so nothing says which answers of Keras are its: expected "
                f"{path.name}.json, or those answers",
                hint=f"kexport parity {path} --by-layer --reference MODEL-reference-0123456789ab.npz",
            )
        if found.format in SHOWN:
            yield _Asked(request=_request(path, found, kept.beside(path, found)))


def _request(path: Path, record: Record, known: Kept | None) -> ByLayerRequest:
    assert record.artifact is not None
    if known is None or not stored.header(known.reference).layers:
        raise StoreError(
            f"{record.artifact.path}: nothing is stored of what Keras's layers gave",
            hint=f"kexport parity --with-keras {path}, then again",
        )
    if not path.is_file():
        raise UsageError(f"{path} is missing", hint=record.again)
    try:
        limit = max(record.artifact.size_bytes, files.SOME_BYTES)
        changed = files.file_digest(path, limit_bytes=limit) != record.artifact.sha256
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", hint="kexport verify DIR") from error
    return ByLayerRequest(
        path=str(path),
        artifact=record.artifact.path,
        format=record.format,
        scheme=record.scheme,
        reference=str(known.reference),
        facts=known.facts,
        own=record.artifact.engine == Engine.NATIVE,
        note="the file was changed since its record was written" if changed else "",
        threads=machine.cores(),
    )


def _alone(path: Path, reference: Path) -> ByLayerRequest:
    """A file of any maker. Its weights cannot be told from here: that they are those of the reference is the user's."""
    form = next((form for form in Format if str(form) in SHOWN and path.suffix == form.suffix), None)
    if form is None or not path.is_file():
        raise UsageError(f"{path}: expected an ONNX or TFLite file beside --reference", hint="kexport parity --help")
    if not stored.header(reference).layers:
        raise UsageError(f"{reference} holds nothing of Keras's layers", hint="kexport parity --with-keras DIR")
    return ByLayerRequest(
        path=str(path), artifact=path.name, format=str(form), scheme="float32", reference=str(reference), own=False,
        threads=machine.cores(),
    )  # fmt: skip
