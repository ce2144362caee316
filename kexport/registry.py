"""File formats and the engines that write them: values that folders and installed packages register.

A format is one folder, whose ``__init__.py`` registers it::

    FORMAT = Format.register("npz", suffix=".npz", engines=engines_of(f"{__name__}.engines"))

An engine is one file in the folder's ``engines/``, which holds the value ``ENGINE``; its presence registers it.
kexport's own formats are the folders of ``kexport/formats/``. The module of an installed package is imported in every
process through its entry point of the group ``kexport.formats``::

    [project.entry-points."kexport.formats"]
    npz = "my_package.npz"

Registering imports no heavy package: writers import theirs when they write.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from kexport.errors import EnvironmentFailure, UnknownNameError
from kexport.records import WrittenFile
from kexport.records.contents import Contents

if TYPE_CHECKING:
    from kexport.specs import Cell

ENTRY_POINTS = "kexport.formats"
_FOLDER = "kexport.formats"


class Scheme(StrEnum):
    """Numeric precision of an artifact."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    DYNAMIC = "dynamic"  # int8 kernels; values are float32, or quantized while the network runs
    INT8 = "int8"  # int8 kernels and values, with ranges from calibration images
    INT16X8 = "int16x8"  # int8 kernels, int16 values


CALIBRATED = frozenset({Scheme.INT8, Scheme.INT16X8})
"""The schemes that need calibration images."""

QUANTIZED = CALIBRATED | {Scheme.DYNAMIC}
"""The schemes that are written from a quantization plan."""

Writer = Callable[[Any, "Cell", Path, Mapping[str, str]], WrittenFile]
"""Writes a graph, a plan or a live Keras model as a cell asks, to exactly this path, with metadata by name."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Who writes files of one format, in which schemes.

    ``write`` takes the optimized graph, or the live Keras model where ``from_model``; ``write_plan`` takes the plan
    of a quantized scheme. ``refuses`` says of a graph why the engine cannot write it, in words, ``refuses_in`` of an
    optimized one why not in a scheme. ``reason`` says why the engine is the format's own where it needs the model.
    ``weight_copies`` is how often the weights are in memory while it works, about. ``lacks`` says, in words, why the
    engine cannot work in this installation; empty where it can.
    """

    AUTO: ClassVar[str] = "auto"
    NATIVE: ClassVar[str] = "native"

    name: str
    schemes: tuple[Scheme, ...]
    write: Writer
    write_plan: Writer | None = None
    from_model: bool = False
    refuses: Callable[[Any], str] = lambda graph: ""  # noqa: ARG005
    refuses_in: Callable[[Any, Scheme], str] = lambda graph, scheme: ""  # noqa: ARG005
    reason: str = ""
    weight_copies: int = 6
    lacks: Callable[[], str] = lambda: ""

    def __post_init__(self) -> None:
        _check_name("engine", self.name)
        if self.name == self.AUTO or not self.schemes:
            raise ValueError(f"engine {self.name!r} of schemes {self.schemes}: expected a name of its own and a scheme")
        if QUANTIZED & set(self.schemes) and self.write_plan is None:
            raise ValueError(f"engine {self.name!r} writes quantized schemes: expected write_plan")


class _Registered(type):
    """The class is also the collection of its values: iterated in order, and by name as `Format.ONNX`."""

    def __iter__(cls) -> Iterator[Format]:
        return iter(_known().values())

    def __len__(cls) -> int:
        return len(_known())

    def __contains__(cls, name: object) -> bool:
        return name in _known()

    def __getattr__(cls, name: str) -> Format:
        found = _known().get(name.lower()) if name.isupper() else None
        if found is None:
            raise AttributeError(f"no format {name!r} is registered")
        return found


