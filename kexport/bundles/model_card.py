"""``MODEL_CARD.md``: what is known of the artifact, every figure from its record, and what was not measured."""

from __future__ import annotations

from collections.abc import Iterator

from kexport.bundles.deployment import Deployment
from kexport.evidence.latency import summarize
from kexport.machine import KERAS
from kexport.records import AccuracyRecord, Basis, ParityRecord, Record, Score
from kexport.reports.md import escape

_SHOWN_LAYERS = 12


def text(deployment: Deployment) -> str:
    """The card, one section for each kind of evidence."""
    record = deployment.record
    sections = {"What it is": tuple(_identity(deployment)), "How it is fed": tuple(_feeding(deployment))}
    if record is not None:
        sections |= _evidence(record)
    return f"# {escape(deployment.title)}\n\n" + "\n".join(_section(title, lines) for title, lines in sections.items())


def _evidence(record: Record) -> dict[str, tuple[str, ...]]:
    return {
        "Accuracy": tuple(_accuracy(record.accuracy)),
        "Against Keras": tuple(_parity(record, record.parity)),
        "Latency": tuple(_latency(record)),
        "What stayed in float": tuple(_float(record)),
    }


def _section(title: str, lines: tuple[str, ...]) -> str:
    return f"## {title}\n\n" + "".join(f"* {escape(line)}\n" for line in lines)


def _identity(deployment: Deployment) -> Iterator[str]:
    record, facts = deployment.record, deployment.facts
    yield f"file: {deployment.format} {deployment.scheme}, {deployment.file.size_bytes:,} bytes"
    yield f"sha256 of the file: `{deployment.file.sha256}`"
    yield f"classes: {_classes(deployment)}"
    if record is None or facts is None:
        yield "**no record lies beside the file: what it was made from, its proof and its accuracy are not known here**"
        return
    yield f"model: {facts.application or facts.source.rpartition('/')[2]}, {facts.parameters:,} parameters"
    yield f"weights: {deployment.weights}, sha256 `{facts.weights_sha256}`"
    if record.artifact is not None:
        yield f"written by: {record.artifact.engine} ({record.artifact.engine_reason})"
    yield f"status in its record: {record.status}{_because(record.reason)}"


def _classes(deployment: Deployment) -> str:
    if deployment.labels:
        return f"{len(deployment.labels)}, names: {deployment.file.labels_from}"
    return f"{deployment.classes or 'none'}, without names"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _feeding(deployment: Deployment) -> Iterator[str]:
    contract = deployment.contract
    yield (
        f"size {contract.size[0]}x{contract.size[1]}, {contract.channel_order}, (pixel * {contract.scale:.8g} - mean) "
        f"/ std with mean {_numbers(contract.mean)} and std {_numbers(contract.std)}"
    )
    yield f"resize: {contract.resize}{_assumed(contract.resize_basis)}"
    yield f"range: {contract.mode}{_assumed(contract.range_basis)}"


def _assumed(basis: Basis | None) -> str:
    return {Basis.STATED: " (stated)", Basis.READ: " (read from the model)"}.get(
        basis or Basis.ASSUMED, " (assumed: nothing says it)"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.7g}" for value in values)


def _accuracy(accuracy: AccuracyRecord | None) -> Iterator[str]:
    if accuracy is None:
        yield "not measured: kexport export MODEL --eval FOLDER"
        return
    yield from (f"**{caveat}**" for caveat in accuracy.caveats)
    if accuracy.scores:
        yield from (f"{_score(score)} on {accuracy.images} images" for score in accuracy.scores)
        return
    agreement = "none to tell" if accuracy.top1_agreement is None else f"{accuracy.top1_agreement:.4f}"
    if accuracy.top1 is None or accuracy.keras_top1 is None:
        yield f"top-1 agreement with Keras {agreement} on {accuracy.images} images without labels"
        return
    yield f"top-1 {100 * accuracy.top1:.2f} % on {accuracy.images} images; Keras on the same {_percent(accuracy)}"
    yield (
        f"drop {accuracy.top1_drop_points:+.2f} points, 95 % interval {accuracy.low_points:+.2f} to "
        f"{accuracy.high_points:+.2f}; agreement with Keras {agreement}"
    )
    if accuracy.overlap:
        yield f"{accuracy.overlap} of the images are in the calibration set too: accuracy is flattered"


def _score(score: Score) -> str:
    """One figure with its unit, and Keras's."""
    value = f"{score.name} {score.value:.4g} {score.unit}".rstrip()
    keras = "" if score.keras is None else f", Keras {score.keras:.4g} {score.unit}".rstrip()
    return f"{value}{keras}, drop {score.drop:+.4g} {score.drop_unit}"


def _percent(accuracy: AccuracyRecord) -> str:
    assert accuracy.keras_top1 is not None
    return f"{100 * accuracy.keras_top1:.2f} %"


def _parity(record: Record, parity: ParityRecord | None) -> Iterator[str]:
    if parity is None:
        yield "not compared"
        return
    yield f"compared on {parity.samples} inputs, {parity.effective}"
    for check in parity.checks:
        yield f"{check.name}: {check.value:.4g}, bound {check.bound:.4g}: {'held' if check.passed else 'not held'}"
    versions = ", ".join(f"{name} {record.versions[name]}" for name in KERAS if name in record.versions)
    if versions:
        yield f"with {versions}"


def _latency(record: Record) -> Iterator[str]:
    measured = [session for session in record.benchmarks if session.samples_seconds and session.runtime != "keras"]
    for session in measured:
        found = summarize(session.samples_seconds, batch=session.batch)
        noise = f"; **not to be trusted: {', '.join(found.noise)}**" if found.noisy else ""
        yield (
            f"{1000 * found.median_seconds:.3g} ms (95 % interval {1000 * found.low_seconds:.3g} to "
            f"{1000 * found.high_seconds:.3g}), batch {session.batch}, {session.threads} threads, {session.effective}, "
            f"{session.machine.get('processor', 'an unnamed processor')}{noise}"
        )
    if not measured:
        yield "not measured: kexport bench ARTIFACT"


def _float(record: Record) -> Iterator[str]:
    found = record.quantization
    if found is None:
        yield "nothing was quantized with a plan"
        return
    yield f"{found.int8_layers} layers are int8, {len(found.float_layers)} with weights stayed in float32"
    yield from (f"`{name}`" for name in found.float_layers[:_SHOWN_LAYERS])
    if len(found.float_layers) > _SHOWN_LAYERS:
        yield f"and {len(found.float_layers) - _SHOWN_LAYERS} more: record.json names them"
    yield f"calibration: {found.images} images ({found.kind}){'' if found.fit_to_deploy else ': NOT FIT TO DEPLOY'}"
    yield from found.notes
