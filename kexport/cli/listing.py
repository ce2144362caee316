"""``kexport list``: what there is to choose from, without importing Keras."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from kexport import targets
from kexport.cli import completion, output
from kexport.cli.options import json_option
from kexport.registry import Engine, Format, Scheme
from kexport.sources.catalog import APPLICATIONS
from kexport.specs import DEFAULT_OPSET

if TYPE_CHECKING:
    from kexport.sources.adapt.taps import LayerRow

Row = dict[str, Any]

ORDER = 10


def _kinds(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [kind for kind in (*_LISTS, "layers") if kind.startswith(typed)]


@click.command("list")
@click.argument("kind", default="models", metavar="[KIND]", shell_complete=_kinds)
@click.argument("source", required=False, metavar="[SOURCE]", shell_complete=completion.sources)
@click.option("--trust", is_flag=True, help="List the layers of a model file with code, which runs, e.g. --trust")
@json_option
def command(kind: str, source: str | None, trust: bool, as_json: bool) -> int:
    """List models (unless said), formats, schemes, engines, targets, recipes, runtimes, or layers of a SOURCE.

    Example: kexport list layers VGG19 --json
    """
    from kexport.errors import UnknownNameError, UsageError

    if kind not in (*_LISTS, "layers"):
        raise UnknownNameError(kind="list", value=kind, legal=(*_LISTS, "layers"), hint="kexport list --help")
    if (kind == "layers") != (source is not None):
        raise UsageError(
            f"kexport list {kind} takes {'one SOURCE, whose layers are listed' if source is None else 'no SOURCE'}",
            hint="kexport list layers VGG19",
        )
    rows = _LISTS[kind]() if source is None else _layers(source, trust=trust)
    output.data(json.dumps(rows, indent=2) if as_json else _table(rows))
    return 0


def _models() -> list[Row]:
    return [asdict(row) for row in APPLICATIONS]


def _layers(source: str, *, trust: bool) -> list[Row]:
    from kexport.pipeline import requests
    from kexport.pipeline.layers import rows

    found = rows(requests.described(source, trust=trust))
    return [{"layer": row.name, "class": row.kind, "output": _sizes(row.outputs), **_json_only(row)} for row in found]


def _sizes(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " ".join("x".join("?" if axis is None else str(axis) for axis in shape[1:]) for shape in shapes)


def _json_only(row: LayerRow) -> Row:
    return {"parameters": row.parameters, "input_shapes": row.inputs, "output_shapes": row.outputs}


def _formats() -> list[Row]:
    return [{"format": form, "schemes": list(form.schemes), "engines": list(form.engine_names)} for form in Format]


def _schemes() -> list[Row]:
    return [{"scheme": scheme, "formats": [form for form in Format if scheme in form.schemes]} for scheme in Scheme]


def _engines() -> list[Row]:
    engines = dict.fromkeys(name for form in Format for name in form.engine_names)
    return [
        {"engine": engine, "formats": [form for form in Format if engine in form.engine_names]} for engine in engines
    ]


def _targets() -> list[Row]:
    return [_target(name) for name in targets.names()]


def _target(name: str) -> Row:
    """A target with what it leaves open, and whatever else it sets."""
    found = targets.load(name)
    usual = {"formats": (), "schemes": (Scheme.FLOAT32,), "batch": None, "opset": DEFAULT_OPSET, "engine": Engine.AUTO}
    words = {key.word: found.values[key.name] for key in targets.KEYS if key.name in found.values}
    return {"target": name, "description": found.description, **usual, "input_shape": None, **words}


def _recipes() -> list[Row]:
    from kexport.quantization import recipe_file

    return [{"recipe": name, "description": recipe_file.read(name).description} for name in recipe_file.names()]


def _runtimes() -> list[Row]:
    from importlib.metadata import packages_distributions

    from kexport import runtimes

    installed = {name for names in packages_distributions().values() for name in names}
    alike = {"onnxruntime": {"onnxruntime", "onnxruntime-gpu"}}  # two packages, one module
    return [
        {
            "runtime": name,
            "formats": list(kind.formats),
            "devices": list(kind.devices),
            "package": kind.distribution or None,
            "installed": not kind.distribution or bool(alike.get(kind.distribution, {kind.distribution}) & installed),
        }
        for name, kind in runtimes.registry().items()
    ]


_LISTS: dict[str, Callable[[], list[Row]]] = {
    "models": _models,
    "formats": _formats,
    "schemes": _schemes,
    "engines": _engines,
    "targets": _targets,
    "recipes": _recipes,
    "runtimes": _runtimes,
}

_HEADINGS = {
    "default_size": "pixels",
    "mode": "input",
    "top1_percent": "top-1 %",
    "top5_percent": "top-5 %",
    "size_megabytes": "MB",
    "cpu_milliseconds": "CPU ms",
    "gpu_milliseconds": "GPU ms",
}
_JSON_ONLY = {"input_shapes", "output_shapes", "module", "smallest_size", "options", "input_shape", "opset"}


def _table(rows: list[Row]) -> str:
    keys = [key for key in rows[0] if key not in _JSON_ONLY] if rows else []
    headings = [_HEADINGS.get(key, key) for key in keys]
    return output.columns(headings, [[_flat(row[key]) for key in keys] for row in rows])


def _flat(value: Any) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) or None if isinstance(value, (list, tuple)) else value
