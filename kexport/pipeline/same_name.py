"""Files of one name: two of one request are refused, and what stands there from another request is told.

What makes another network, and the batch and the type of inputs, is in the name (`ModelSpec.name`, `Cell.variant`). The
rest is not: weights, engine, opset, calibration, kernels, and files of one stem that were exported one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kexport import store
from kexport.errors import KexportError, UsageError
from kexport.options import TABLE
from kexport.pipeline.reproduce import cell_of, options_of
from kexport.specs import CALIBRATED, Cell, Engine, Kernels


def refuse(made: Sequence[tuple[str | None, Cell]]) -> None:
    """Raise UsageError for two cells that differ in a file of the same name, each with the target that makes it.

    Two targets may ask for the same cell.
    """
    known: dict[tuple[str, str], tuple[str | None, Cell]] = {}
    for name, cell in made:
        first, other = known.setdefault((cell.model.name, cell.file_name), (name, cell))
        if cell == other:
            continue
        ours, theirs = (_asker(*each) for each in ((first, other), (name, cell)))
        apart = f"--target {first} -o {first}, then --target {name} -o {name}" if first != name else "--name NAME"
        raise UsageError(
            f"{ours} and {theirs} both make {cell.file_name}, and not alike: {', '.join(_differences(other, cell))}",
            hint=f"one after the other: {apart}",
        )


def _asker(target: str | None, cell: Cell) -> str:
    return cell.model.source if target is None else f"--target {target}"


def _differences(first: Cell, second: Cell) -> Iterator[str]:
    ours, theirs = options_of(first), options_of(second)
    for option in TABLE:
        usual = option.unless or "as usual"
        one, two = (told.get(option.name, usual) for told in (ours, theirs))
        if one != two:
            yield f"{option.word} {one} or {two}"


def replaced(cells: Iterable[Cell], directory: Path) -> Iterator[str]:
    """A line for every file in ``directory`` that a request replaces, and that was made from something else.

    One that is made again, of the same source with the same options, is not told.
    """
    for cell in cells:
        stands = _stands(cell, directory)
        if stands is None:
            continue
        before, now = _told(stands), _told(cell)
        if other := [f"{word} {before[word]}, now {now[word]}" for word in now if before[word] != now[word]]:
            yield f"{cell.model.name}/{cell.file_name} is replaced: it was made with {'; '.join(other)}"


def _stands(cell: Cell, directory: Path) -> Cell | None:
    """What has the cell's name already; None where nothing has, or nothing that says what it is."""
    try:
        record = store.read_record(directory, cell)
        return cell_of(record, built=False) if record.artifact is not None else None
    except KexportError:
        return None


def _told(cell: Cell) -> dict[str, str]:
    """What makes a file another and is not in its name, in the words of the command line."""
    calibrated, native = cell.scheme in CALIBRATED, cell.format.engines[0].name
    network = {word: text for word, text in cell.model.in_name().items() if word != "called"}
    return {
        "source": cell.model.source,
        "network": " ".join(filter(None, (*network.values(), f"{cell.model.classes} classes"))),
        "top": str(cell.model.include_top),
        "--weights": str(cell.model.weights),
        "--resize": str(cell.model.resize),
        "--engine": native if cell.engine == Engine.AUTO else cell.engine,
        "--opset": str(cell.opset) if cell.format.has_opset else "",
        "--io": str(cell.io),
        "--batch": str(cell.file_batch),
        "--calibration": str(cell.calibration) if calibrated else "",
        "--kernels": str(cell.kernels or Kernels.PORTABLE) if calibrated else "",
        "--keep-float": ", ".join(cell.keep_float) or "no layer",
        "--recipe": str(cell.recipe or "none"),
        "--float16-biases": str(cell.float16_biases),
        "--integer-head": str(cell.integer_head) if calibrated else "",
    }
