"""The command line in this process, with recorded pipelines instead of real ones."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import kexport
import kexport.pipeline
import kexport.reports
from kexport.cli import main
from kexport.records import Cost, Record, Status
from kexport.specs import Cell

for _module in pkgutil.walk_packages(kexport.pipeline.__path__, "kexport.pipeline."):
    importlib.import_module(_module.name)  # each has the real modules before any of them is replaced


@dataclass(frozen=True)
class Outcome:
    """What one call of the program gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    hook = sys.excepthook

    def run(*arguments: str) -> Outcome:
        code = main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    yield run
    sys.excepthook = hook


@dataclass(frozen=True)
class Event:
    label: str
    step: str = "parity"
    seconds: float = 1.0
    memory_bytes: int = 2**30
    status: str | None = None


def passed(cell: Cell) -> Record:
    return Record(
        model=cell.model.name,
        format=cell.format,
        scheme=cell.scheme,
        status=Status.PASS,
        cost=Cost(seconds={"export": 1.0}, peak_memory_bytes=3 * 2**30),
    )


@dataclass
class Recorded:
    """What the commands asked the pipeline for, and what it shall answer."""

    requests: list[Any] = field(default_factory=list)
    ahead: int = 0
    answer: Callable[[Cell], Record] = passed
    records: tuple[Record, ...] = ()
    problems: tuple[str, ...] = ()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Modules with the pipeline's, store's and reports' functions, in place of the real ones."""
    seen = Recorded()

    def run(request: Any, observer: Any) -> tuple[Record, ...]:
        seen.requests.append(request)
        records = tuple(seen.answer(cell) for cell in request.cells)
        for cell, record in zip(request.cells, records, strict=True):
            observer.observe(Event(cell.label))
            observer.observe(Event(cell.label, status=record.status))
        return records

    def ahead() -> None:
        assert not seen.requests
        seen.ahead += 1

    def again(*arguments: Any, **options: Any) -> tuple[Record, ...]:
        seen.requests.append((arguments, options))
        return seen.records

    def request(**values: Any) -> Any:
        run = {"jobs", "resume", "force", "bench", "timeout_seconds", "isolate", "note", "memory_bytes", "cluster"}
        run |= {"auto", "skip_unsupported"}
        assert set(values) == {"cells", "directory", "mirror", *run}
        return type("Request", (), values)()

    def render(records: Sequence[Record], fmt: str) -> str:
        return f"{fmt} of {[record.model for record in records]}"

    pipeline, folders = (  # modules that make no process stay as they are
        [str(Path(kexport.__file__).parent / room)] for room in ("pipeline", "store")
    )
    makes = {"run": run, "ahead": ahead, "Request": request, "recheck": again, "bench": again}
    _replace(monkeypatch, "pipeline", **makes, __path__=pipeline)
    monkeypatch.setattr(kexport.reports, "render", render)
    _replace(
        monkeypatch, "store", read_records=lambda _: seen.records, verify=lambda _: seen.problems, __path__=folders
    )
    _replace(monkeypatch, "reports.terminal", tables=lambda records: [f"table of {len(records)}"])
    return seen


def _replace(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = ModuleType(f"kexport.{name}")
    for key, value in members.items():
        setattr(module, key, value)
    parent = kexport.reports if name.startswith("reports.") else kexport
    monkeypatch.setitem(sys.modules, f"kexport.{name}", module)
    monkeypatch.setattr(parent, name.rpartition(".")[2], module, raising=False)
