"""What the user states about the contract: ``--preprocessing FILE|MODE`` and ``--resize squash|crop:RATIO|pad``.

A file is TOML or JSON with any of the keys ``mode``, ``channel_order``, ``scale``, ``mean``, ``std`` and ``resize``: a
pixel p in [0, 255] becomes ``(p * scale - mean) / std``, and what the file leaves out is that of ``mode``, which is
``raw`` unless said.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kexport import files
from kexport.errors import SourceError, UnknownNameError, UsageError
from kexport.records import Basis as Rests
from kexport.records import Preprocessing, Resize
from kexport.sources.scalings import SCALINGS, Scaling

SUFFIXES = (".toml", ".json")
MAX_BYTES = 2**20
SMALLEST_RATIO = 0.1
HINT = (
    "--preprocessing raw (also unit, tf, torch, caffe, or a file .toml or .json with scale, mean, std, channel_order)"
)
_RESIZE_HINT = "--resize squash, --resize crop:0.875, or --resize pad"
_ORDERS = ("RGB", "BGR")


@dataclass(frozen=True, kw_only=True)
class Resizing:
    """How photographs get the network's size; ``ratio`` is the part of the resized shorter side that a crop keeps."""

    resize: Resize
    ratio: float = 1.0

    def applied(self, contract: Preprocessing, basis: Rests) -> Preprocessing:
        """The contract with this resize."""
        shorter = round(max(contract.size) / self.ratio)
        return replace(contract, resize=self.resize, resize_shorter_side=shorter, resize_basis=basis)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What was said, and None for what was not; ``text`` names the option for the record."""

    scaling: Scaling | None = None
    resizing: Resizing | None = None
    text: str = ""


def of(preprocessing: str | None, resize: str | None) -> Stated:
    """What both options say together; ``--resize`` wins over a file's. Raises UsageError and SourceError."""
    found = Stated() if preprocessing is None else _preprocessing(preprocessing)
    return found if resize is None else replace(found, resizing=parse_resize(resize))


def parse_resize(text: str) -> Resizing:
    """``squash``, ``pad``, ``crop`` or ``crop:RATIO``. Raises UsageError."""
    kind, _, ratio = text.partition(":")
    if kind in (Resize.SQUASH, Resize.PAD) and text == kind:
        return Resizing(resize=Resize(kind))
    if text == Resize.CROP:
        return Resizing(resize=Resize.CROP)
    if kind == Resize.CROP and re.fullmatch(r"\d{0,3}(\.\d{1,9})?", ratio) and ratio:
        value = float(ratio)
        if SMALLEST_RATIO <= value <= 1:
            return Resizing(resize=Resize.CROP, ratio=value)
        raise UsageError(
            f"--resize {text!r}: the ratio is {value:g}, expected {SMALLEST_RATIO:g} to 1, the part of the "
            "shorter side that the crop keeps",
            hint="--resize crop:0.875",
        )
    raise UsageError(f"--resize {text!r}: expected squash, crop:RATIO or pad", hint=_RESIZE_HINT)


def _preprocessing(text: str) -> Stated:
    if text in SCALINGS:
        return Stated(scaling=SCALINGS[text], text=f"--preprocessing {text}")
    path = Path(text)
    if path.suffix.lower() in SUFFIXES:
        return _of_file(path)
    if os.path.isfile(text):  # noqa: PTH113 - what cannot be a name is no file
        raise UsageError(f"--preprocessing {text!r}: expected a file {' or '.join(SUFFIXES)}, or a mode", hint=HINT)
    raise UnknownNameError(kind="preprocessing", value=text, legal=SCALINGS, hint=HINT)


def _of_file(path: Path) -> Stated:
    content = _read(path)
    problems = list(_problems(content))
    if problems:
        raise UsageError("\n".join(f"--preprocessing {path}: {line}" for line in problems), hint=HINT)
    resizing = parse_resize(content["resize"]) if "resize" in content else None
    text = f"--preprocessing {path.name}"
    numbers = {"channel_order", "scale", "mean", "std", "mode"} & set(content)
    return Stated(scaling=_scaling(content) if numbers else None, resizing=resizing, text=text)


def _scaling(content: Mapping[str, Any]) -> Scaling:
    base = SCALINGS[content.get("mode", "raw")]
    own = {key: content[key] for key in ("channel_order", "scale", "mean", "std") if key in content}
    if not own:
        return base
    count = max((len(own[key]) for key in ("mean", "std") if isinstance(own.get(key), list)), default=len(base.mean))
    found = replace(
        base,
        channel_order=own.get("channel_order", base.channel_order),
        scale=own.get("scale", base.scale),
        mean=_several(own.get("mean", list(base.mean)), count),
        std=_several(own.get("std", list(base.std)), count),
    )
    same = next((each for each in SCALINGS.values() if replace(found, mode=each.mode) == each), None)
    return same or replace(found, mode="own")


def _several(value: Any, count: int) -> tuple[float, ...]:
    values = tuple(float(each) for each in value) if isinstance(value, list) else (float(value),)
    return values * count if len(values) == 1 else values[:count]


def _read(path: Path) -> dict[str, Any]:
    try:
        text = files.read(path, limit_bytes=MAX_BYTES).decode("utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SourceError(f"--preprocessing {path} cannot be read: {error.strerror}", hint=HINT) from error
    except (ValueError, RecursionError) as error:  # JSON, TOML and UTF-8 alike
        kind = path.suffix.lower().removeprefix(".").upper()
        raise UsageError(f"--preprocessing {path}: is not {kind}: {error}", hint=HINT) from error
    if not isinstance(content, dict) or not content:
        raise UsageError(f"--preprocessing {path}: holds no keys, expected {', '.join(_CHECKS)}", hint=HINT)
    return content


def _problems(content: Mapping[str, Any]) -> Iterator[str]:
    for key, value in content.items():
        if key not in _CHECKS:
            yield f"{key}: unknown key, expected {', '.join(_CHECKS)}"
        else:
            fits, expected = _CHECKS[key]
            if not fits(value):
                yield f"{key}: expected {expected}, got {json.dumps(value, default=str):.60}"
    lengths = {len(value) for key in ("mean", "std") if isinstance(value := content.get(key), list) and len(value) > 1}
    if len(lengths) > 1:
        yield f"std: expected as many numbers as mean, got {sorted(lengths)}"
    if "resize" in content and isinstance(content["resize"], str):
        try:
            parse_resize(content["resize"])
        except UsageError as error:
            yield error.message.replace("--resize", "resize", 1)


_MOST = 1e30


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_MOST < value < _MOST


def _numbers(value: Any) -> bool:
    return _number(value) or (isinstance(value, list) and bool(value) and all(map(_number, value)))


def _deviations(value: Any) -> bool:
    return _numbers(value) and all(value if isinstance(value, list) else [value])


_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "mode": (lambda value: isinstance(value, str) and value in SCALINGS, f"one of {', '.join(SCALINGS)}"),
    "channel_order": (lambda value: value in _ORDERS, " or ".join(_ORDERS)),
    "scale": (lambda value: _number(value) and value != 0, "a number other than 0"),
    "mean": (_numbers, "a number, or one for each channel"),
    "std": (_deviations, "a number other than 0, or one for each channel"),
    "resize": (lambda value: isinstance(value, str), "squash, crop:RATIO or pad"),
}
