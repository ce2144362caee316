"""What the shell offers for a half-typed word: models, and the values that options have. Click asks, nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import rich_click as click
from click.shell_completion import CompletionItem

from kexport.options import Option
from kexport.options.kinds import Name, Names

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def sources(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Applications, in whatever case they are begun, and files."""
    from kexport.sources.catalog import APPLICATIONS

    return [*_begun((row.name for row in APPLICATIONS), typed), _files(typed)]


def of(option: Option) -> Completer | None:
    """What completes the value of an option; None where any text may stand."""
    if option.name in _SHIPPED:
        return _one(_SHIPPED[option.name], files=True)
    if isinstance(option.kind, Names):
        return _listed(option.kind)
    if isinstance(option.kind, Name):
        return _one(option.kind.known)
    words = [word for word in (option.metavar or "").split("|") if word.islower()]
    return _one(lambda: words, files="FILE" in (option.metavar or "")) if words else None


def _targets() -> tuple[str, ...]:
    from kexport import targets

    return targets.names()


def _recipes() -> tuple[str, ...]:
    from kexport.quantization import recipe_file

    return recipe_file.names()


_SHIPPED = {"target": _targets, "recipe": _recipes}
"""Options that take a file or the name of one that comes with kexport."""


def _one(known: Callable[[], Iterable[str]], *, files: bool = False) -> Completer:
    def complete(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        return [*_begun(known(), typed), *([_files(typed)] if files else [])]

    return complete


def _listed(kind: Names) -> Completer:
    """The name behind the last comma; those before it are not offered again."""

    def complete(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        before, comma, begun = typed.rpartition(",")
        left = [name for name in kind.known() if name not in before.split(",") and not (comma and name == kind.alone)]
        return [CompletionItem(f"{before}{comma}{item.value}") for item in _begun(left, begun)]

    return complete


def _begun(names: Iterable[str], typed: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.lower().startswith(typed.lower())]


def _files(typed: str) -> CompletionItem:
    return CompletionItem(typed, type="file")
