"""Tables for a terminal of any width: no number ever breaks; where the columns do not fit, rows become blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kexport.reports.tables import NONE

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

_WIDE = 10_000


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """A table of text cells that rich can print. Columns that are ``numeric`` stand to the right, and never wrap.

    ``styles`` are those of cells with exactly that text; ``boxed`` draws lines around the cells. Where it is too wide,
    the ``spare`` columns are left out, the first of them first, and named below, as are those without any value.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    title: str = ""
    boxed: bool = True
    styles: Mapping[str, str] = field(default_factory=dict)
    spare: tuple[str, ...] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The table if every number and every word of it fits beside the others, else a block of lines per row."""
        from rich.measure import Measurement
        from rich.text import Text

        empty = self._empty()
        spare = tuple(name for name in self.spare if name not in empty)
        for count in range(len(spare) + 1):
            table = self._without((*empty, *spare[:count]))._table()  # noqa: SLF001 - its own
            if Measurement.get(console, options.update(width=_WIDE), table).minimum <= options.max_width:
                yield table
                if count:
                    yield Text(f"not shown at this width: {', '.join(spare[:count])}", style="dim")
                break
        else:
            yield from self._without(empty)._blocks()  # noqa: SLF001 - its own
        if empty:
            yield Text(f"without a value in any row: {', '.join(empty)}", style="dim")

    def _empty(self) -> tuple[str, ...]:
        """The columns that tell nothing: no row has a value there."""
        columns = zip(self.header, zip(*self.rows, strict=True), strict=True) if self.rows else ()
        return tuple(name for name, cells in columns if all(cell == NONE for cell in cells))

    def _without(self, names: tuple[str, ...]) -> Fitting:
        """The table without these columns."""
        kept = [index for index, name in enumerate(self.header) if name not in names]
        return replace(
            self,
            header=tuple(self.header[index] for index in kept),
            rows=tuple(tuple(row[index] for index in kept) for row in self.rows),
            numeric=tuple(self.numeric[index] for index in kept),
        )

    def _table(self) -> Table:
        from rich.table import Table

        title = self.title or None
        boxed = Table(title=title, title_justify="left")
        table = boxed if self.boxed else Table(title=title, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for index, name in enumerate(self.header):
            cells = [row[index] for row in self.rows]
            if self.numeric[index]:
                least = max(map(len, cells), default=0)
                table.add_column(name, justify="right", no_wrap=True, min_width=max(least, len(name)))
            else:
                table.add_column(name, overflow="fold")
        for row in self.rows:
            table.add_row(*map(self._cell, row))
        return table

    def _blocks(self) -> Iterator[Text]:
        from rich.text import Text

        if self.title:
            yield Text(self.title, style="italic")
        width = max(map(len, self.header), default=0)
        for row in self.rows:
            for place, (name, cell) in enumerate(zip(self.header, row, strict=True)):
                start = "\n" if place == 0 else ""
                yield Text.assemble(f"{start}{name:<{width}}  ", self._cell(cell), overflow="fold")

    def _cell(self, cell: str) -> Text:
        from rich.text import Text

        return Text(cell, style=self.styles.get(cell, ""))
