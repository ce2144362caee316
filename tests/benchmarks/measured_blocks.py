"""The committed measurements as tables. A missing measurement is said, never left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness import MAX_LATENCY_RATIO, MAX_MEMORY_RATIO, MIN_TIME_RATIO, Exported
from md_text import table

from kexport.reports.md import escape
from kexport.sources.catalog import APPLICATIONS
from kexport.specs import Format

Json = dict[str, Any]
NONE = "-"
RUNTIMES = {"keras": "Keras", "onnxruntime": "ONNX Runtime", "litert": "LiteRT", "savedmodel": "SavedModel"}
MAX_EXPORT_SECONDS = 1.5
EXPORT_MODELS = ("ResNet50", "InceptionResNetV2", "NASNetMobile")
MAX_PIPELINE_SECONDS = 600
MAIN_JOB = "onnx,tflite"
MAIN_JOB_CELLS = 2 * len(APPLICATIONS)
BAR = ("what", "needed", "measured", "")
HIGHLIGHTS = {
    "applications whose onnx": "float32-forty",
    "`kexport all": "runs",
    "ONNX against Keras's own export: export": "export-vs-peers",
    "TFLite against TFLiteConverter: export": "tflite-vs-converter",
    "int8 of MobileNetV3Small: top-1": "int8-vs-peers",
    "int8 of MobileNetV2: times faster": "int8-vs-peers",
    "int8 files that reach": "int8-forty",
}
"""How rows of the bar begin that README shows, and the document in ``parity/`` with their measurements."""


def absent(how: str) -> str:
    """What stands where nothing has been measured."""
    return f"Not measured yet. `python tests/benchmarks/tables.py {how}` fills this in."


def machine_line(facts: Mapping[str, str]) -> str:
    """The machine in one line."""
    packages = ("keras", "tensorflow", "onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "tf2onnx")
    versions = [f"{name} {facts[f'version {name}']}" for name in packages if f"version {name}" in facts]
    where = f"{facts.get('processor', '?')}, {facts.get('cores', '?')} cores, {facts.get('memory_gib', '?')} GiB"
    return escape(f"Measured on {where}: {', '.join(versions)}.")


def forty(data: Json) -> str:
    """One row per model: size, the largest error of each format, median latency of each runtime."""
    cells = {(cell["model"], cell["format"]): cell for cell in data["cells"]}
    medians = {(s["model"], s["runtime"]): s for s in data["sessions"] if s["device"] == "cpu"}
    header = (
        "model", "ONNX MB", "TFLite MB", "ONNX error / signal", "TFLite error / signal",
        "Keras ms", "ONNX Runtime ms", "LiteRT ms",
    )  # fmt: skip
    rows = [
        (
            model,
            *(_megabytes(cells.get((model, form))) for form in ("onnx", "tflite")),
            *(_error(cells.get((model, form))) for form in ("onnx", "tflite")),
            *(_median(medians.get((model, name))) for name in ("keras", "onnxruntime", "litert")),
        )
        for model in sorted({cell["model"] for cell in data["cells"]})
    ]
    return f"{_conditions(data)}\n\n{table(header, rows, text_columns=1)}{_noise(data['sessions'])}"


def full_report(data: Json) -> str:
    """Every figure of every cell and session, as a document."""
    parity = (
        "model", "format", "engine", "status", "MB", "parameters", "inputs", "max logits error", "error / signal",
        "SQNR dB", "top-1 agreement", "seconds", "peak MiB",
    )  # fmt: skip
    latency = (
        "model", "format", "runtime", "what ran", "threads", "batch", "median ms", "interval ms", "p90 ms", "p99 ms",
        "peak MiB", "samples",
    )  # fmt: skip
    sections = [
        "# All Keras Applications in float32",
        "Made from `float32-forty.json` by `python tests/benchmarks/tables.py`. How to read it: [README](README.md).",
        "Error / signal is the largest error of the logits over the spread that Keras's logits have between inputs.",
        forty(data),
        "## Parity\n\n" + table(parity, map(_parity_row, data["cells"]), text_columns=4),
    ]
    if data["sessions"]:
        rows = table(latency, map(_latency_row, data["sessions"]), text_columns=4)
        sections.append(f"## Latency\n\n{rows}{_noise(data['sessions'])}")
    notes = [f"* {c['model']} {c['format']}: {escape(note)}" for c in data["cells"] for note in _left_out(c)]
    if notes:
        sections.append("## Operators that no delegate takes\n\n" + "\n".join(notes))
    return "\n\n".join(sections) + "\n"


def runs(data: Json | None) -> str:
    """One row per whole run of `kexport all`."""
    if not data:
        return absent("--run FORMATS=LOG")
    rows = [
        (f"`kexport all --formats {formats}`", run["summary"], _duration(run["wall_seconds"]), f"{run['peak_gib']:.2f}")
        for formats, run in sorted(data.items())
    ]
    header = ("run", "cells", "wall time", "peak memory of any process, GiB")
    first = next(iter(data.values()))
    return f"{machine_line(first['machine'])}\n\n{table(header, rows, text_columns=2)}"


def comparison(data: Json | None, option: str) -> str:
    """One row per model of a peer comparison: ``kexport | peer``."""
    if data is None:
        return absent(f"{option} FILE")
    header = (
        "model", "export s", "peer's s", "times faster", "above imports / weights", "peer's",
        "added to the model / weights", "peer's",
        "MB", "peer's MB", "latency ms", "peer's ms", "ratio", "verdict",
    )  # fmt: skip
    return f"{machine_line(data['machine'])}\n\n{table(header, map(_peer_row, data['rows']), text_columns=1)}"


def bar(rows: Sequence[Sequence[str]]) -> str:
    """What this version set out to reach, what it reaches, and whether that is enough."""
    return table(BAR, rows, text_columns=4)


def highlights(rows: Sequence[Sequence[str]]) -> str:
    """The rows of the bar that a newcomer asks for, each with its measurement, and how many rows are missed."""
    chosen = [
        (what, needed, measured, f"[{verdict or NONE}](parity/{name}.md)")
        for start, name in HIGHLIGHTS.items()
        for what, needed, measured, verdict in rows
        if what.startswith(start)
    ]
    missed = sum("missed" in row[-1] for row in rows)
    told = f"[The bar](parity/bar.md) has all {len(rows)} rows; {missed} of them are missed, and say so."
    return f"{table(BAR, chosen, text_columns=4)}\n\n{told}"


def bar_rows(
    forty_data: Json | None,
    peers: Json | None,
    tflite: Json | None,
    run_data: Json | None,
    *,
    more: Iterable[Sequence[str]] = (),
) -> list[Sequence[str]]:
    """One row per thing that this version set out to reach; ``more`` rows follow."""
    return [
        *(_parity_bar(forty_data, form) for form in Format),
        *_comparison_bar("ONNX against Keras's own export", peers),
        *_comparison_bar("TFLite against TFLiteConverter", tflite),
        *_seconds_bar(peers),
        _pipeline_bar(run_data),
        *more,
    ]


def _judged(what: str, needed: str, measured: str, *, met: bool) -> tuple[str, str, str, str]:
    return what, needed, measured, "met" if met else "**missed**"


def _unmeasured(what: str, needed: str) -> tuple[str, str, str, str]:
    return what, needed, "not measured yet", ""


def _parity_bar(data: Json | None, form: Format) -> tuple[str, str, str, str]:
    count = len(APPLICATIONS)
    what, needed = f"applications whose {form} file matches Keras", f"{count} of {count}"
    cells = [cell for cell in data["cells"] if cell["format"] == form] if data else []
    if not cells:
        return _unmeasured(what, needed)
    passed = sum(cell["status"] == "PASS" for cell in cells)
    return _judged(what, needed, f"{passed} of {len(cells)}", met=passed == count == len(cells))


def _comparison_bar(what: str, data: Json | None) -> Iterator[tuple[str, str, str, str]]:
    """Worst figure over the models, by the bounds of the comparison; a model without a usable peer is counted."""
    rows = data["rows"] if data else []
    speed = [(_ratio(r), r["model"]) for r in rows if _both(r)]
    memory = [(float(r.get("memory_ratio", math.nan)), r["model"]) for r in rows]
    export = [(1 + float(r.get("added_ratio", math.nan)), r["model"]) for r in rows]
    latency = [(float(r["latency_ratio"]), r["model"]) for r in rows if "latency_ratio" in r]
    yield _worst(f"{what}: export, times faster", f"at least {MIN_TIME_RATIO:g}", speed, least=MIN_TIME_RATIO)
    for own, ratios in (
        ("above the imports of Keras and TensorFlow, so with the built Keras model", memory),
        ("above the built Keras model, which counts as its weights", export),
    ):
        needed = f"at most {MAX_MEMORY_RATIO:g}"
        yield _worst(f"{what}: peak memory {own}, times the weights", needed, ratios, most=MAX_MEMORY_RATIO)
    unusable = sum("peer_unusable" in r or bool(r.get("peer", {}).get("reason")) for r in rows)
    *told, figures, verdict = _worst(
        f"{what}: latency as a part of the peer's",
        f"at most {MAX_LATENCY_RATIO:g}",
        latency,
        most=MAX_LATENCY_RATIO,
    )
    yield told[0], told[1], figures + (f"; the peer gave no usable file for {unusable}" if unusable else ""), verdict


def _worst(
    what: str,
    needed: str,
    values: Sequence[tuple[float, str]],
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> tuple[str, str, str, str]:
    if not values:
        return _unmeasured(what, needed)
    good = [value for value in values if least <= value[0] <= most]
    worst = _extreme(values, lowest=least > -math.inf)
    told = f"{worst[0]:.2f} at worst ({worst[1]}); {len(good)} of {len(values)} models within"
    return _judged(what, needed, told, met=len(good) == len(values))


def _extreme(values: Sequence[tuple[float, str]], *, lowest: bool) -> tuple[float, str]:
    """The worst value; NaN is worse than any number."""
    unknown = [value for value in values if math.isnan(value[0])]
    return unknown[0] if unknown else (min if lowest else max)(values)


def _seconds_bar(data: Json | None) -> Iterator[tuple[str, str, str, str]]:
    rows = {row["model"]: row for row in data["rows"]} if data else {}
    for model in EXPORT_MODELS:
        what, needed = f"ONNX export of {model}, model already built", f"under {MAX_EXPORT_SECONDS:g} s"
        native = rows[model]["native"] if model in rows else None
        if native is None:
            yield _unmeasured(what, needed)
        elif native["reason"]:
            yield _judged(what, needed, escape(native["reason"]), met=False)
        else:
            yield _judged(what, needed, f"{native['seconds']:.2f} s", met=native["seconds"] < MAX_EXPORT_SECONDS)


def _pipeline_bar(data: Json | None) -> tuple[str, str, str, str]:
    what = f"`kexport all --formats {MAIN_JOB}`, two cores, parity included"
    needed = f"{MAIN_JOB_CELLS} PASS in at most {_duration(MAX_PIPELINE_SECONDS)}"
    if not data or MAIN_JOB not in data:
        return _unmeasured(what, needed)
    run = data[MAIN_JOB]
    measured = f"{_duration(run['wall_seconds'])} on {run['machine']['cores']} cores; {run['summary']}"
    complete = run["summary"] == f"{MAIN_JOB_CELLS} cells: {MAIN_JOB_CELLS} PASS"
    return _judged(what, needed, measured, met=complete and run["wall_seconds"] <= MAX_PIPELINE_SECONDS)


def _both(row: Json) -> bool:
    return "peer" in row and not row["peer"]["reason"] and not row["native"]["reason"]


def _ratio(row: Json) -> float:
    return float(row["peer"]["seconds"] / row["native"]["seconds"])


def _peer_row(row: Json) -> tuple[str, ...]:
    native, peer = Exported(**row["native"]), Exported(**row["peer"]) if "peer" in row else None
    sides = [side if side is not None and not side.reason else None for side in (native, peer)]
    return (
        row["model"],
        *(f"{side.seconds:.2f}" if side else NONE for side in sides),
        f"{_ratio(row):.1f}" if _both(row) else NONE,
        *(f"{side.memory_ratio:.2f}" if side else NONE for side in sides),
        *(f"{side.added_ratio:.2f}" if side else NONE for side in sides),
        *(f"{side.file_bytes / 1e6:.1f}" if side else NONE for side in sides),
        *(_milliseconds(row.get(f"{side}_latency_seconds")) for side in ("native", "peer")),
        f"{row['latency_ratio']:.3f}" if "latency_ratio" in row else NONE,
        _verdict(row, peer),
    )


def _verdict(row: Json, peer: Exported | None) -> str:
    notes = [*row["broken"], *([f"peer: {peer.reason}"] if peer and peer.reason else [])]
    notes += [row["peer_unusable"]] if "peer_unusable" in row else []
    return escape("; ".join([("missed" if row["broken"] else "met"), *notes]))


def _parity_row(cell: Json) -> tuple[str, ...]:
    memory = cell["peak_memory_bytes"]
    return (
        cell["model"],
        cell["format"],
        cell["engine"] or NONE,
        cell["status"] + (f": {escape(cell['reason'])}" if cell["reason"] else ""),
        _megabytes(cell),
        f"{cell['parameters']:,}" if cell["parameters"] else NONE,
        str(cell["samples"]),
        _number(cell["logits_max_abs_error"], ".1e"),
        _error(cell),
        _number(cell["sqnr_db"], ".1f"),
        _number(cell["top1_agreement"], ".3f"),
        _number(cell["seconds"], ".1f"),
        _number(memory / 2**20 if memory else None, ".0f"),
    )


def _latency_row(session: Json) -> tuple[str, ...]:
    return (
        session["model"],
        session["format"] or NONE,
        str(RUNTIMES.get(session["runtime"], session["runtime"])),
        escape(session["effective"]),
        str(session["threads"]),
        str(session["batch"]),
        _median(session),
        f"{_milliseconds(session['low_seconds'])} to {_milliseconds(session['high_seconds'])}",
        _milliseconds(session["p90_seconds"]),
        _milliseconds(session["p99_seconds"]),
        _number(session["peak_memory_bytes"] / 2**20, ".0f"),
        str(session["count"]),
    )


def _conditions(data: Json) -> str:
    settings = sorted({(s["device"], s["threads"], s["batch"]) for s in data["sessions"]})
    ran = "; ".join(f"{device}, {threads} threads, batch {batch}" for device, threads, batch in settings)
    counts = sorted({str(s["count"]) for s in data["sessions"]}, key=int)
    samples = f" Latency: {ran}; {' or '.join(counts)} samples each, median shown." if settings else ""
    facts = data["machine"] | {f"version {name}": version for name, version in data["versions"].items()}
    return f"{machine_line(facts)} Weights: {', '.join(data['weights'])}.{samples}"


def _noise(sessions: Sequence[Json]) -> str:
    noisy = sum(bool(session["noise"]) for session in sessions)
    told = "the machine was too unquiet, or the samples too few, to trust the number"
    return f"\n\n\\* {noisy} of {len(sessions)} sessions: {told}." if noisy else ""


def _left_out(cell: Json) -> list[str]:
    return [note for note in cell["notes"] if "built-in kernels run" in note]


def _median(session: Json | None) -> str:
    return NONE if session is None else _milliseconds(session["median_seconds"]) + ("\\*" if session["noise"] else "")


def _megabytes(cell: Json | None) -> str:
    return f"{cell['size_bytes'] / 1e6:.1f}" if cell and cell["size_bytes"] else NONE


def _error(cell: Json | None) -> str:
    if cell is None:
        return NONE
    return _number(cell["error_to_signal"], ".1e") if cell["status"] == "PASS" else cell["status"]


def _milliseconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{float(f'{1000 * seconds:.3g}'):g}"


def _number(value: float | str | None, spec: str) -> str:
    return NONE if value is None else f"{float(value):{spec}}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
