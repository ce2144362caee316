"""Names of classes: from a file of the user's own, or ImageNet's for an application with its 1000 classes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kexport import files
from kexport.documents import adapter
from kexport.errors import SourceError, UsageError
from kexport.records import Signature
from kexport.sources import imagenet_classes
from kexport.sources.final import SIGMOID
from kexport.specs import ModelSpec

MAX_BYTES = 16 * 2**20
_MOST_TOLD = 10
_HINT = 'a text file with one name a line, a CSV "index,name", or JSON: a list, or {"0": "name", ...}'


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Names by class index, and whose they are; or no names, and why."""

    names: tuple[str, ...]
    origin: str


def are_imagenets(spec: ModelSpec) -> bool:
    """Whether the classes are ImageNet's unless a file says otherwise: an application with its classifier of 1000."""
    usual = spec.include_top and spec.classes == imagenet_classes.COUNT
    return bool(spec.application) and usual and not spec.layers and spec.labels is None


def deciding(outputs: Sequence[Signature], activations: Mapping[str, str]) -> Signature | None:
    """The output that says the class: the only one, or of several the only row that a softmax or sigmoid ends."""
    if len(outputs) == 1:
        return outputs[0]
    rows = [spec for spec in outputs if len(spec.shape) == 2 and activations.get(spec.name)]
    return rows[0] if len(rows) == 1 else None


def of(spec: ModelSpec, outputs: Sequence[Signature], *, activations: Mapping[str, str]) -> Labels:
    """The labels of a model; one number that a sigmoid ends, by ``activations``, tells two classes apart.

    Raises UsageError unless a labels file fits the output that says the class, SourceError as `read`.
    """
    output = deciding(outputs, activations)
    classes = output.shape[-1] if output is not None and len(output.shape) == 2 else None
    if spec.labels is not None:
        pair = output is not None and classes == 1 and activations.get(output.name) == SIGMOID
        return _own(spec.labels, classes, pair=pair)
    if are_imagenets(spec):
        return Labels(names=imagenet_classes.names(), origin=imagenet_classes.ORIGIN)
    return Labels(names=(), origin="none: --labels FILE names the classes")


def _own(path: str, classes: int | None, *, pair: bool) -> Labels:
    names = read(Path(path))
    if classes is None:
        raise UsageError(
            f"--labels {path}: the model has no single output of one number per class",
            hint="leave --labels out, or --layer NAME with the layer that says the class",
        )
    if len(names) != classes and not (pair and len(names) == 2):
        wanted = (
            "2 names, of what is near 0 and of what is near 1"
            if pair
            else f"{classes} names in the order of the outputs"
        )
        raise UsageError(
            f"--labels {path}: {len(names)} labels for {'one probability' if pair else f'{classes} classes'}",
            hint=f"expected {wanted}: {_HINT}",
        )
    return Labels(names=names, origin=Path(path).name)


def read(path: Path) -> tuple[str, ...]:
    """Names from a text file (one a line), a CSV or a JSON file. Raises SourceError for what is none of these.

    JSON is a list of names, or an object from index to name or to a list that ends in the name (Keras's
    ``imagenet_class_index.json``). A CSV has the names in its last column, and may have the index in its first
    and a header.
    """
    text = _text(path)
    if path.suffix.lower() == ".json":
        names = _from_json(text, path)
    elif path.suffix.lower() == ".csv":
        names = _from_csv(text, path)
    else:
        names = [line.strip() for line in text.rstrip().splitlines()]
    empty = next((index for index, name in enumerate(names) if not name), None)
    if not names or empty is not None:
        what = "no labels" if not names else f"label {empty} is empty"
        raise SourceError(f"--labels {path}: {what}", hint=_HINT)
    return tuple(names)


def _text(path: Path) -> str:
    try:
        return files.read(path, limit_bytes=MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"--labels {path} cannot be read: {error.strerror}", hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"--labels {path} is not UTF-8 text: {error.reason}", hint=_HINT) from error


def _from_json(text: str, path: Path) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"--labels {path} is not JSON: {error}", hint=_HINT) from error
    if isinstance(value, dict):
        value = _in_order(value, path)
    names = [item[-1] if isinstance(item, list) and item else item for item in value] if isinstance(value, list) else []
    return [name.strip() for name in _checked(names, path)]


def _checked(names: list[Any], path: Path) -> list[str]:
    from pydantic import ValidationError

    try:
        checked: list[str] = adapter(list[str]).validate_python(names, strict=True)
    except ValidationError as error:
        wrong = [f"class {detail['loc'][0]}: expected names, got {detail['input']!r:.60}" for detail in error.errors()]
        raise SourceError("\n".join(f"--labels {path}: {line}" for line in wrong[:_MOST_TOLD]), hint=_HINT) from error
    return checked


def _in_order(value: dict[str, Any], path: Path) -> list[Any]:
    wanted = [str(index) for index in range(len(value))]
    missing = next((key for key in wanted if key not in value), None)
    if missing is not None:
        raise SourceError(f"--labels {path}: class {missing} has no name", hint=_HINT)
    return [value[key] for key in wanted]


def _from_csv(text: str, path: Path) -> list[str]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise SourceError(f"--labels {path} is not CSV: {error}", hint=_HINT) from error
    if rows and len(rows[0]) > 1 and not rows[0][0].strip().isdecimal() and all(_index(row) for row in rows[1:]):
        rows = rows[1:]  # a header
    if rows and all(len(row) > 1 and _index(row) for row in rows):
        return [str(name) for name in _in_order({row[0].strip(): row[-1].strip() for row in rows}, path)]
    return [row[-1].strip() for row in rows]


def _index(row: Sequence[str]) -> bool:
    return row[0].strip().isdecimal()
