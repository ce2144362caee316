"""Step behind the benchmark: files that are held to the time of the float32 file of the same run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kexport import store
from kexport.evidence import gates
from kexport.records import Record, Status
from kexport.specs import Cell, Scheme

Network = tuple[str, str, str]  # model, format, variant


def held(directory: Path, made: Mapping[Cell, Record]) -> tuple[Record, ...]:
    """The records, those over their bound withdrawn with their artifacts; the manifest has to be written after it."""
    measures = float32(tuple(made.values()))
    return tuple(_held(directory, cell, record, measures) for cell, record in made.items())


def float32(records: Sequence[Record]) -> dict[Network, Record]:
    """The float32 files, by what they have to share with those that are compared with them."""
    return {_network(record): record for record in records if record.scheme == Scheme.FLOAT32 and record.published}


def others(records: Sequence[Record]) -> Iterator[tuple[Record, Record | None]]:
    """Every published file of another scheme, and the float32 file of its network and format."""
    measures = float32(records)
    for record in records:
        if record.scheme != Scheme.FLOAT32 and record.published:
            yield record, measures.get(_network(record))


def _network(record: Record) -> Network:
    batch = record.variant.partition("batch")[2]
    return record.model, record.format, batch


def _held(directory: Path, cell: Cell, record: Record, measures: Mapping[Network, Record]) -> Record:
    if cell.max_latency_ratio is None or not record.published:
        return record
    compared = gates.beside_float32(record, measures.get(_network(record)))
    problem, told = gates.latency(cell.max_latency_ratio, compared)
    if not problem:
        return record
    status = Status.FAIL if told else Status.UNPROVEN
    judged = replace(record, status=status, reason=problem, hint=record.reproduce)
    if told:
        _withdraw(directory, cell, judged)
    else:
        store.write_record(directory, judged, cell.file_name)
    return judged


def _withdraw(directory: Path, cell: Cell, record: Record) -> None:
    """What a check says no to is not published: the artifact goes, and its record says why."""
    path = directory / cell.model.name / cell.file_name
    store.record_path(directory, record, cell.file_name).unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    store.write_failure(directory, cell, replace(record, artifact=None))