class Format(str, metaclass=_Registered):
    """A file format: its name, with what has to be known to name, write, check and run its files.

    It is its name wherever a string is wanted: in records, JSON and tables. ``Format("onnx")`` is the one that is
    registered; UnknownNameError if there is none.

    ``suffix`` ends its files' names. ``engines`` are those that write it: its own first, the others where that one
    cannot. A file of ``static_batch`` has a number of rows, one unless said. ``default``: made unless others are asked
    for. ``has_opset``: its files state an ONNX operator set. ``integer_io`` are the schemes whose files may have
    integer inputs and outputs, ``half_biases`` those whose biases may be float16 as their kernels are. ``check`` raises
    ArtifactError for a file of its own engine that is not sound, before it is loaded, ``check_foreign`` for one of
    another engine. ``bare`` writes a check copy of a file that shows the values before its last softmax or sigmoid: it
    takes the file, the copy and which of both by output, and gives the outputs shown. ``contents`` reads what a sound
    file says of itself, without running it; ``marker`` is the file by which a folder of the format is known.
    ``bounds`` is a TOML file with a section of parity bounds for each scheme, for those that kexport does not know.
    """

    __slots__ = (
        "bare", "bounds", "check", "check_foreign", "contents", "default", "engines", "half_biases", "has_opset",
        "integer_io", "marker", "static_batch", "suffix",
    )  # fmt: skip
    suffix: str
    engines: tuple[Engine, ...]
    static_batch: bool
    default: bool
    has_opset: bool
    integer_io: tuple[Scheme, ...]
    half_biases: tuple[Scheme, ...]
    check: Callable[[Path], None] | None
    check_foreign: Callable[[Path], None] | None
    bare: Callable[[Path, Path, Mapping[str, str]], frozenset[str]] | None
    contents: Callable[[Path], Contents] | None
    marker: str
    bounds: Path | None

    def __new__(cls, name: str) -> Self:
        """The registered format of this name. Raises UnknownNameError."""
        known = _known()
        if name not in known:
            raise UnknownNameError(kind="format", value=name, legal=known, hint="kexport list formats")
        return known[name]  # type: ignore[return-value] # there are no subclasses

    def __reduce__(self) -> tuple[type[Format], tuple[str]]:
        return Format, (str(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Format:
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.literal_schema(list(_known())))

    @classmethod
    def register(
        cls,
        name: str,
        *,
        suffix: str,
        engines: tuple[Engine, ...],
        static_batch: bool = False,
        default: bool = False,
        has_opset: bool = False,
        integer_io: tuple[Scheme, ...] = (),
        half_biases: tuple[Scheme, ...] = (),
        check: Callable[[Path], None] | None = None,
        check_foreign: Callable[[Path], None] | None = None,
        bare: Callable[[Path, Path, Mapping[str, str]], frozenset[str]] | None = None,
        contents: Callable[[Path], Contents] | None = None,
        marker: str = "",
        bounds: Path | None = None,
    ) -> Format:
        """Make the format known in this process. Raises ValueError for what cannot be one."""
        _check_format(name, suffix, engines)
        made = str.__new__(cls, name)
        made.suffix, made.engines, made.static_batch = suffix, engines, static_batch
        made.has_opset, made.integer_io, made.half_biases, made.check = has_opset, integer_io, half_biases, check
        made.check_foreign, made.bare, made.contents, made.marker = check_foreign, bare, contents, marker
        made.default, made.bounds = default, bounds
        _REGISTRY[name] = made
        return made

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Those that any of its engines writes."""
        return tuple(scheme for scheme in Scheme if any(scheme in engine.schemes for engine in self.engines))

    @property
    def engine_names(self) -> tuple[str, ...]:
        """The names of its engines, its own first."""
        return tuple(engine.name for engine in self.engines)

    def engine(self, name: str) -> Engine:
        """The engine of this name. Raises UnknownNameError."""
        for engine in self.engines:
            if engine.name == name:
                return engine
        raise UnknownNameError(
            kind=f"engine for {self}", value=name, legal=self.engine_names, hint=f"--engine {self.engine_names[0]}"
        )

    def writers(self, scheme: Scheme) -> tuple[Engine, ...]:
        """The engines that write this scheme, in order."""
        return tuple(engine for engine in self.engines if scheme in engine.schemes)

    def refusal(self, engine: str, scheme: Scheme) -> str:
        """Why the engine cannot write this scheme of the format, in words; empty if it can, or any engine may."""
        if engine == Engine.AUTO or scheme in self.engine(engine).schemes:
            return ""
        able = ", ".join(self.engine(engine).schemes)
        return f"{engine} cannot write {self} {scheme}, expected {'one of ' if ',' in able else ''}{able}"


class EngineNames:
    """What ``--engine`` takes: ``auto``, and every engine of every format once."""

    def __iter__(self) -> Iterator[str]:
        yield Engine.AUTO
        yield from dict.fromkeys(name for form in Format for name in form.engine_names)


_REGISTRY: dict[str, Format] = {}


def engines_of(package: str) -> tuple[Engine, ...]:
    """The value ``ENGINE`` of every module in the folder of engines: those that need no Keras first, then by name."""
    folder = importlib.import_module(package)
    names = [module.name for module in pkgutil.iter_modules(folder.__path__)]
    found = [importlib.import_module(f"{package}.{name}").ENGINE for name in names]
    return tuple(sorted(found, key=lambda engine: (engine.from_model, engine.name)))


def _known() -> dict[str, Format]:
    """Every format by name: kexport's own, those made by default first, then those of packages."""
    own = _load_own()
    _load_packages()
    order = sorted(_REGISTRY, key=lambda name: (name not in own, not _REGISTRY[name].default, name))
    return {name: _REGISTRY[name] for name in order}


@cache
def _load_own() -> tuple[str, ...]:
    folder = Path(__file__).with_name("formats")
    names = sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if module.ispkg)
    for name in names:
        importlib.import_module(f"{_FOLDER}.{name}")
    return tuple(names)


@cache
def _load_packages() -> None:
    load_entry_points(ENTRY_POINTS, what="formats")


def load_entry_points(group: str, *, what: str) -> tuple[Any, ...]:
    """What the entry points of installed packages name, in order. Raises EnvironmentFailure where one cannot be had."""
    found = sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value))
    return tuple(_load_package(entry, what) for entry in found)


def _load_package(entry: EntryPoint, what: str) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError, SyntaxError, ValueError, TypeError) as error:
        package = entry.dist.name if entry.dist else entry.value
        raise EnvironmentFailure(
            f"the {what} of package {package!r} ({entry.value}) cannot be loaded: {error}",
            hint=f"repair {package}, or pip uninstall {package}",
        ) from error


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ValueError(f"{kind} {name!r}: expected a name of small letters, digits and hyphens")


def _check_format(name: str, suffix: str, engines: tuple[Engine, ...]) -> None:
    _check_name("format", name)
    if name in _REGISTRY:
        raise ValueError(f"two formats are called {name}")
    if not re.fullmatch(r"[.-][A-Za-z0-9._-]+", suffix):
        raise ValueError(f"format {name}: suffix {suffix!r}, expected one like '.{name}' or '-{name}'")
    if any(suffix == other.suffix for other in _REGISTRY.values()):
        raise ValueError(f"format {name}: suffix {suffix!r} is that of another format")
    names = [engine.name for engine in engines]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"format {name} has the engines {names}: expected at least one, each once")
