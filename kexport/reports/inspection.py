"""What one artifact file says of itself, as tables that a terminal of 80 columns shows whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from kexport.evidence.artifact_file import CONTRACT, LABELS, ArtifactFile
from kexport.records import Artifact, Preprocessing, Record, Signature
from kexport.records.contents import Contents
from kexport.reports.fitting import Fitting

if TYPE_CHECKING:
    from rich.console import RenderableType

Rows = Iterable[tuple[str, ...]]
_KIB, _MIB = 2**10, 2**20
_LABELS_SHOWN = 3
_LONGEST_VERSION = 20
_MOST_VALUE = 200
_OWN = ("application", "source", "source_sha256", "weights_sha256")


def shown(found: ArtifactFile, *, layers: int) -> tuple[RenderableType, ...]:
    """The file, signature, precision, operators, contract, provenance, metadata, and its ``layers`` largest layers."""
    from rich.text import Text

    items: list[RenderableType] = []
    for title, table in _tables(found, layers):
        if table.rows:
            items += [Text(title, style="bold"), table, Text("")]
    rest = len(_sizes(found.contents)) - layers
    if rest > 0:
        items.append(Text(f"{rest} smaller layers with constants: --layers {rest + layers} shows all"))
    return tuple(items)


def _tables(found: ArtifactFile, layers: int) -> Iterator[tuple[str, Fitting]]:
    contents = found.contents
    borders = (*_signatures("input", contents.inputs, contents), *_signatures("output", contents.outputs, contents))
    yield found.path.name, _table(("", ""), _file(found))
    yield "Signature", _table(("", "name", "type", "shape", "stored as"), borders)
    yield "Precision", _table(("", "type", "how many"), _precision(contents), numbers=1)
    yield "Operators", _table(("operator", "count"), _counts(contents.operations), numbers=1)
    yield "Contract of an image", _table(("", ""), _contract(found))
    yield "Provenance", _table(("", ""), _provenance(found))
    yield "Metadata", _table(("entry", "bytes"), _metadata(contents), numbers=1)
    yield "Size by layer", _table(("layer", "size", "share"), _layers(contents, layers), numbers=2)


def _table(header: tuple[str, ...], rows: Rows, *, numbers: int = 0) -> Fitting:
    """A table without lines, whose last ``numbers`` columns are numbers."""
    count = len(header)
    numeric = tuple(place >= count - numbers for place in range(count))
    return Fitting(header=header, rows=tuple(rows), numeric=numeric, boxed=False)


def size(count: int) -> str:
    """Bytes as a person reads them."""
    if count < _KIB:
        return f"{count} B"
    return f"{count / _KIB:.1f} KiB" if count < _MIB else f"{count / _MIB:.2f} MiB"


def _file(found: ArtifactFile) -> Rows:
    opset = f", opset {found.contents.opset}" if found.contents.opset is not None else ""
    yield "format", f"{found.format}{opset}"
    yield "size", f"{size(found.size_bytes)} ({found.size_bytes} bytes)"
    yield "sha256", found.sha256
    yield "producer", found.contents.producer or "it does not say"
    yield from (("note", note) for note in found.notes)


def _signatures(kind: str, specs: Iterable[Signature], contents: Contents) -> Rows:
    for spec in specs:
        scale = contents.stored.get(spec.name)
        how = "" if scale is None else f"{scale[0]:.6g} * (q - {scale[1]})"
        end = contents.ends.get(spec.name, "") if kind == "output" else ""
        told = ", ".join(filter(None, (how, end and f"after a {end}"))) or "-"
        yield kind, spec.name, spec.dtype, "x".join("?" if axis is None else str(axis) for axis in spec.shape), told


def _precision(contents: Contents) -> Rows:
    sizes: Counter[str] = Counter()
    for weight in contents.weights:
        sizes[weight.dtype] += weight.size_bytes
    yield from (("constants", dtype, size(count)) for dtype, count in sizes.most_common() if dtype)
    for dtype, values in sorted(contents.values.items(), key=lambda item: -item[1]):
        yield "computed values", dtype, str(values)


def _counts(operations: Mapping[str, int]) -> Rows:
    for name, count in sorted(operations.items(), key=lambda item: (-item[1], item[0])):
        yield name, str(count)


def _contract(found: ArtifactFile) -> Rows:
    yield "from", found.contract_from
    if found.contract is not None:
        yield from _feeding(found.contract)
    yield "labels", found.labels_from
    if found.labels:
        first = ", ".join(found.labels[:_LABELS_SHOWN])
        yield "", f"{len(found.labels)}: {first}{', ...' if len(found.labels) > _LABELS_SHOWN else ''}"


def _feeding(contract: Preprocessing) -> Rows:
    yield "size", f"{contract.size[0]}x{contract.size[1]} {contract.channel_order}"
    shorter = f", shorter side to {contract.resize_shorter_side}" if contract.resize == "crop" else ""
    yield "resize", f"{contract.resize}{shorter} ({contract.resize_basis or 'basis not said'})"
    yield "values", f"{contract.mode} ({contract.range_basis or 'basis not said'})"
    yield "formula", f"(pixel * {contract.scale:.9g} - mean) / std"
    yield "mean", ", ".join(f"{value:g}" for value in contract.mean)
    yield "std", ", ".join(f"{value:g}" for value in contract.std)
    if contract.basis:
        yield "basis", contract.basis


def _provenance(found: ArtifactFile) -> Rows:
    for name in _OWN:
        value = found.contents.metadata.get(f"kexport.{name}")
        if value is not None:
            what, _, sha256 = name.partition("_")
            yield what if not sha256 else f"{what} sha", value
    if found.record is not None and found.record.artifact is not None:
        yield from _of_record(found.record, found.record.artifact)


def _of_record(record: Record, artifact: Artifact) -> Rows:
    yield "model", f"{record.model}, {record.kind}"
    yield "engine", f"{artifact.engine}{': ' * bool(artifact.engine_reason)}{artifact.engine_reason}"
    yield "status", f"{record.status}{': ' * bool(record.reason)}{record.reason}"
    if record.source is not None:
        yield "weights", record.source.weights
        yield "parameters", str(record.source.parameters)
    versions = ((name, version) for name, version in record.versions.items() if len(version) <= _LONGEST_VERSION)
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions)
    yield from (("note", note) for note in artifact.notes)


def _metadata(contents: Contents) -> Rows:
    sizes = {name: len(value.encode()) for name, value in contents.metadata.items()} | contents.others
    for name, count in sorted(sizes.items()):
        value = contents.metadata.get(name, "")
        told = value if name not in (CONTRACT, LABELS) and len(value) <= _MOST_VALUE else ""
        own = name.startswith("kexport.") or not told
        yield (name if own else f"{name}: {told}"), str(count)


def _sizes(contents: Contents) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for weight in contents.weights:
        sizes[weight.layer] += weight.size_bytes
    return sizes


def _layers(contents: Contents, most: int) -> Rows:
    sizes = _sizes(contents)
    total = sum(sizes.values()) or 1
    for name, count in sizes.most_common(most):
        yield name, size(count), f"{count / total:.1%}"
