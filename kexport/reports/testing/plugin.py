"""``pytest --kexport artifacts/``: every check of a folder's records as a test, beside the tests of a project.

The records are read and the files' digests compared; nothing runs, and nothing heavy is imported before it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kexport.records import Record


class CheckFailed(Exception):
    """What a record says against its artifact."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--kexport``."""
    parser.getgroup("kexport").addoption(
        "--kexport", action="append", default=[], metavar="DIR", help="a folder of kexport's artifacts to be checked"
    )


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the folders behind the tests that were found."""
    for text in config.getoption("--kexport"):
        items.extend(_items(Path(text), session))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A folder was named, and nothing came of it: that is no success."""
    if session.config.getoption("--kexport") and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


class Folder(pytest.Collector):
    """A folder of artifacts."""

    def collect(self) -> list[pytest.Item]:
        """Nothing: the items are made with it."""
        return []


class Check(pytest.Item):
    """One thing that a record, or the manifest, says."""

    def __init__(self, *, problem: str, **options: Any) -> None:
        super().__init__(**options)
        self.problem = problem

    def runtest(self) -> None:
        """Fail where there is a problem."""
        if self.problem:
            raise CheckFailed(self.problem)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:  # noqa: ARG002
        """The problem, without a traceback through here."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, None, str]:
        """How the item is called."""
        return self.path, None, self.name


def _items(directory: Path, session: pytest.Session) -> Iterator[pytest.Item]:
    from kexport import store
    from kexport.errors import KexportError

    folder = Folder.from_parent(session, name=str(directory), path=directory.resolve())
    try:
        records = store.read_records(directory) if directory.is_dir() else ()
        whole = "; ".join(store.verify(directory))
    except KexportError as error:
        records, whole = (), error.message
    if not records and not whole:
        whole = f"{directory} holds no records"
    yield Check.from_parent(folder, name="files are those of the manifest", problem=whole)
    for record in records:
        for name, problem in _checks(record):
            yield Check.from_parent(folder, name=f"{record.label}: {name}", problem=problem)


def _checks(record: Record) -> Iterator[tuple[str, str]]:
    from kexport.records import Status
    from kexport.reports.verdict import failure_line

    yield "passes", "" if record.status is Status.PASS else failure_line(record)
    for check in record.parity.checks if record.parity is not None else ():
        told = f"{check.name} is {check.value:g}, the bound is {check.bound:g}: {check.why}"
        yield check.name, "" if check.passed else told
