"""Deployment targets: one TOML file each, read strictly. A file's presence in ``targets/`` registers it.

A target sets several options of ``kexport export`` and ``kexport all`` at once; what is given on the command line
wins over it. Every mistake of a file is reported at once, as ``targets/x.toml: opset: expected int, got "two"``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kexport.documents import bounded_toml, mistakes, validated
from kexport.errors import UnknownNameError, UsageError
from kexport.files import package_data, there
from kexport.files import read as read_bounded
from kexport.options import TABLE, ExportOptions, Option
from kexport.options.kinds import Text
from kexport.registry import Engine, Format, Scheme
from kexport.specs import MAX_OPSET, MIN_OPSET

REQUIRED = "formats"
KEYS = tuple(each for each in TABLE if each.in_target)
"""The options that a target may set; their words are its keys."""

MAX_BYTES = 2**18


@dataclass(frozen=True, kw_only=True)
class Target:
    """The content of one file: what it says, by the fields' names of `ExportOptions`."""

    description: str
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        check(ExportOptions(**self.values))


def check(what: ExportOptions) -> None:
    """Raise UsageError with every contradiction of format, scheme, engine, batch, opset and size."""
    formats, schemes = what.formats or (), (Scheme.FLOAT32,) if what.schemes is None else what.schemes
    problems = (*_format_problems(formats, schemes), *_problems(what))
    engine = tuple(_engine_problems(formats, schemes, what.engine or Engine.AUTO))
    if problems or engine:
        raise UsageError("\n".join((*problems, *engine)), hint="kexport export --help" if problems else "--engine auto")


def _problems(what: ExportOptions) -> Iterator[str]:
    if what.opset is not None and not MIN_OPSET <= what.opset <= MAX_OPSET:
        yield f"opset: expected {MIN_OPSET} to {MAX_OPSET}, got {what.opset}"
    if isinstance(what.batch, int) and what.batch < 1:
        yield f'batch: expected "dynamic" or 1 and more, got {what.batch}'
    static = [form for form in what.formats or () if form.static_batch]
    if what.batch == "dynamic" and static:
        yield f'batch: a {static[0]} file has a fixed batch, expected a number, got "dynamic"'
    if what.input_shape is not None and min(what.input_shape) < 1:
        yield f"input_shape: expected sizes of 1 or more, got {list(what.input_shape)}"


def _format_problems(formats: Sequence[Format], schemes: Sequence[Scheme]) -> Iterator[str]:
    if not formats:
        yield f"formats: expected at least one of {', '.join(Format)}, got []"
    if not schemes:
        yield f"schemes: expected at least one of {', '.join(Scheme)}, got []"
    for form in formats:
        if not set(schemes) & set(form.schemes):
            yield f"schemes: {form} cannot be {', '.join(schemes)}, expected one of {', '.join(form.schemes)}"
    for scheme in schemes:
        able = [form for form in Format if scheme in form.schemes]
        if not set(able) & set(formats) and len(schemes) > 1:
            yield f"schemes: none of {', '.join(formats)} can be {scheme}, expected {', '.join(able)}"


def _engine_problems(formats: Sequence[Format], schemes: Sequence[Scheme], engine: str) -> Iterator[str]:
    """What the engine cannot write of what is asked for, decided before any work begins."""
    if engine == Engine.AUTO:
        return
    for form in formats:
        if engine not in form.engine_names:
            able = ", ".join((Engine.AUTO, *form.engine_names))
            yield f"engine: {engine} cannot write {form}, expected one of {able}"
            continue
        refusals = (form.refusal(engine, scheme) for scheme in schemes if scheme in form.schemes)
        yield from (f"engine: {refusal}" for refusal in refusals if refusal)


def names() -> tuple[str, ...]:
    """The targets that exist, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


def load(name: str) -> Target:
    """The target of this name, or the file itself when ``name`` ends in ``.toml``.

    Raises UnknownNameError for a name that is not in ``targets/``, UsageError for a file that is absent or wrong.
    """
    if name.endswith(".toml"):
        return read(Path(name))
    if name not in names():
        raise UnknownNameError(kind="target", value=name, legal=names(), hint="kexport list targets")
    return read(_folder() / f"{name}.toml", label=f"targets/{name}.toml")


def read(path: Path, *, label: str | None = None) -> Target:
    """Read one file strictly; ``label`` is what messages call it. Raises UsageError that lists every mistake."""
    called = label or str(path)
    try:
        return parse(
            tomllib.loads(bounded_toml(read_bounded(path, limit_bytes=MAX_BYTES).decode())), folder=path.parent
        )
    except UsageError as error:
        lines = "\n".join(f"{called}: {line}" for line in error.message.splitlines())
        raise UsageError(lines, hint="kexport list targets") from error
    except OSError as error:
        raise UsageError(f"{called}: cannot be read: {error.strerror}", hint="kexport list targets") from error
    except (ValueError, RecursionError) as error:  # TOML syntax and UTF-8 alike
        raise UsageError(f"{called}: is not TOML: {error}", hint="https://toml.io/en/v1.0.0") from error


def parse(content: Mapping[str, Any], *, folder: Path = Path()) -> Target:
    """The value of a parsed file; raises UsageError with one line ``key: what is wrong`` for each mistake.

    The name of a file or of a folder is looked for in ``folder`` first, where the target lies.
    """
    from pydantic import ValidationError

    try:
        found = validated(_schema(), content)
    except ValidationError as error:
        keys = [each.name for each in fields(_schema())]
        raise UsageError("\n".join(mistakes(error, keys=keys)), hint="kexport list targets") from error
    given = [(each, value) for each in KEYS if (value := getattr(found, each.word)) is not None]
    return Target(
        description=found.description,
        values={each.name: _beside(folder, value, each) if _is_path(each) else value for each, value in given},
    )


@cache
def _schema() -> Any:
    """What a file may hold: a description, formats, and every other option that a target may set."""
    must = [("description", str), *((each.word, each.kind.schema()) for each in KEYS if each.word == REQUIRED)]
    may = [(each.word, each.kind.schema(), field(default=None)) for each in KEYS if each.word != REQUIRED]
    strict = {"__pydantic_config__": {"extra": "forbid"}}
    return make_dataclass("TargetFile", [*must, *may], frozen=True, kw_only=True, namespace=strict)


def _is_path(option: Option) -> bool:
    return isinstance(option.kind, Text) and option.kind.path


def _beside(folder: Path, text: str, option: Option) -> str:
    """The file beside the target where there is one, or the folder where an option takes folders."""
    path = folder / text
    return str(path) if text and there(path) and ("DIR" in (option.metavar or "") or path.is_file()) else text


def _folder() -> Path:
    return package_data("targets")
