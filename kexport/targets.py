"""Deployment targets: one TOML file each, read strictly. A file's presence in ``targets/`` registers it.

A target sets several options of ``kexport export`` and ``kexport all`` at once; what is given on the command line
wins over it. Every mistake of a file is reported at once, as ``targets/x.toml: opset: expected int, got "two"``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from kexport.documents import mistakes, validated
from kexport.errors import UnknownNameError, UsageError
from kexport.files import package_data
from kexport.registry import Engine, Format, Scheme
from kexport.specs import DEFAULT_OPSET, MAX_OPSET, MIN_OPSET


@dataclass(frozen=True, kw_only=True)
class TargetFile:
    """The content of one file. ``batch`` absent leaves the batch axis to the format; ``input_shape`` is H, W, C."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    description: str
    formats: tuple[Format, ...]
    schemes: tuple[Scheme, ...] = (Scheme.FLOAT32,)
    batch: int | Literal["dynamic"] | None = None
    opset: int = DEFAULT_OPSET
    engine: str = Engine.AUTO
    input_shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        problems, engine = tuple(self._problems()), tuple(self._engine_problems())
        if problems or engine:
            hint = "kexport export --help" if problems else "--engine auto"
            raise UsageError("\n".join((*problems, *engine)), hint=hint)

    def _problems(self) -> Iterator[str]:
        yield from self._format_problems()
        if not MIN_OPSET <= self.opset <= MAX_OPSET:
            yield f"opset: expected {MIN_OPSET} to {MAX_OPSET}, got {self.opset}"
        if isinstance(self.batch, int) and self.batch < 1:
            yield f'batch: expected "dynamic" or 1 and more, got {self.batch}'
        static = [form for form in self.formats if form.static_batch]
        if self.batch == "dynamic" and static:
            yield f'batch: a {static[0]} file has a fixed batch, expected a number, got "dynamic"'
        if self.input_shape is not None and min(self.input_shape) < 1:
            yield f"input_shape: expected sizes of 1 or more, got {list(self.input_shape)}"

    def _format_problems(self) -> Iterator[str]:
        if not self.formats:
            yield f"formats: expected at least one of {', '.join(Format)}, got []"
        if not self.schemes:
            yield f"schemes: expected at least one of {', '.join(Scheme)}, got []"
        for form in self.formats:
            if not set(self.schemes) & set(form.schemes):
                wanted = ", ".join(self.schemes)
                yield f"schemes: {form} cannot be {wanted}, expected one of {', '.join(form.schemes)}"
        for scheme in self.schemes:
            able = [form for form in Format if scheme in form.schemes]
            if not set(able) & set(self.formats) and len(self.schemes) > 1:
                yield f"schemes: none of {', '.join(self.formats)} can be {scheme}, expected {', '.join(able)}"

    def _engine_problems(self) -> Iterator[str]:
        """What the engine cannot write of what is asked for, decided before any work begins."""
        if self.engine == Engine.AUTO:
            return
        for form in self.formats:
            if self.engine not in form.engine_names:
                able = ", ".join((Engine.AUTO, *form.engine_names))
                yield f"engine: {self.engine} cannot write {form}, expected one of {able}"
                continue
            refusals = (form.refusal(self.engine, scheme) for scheme in self.schemes if scheme in form.schemes)
            yield from (f"engine: {refusal}" for refusal in refusals if refusal)


def names() -> tuple[str, ...]:
    """The targets that exist, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


def load(name: str) -> TargetFile:
    """The target of this name, or the file itself when ``name`` ends in ``.toml``.

    Raises UnknownNameError for a name that is not in ``targets/``, UsageError for a file that is absent or wrong.
    """
    if name.endswith(".toml"):
        return read(Path(name))
    if name not in names():
        raise UnknownNameError(kind="target", value=name, legal=names(), hint="kexport list targets")
    return read(_folder() / f"{name}.toml", label=f"targets/{name}.toml")


def read(path: Path, *, label: str | None = None) -> TargetFile:
    """Read one file strictly; ``label`` is what messages call it. Raises UsageError that lists every mistake."""
    called = label or str(path)
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except UsageError as error:
        lines = "\n".join(f"{called}: {line}" for line in error.message.splitlines())
        raise UsageError(lines, hint="kexport list targets") from error
    except OSError as error:
        raise UsageError(f"{called}: cannot be read: {error.strerror}", hint="kexport list targets") from error
    except ValueError as error:  # TOML syntax and UTF-8 alike
        raise UsageError(f"{called}: is not TOML: {error}", hint="https://toml.io/en/v1.0.0") from error


def parse(content: Mapping[str, Any]) -> TargetFile:
    """The value of a parsed file; raises UsageError with one line ``key: what is wrong`` for each mistake."""
    from pydantic import ValidationError

    try:
        target: TargetFile = validated(TargetFile, content)
    except ValidationError as error:
        keys = [field.name for field in fields(TargetFile)]
        raise UsageError("\n".join(mistakes(error, keys=keys)), hint="kexport list targets") from error
    return target


def _folder() -> Path:
    return package_data("targets")
