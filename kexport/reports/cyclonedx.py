"""A bill of materials: every artifact as a machine learning model with its card, and the packages that made it.

CycloneDX 1.6 in JSON (https://cyclonedx.org/docs/1.6/json/), which the tests hold against the schema. Written here:
cyclonedx-python-lib 11 has no model card. No times: the same records give the same bill.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from kexport.records import Record
from kexport.version import __version__

SPEC = "1.6"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/kexport/kexport")


def render(records: Sequence[Record]) -> str:
    """The bill of all artifacts that have their place."""
    made = [record for record in records if record.artifact is not None and record.published]
    packages = {name: version for record in made for name, version in record.versions.items() if _is_package(name)}
    components = [*map(_model, made), *(_package(name, packages[name]) for name in sorted(packages))]
    serial = uuid.uuid5(_NAMESPACE, json.dumps(components, sort_keys=True))
    bill = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"tools": {"components": [{"type": "application", "name": "kexport", "version": __version__}]}},
        "components": components,
        "dependencies": [{"ref": _ref(record), "dependsOn": _made_with(record)} for record in made],
    }
    return json.dumps(bill, indent=2, sort_keys=True) + "\n"


def _is_package(name: str) -> bool:
    """Whether a version in a record is a package's: it also has Python's, and the digest of the request."""
    return name not in ("python", "request")


def _ref(record: Record) -> str:
    assert record.artifact is not None
    return f"artifact:{record.artifact.path}"


def _package_ref(name: str, version: str) -> str:
    return f"pkg:pypi/{name.lower()}@{version}"


def _made_with(record: Record) -> list[str]:
    return sorted(_package_ref(name, version) for name, version in record.versions.items() if _is_package(name))


def _package(name: str, version: str) -> dict[str, Any]:
    ref = _package_ref(name, version)
    return {"type": "library", "name": name, "version": version, "purl": ref, "bom-ref": ref}


def _model(record: Record) -> dict[str, Any]:
    artifact = record.artifact
    assert artifact is not None
    return {
        "type": "machine-learning-model",
        "bom-ref": _ref(record),
        "name": record.model,
        "version": f"{record.format} {record.kind}",
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
        "modelCard": {
            "modelParameters": _parameters(record),
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(record))},
        },
        "properties": [{"name": f"kexport:{name}", "value": value} for name, value in _properties(record)],
    }


def _parameters(record: Record) -> dict[str, Any]:
    """What goes in and comes out, and whose architecture it is."""
    artifact, facts = record.artifact, record.source
    assert artifact is not None
    return {
        "modelArchitecture": facts.application or facts.source if facts else record.model,
        "inputs": [{"format": f"{each.dtype} {_shape(each.shape)}"} for each in artifact.inputs],
        "outputs": [{"format": f"{each.dtype} {_shape(each.shape)}"} for each in artifact.outputs],
    }


def _shape(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def _metrics(record: Record) -> Iterator[dict[str, str]]:
    for check in record.parity.checks if record.parity else ():
        yield {"type": check.name, "value": f"{check.value:g}", "slice": f"bound {check.bound:g}"}


def _properties(record: Record) -> Iterator[tuple[str, str]]:
    """The rest that tells where the file comes from, in order."""
    artifact, facts = record.artifact, record.source
    assert artifact is not None
    yield "path", artifact.path
    yield "status", record.status
    yield "engine", artifact.engine
    if facts is not None:
        yield "weights", facts.weights
        yield "weights-sha256", facts.weights_sha256
    if record.reproduce:
        yield "command", record.reproduce
    if record.provenance is not None:
        yield "provenance", json.dumps(record.provenance, sort_keys=True)
