"""Where an artifact comes from, as an in-toto statement with SLSA's predicate of provenance.

Sources: in-toto Statement v1 (https://github.com/in-toto/attestation, spec/v1/statement.md) and SLSA provenance v1
(https://slsa.dev/spec/v1.0/provenance). It has no times and no machine, so that the same request states the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kexport.records import Artifact, QuantizationRecord, SourceFacts
from kexport.version import __version__

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
PROJECT = "https://github.com/kexport/kexport"
BUILD_TYPE = f"{PROJECT}/export/v1"


def statement(
    artifact: Artifact,
    facts: SourceFacts,
    *,
    command: str,
    versions: Mapping[str, str],
    quantized: QuantizationRecord | None = None,
) -> dict[str, Any]:
    """The statement about one artifact: the command, what it was made from with digests, and who made it.

    The digest of a folder is that of its listing, as the manifest has it.
    """
    return {
        "_type": STATEMENT,
        "subject": [{"name": artifact.path, "digest": {"sha256": artifact.sha256}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "command": command,
                    "model": facts.application or facts.source,
                    "weights": facts.weights,
                    "format": artifact.format,
                    "scheme": artifact.scheme,
                },
                "internalParameters": {"engine": artifact.engine, "opset": artifact.opset},
                "resolvedDependencies": [*_parents(facts, quantized), *_packages(versions)],
            },
            "runDetails": {"builder": {"id": PROJECT, "version": {"kexport": __version__}}},
        },
    }


def _parents(facts: SourceFacts, quantized: QuantizationRecord | None) -> Iterator[dict[str, Any]]:
    """What the artifact was made from, each with its sha256."""
    yield {"name": "weights", "digest": {"sha256": facts.weights_sha256}}
    if facts.weights_file is not None:
        yield {"uri": facts.weights_file.url, "digest": {"sha256": facts.weights_file.sha256}}
    if facts.source_sha256:
        yield {"name": "model", "digest": {"sha256": facts.source_sha256}}
    if quantized is not None and quantized.calibration_sha256:
        yield {"name": "calibration", "digest": {"sha256": quantized.calibration_sha256}}


def _packages(versions: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Packages by package URL; what kexport notes beside them under a name of its own is none."""
    for name, version in sorted(versions.items()):
        if name not in {"request", "python"} and " " not in version:
            yield {"uri": f"pkg:pypi/{name}@{version}"}
