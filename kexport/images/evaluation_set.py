"""A set to measure on, in a fixed order: photographs, or rows of arrays, and what is right for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import files as durable
from kexport.errors import SourceError
from kexport.images import checks, evaluation_arrays
from kexport.images.answers import Answers
from kexport.images.checks import Images, Member
from kexport.records import Preprocessing


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Photographs or rows of arrays, and the index of the class of each where it is known, in a fixed order.

    ``sha256`` changes with any file, its name, its label or the order; ``notes`` are warnings for the record.
    ``classes`` is how many the network has; ``guess`` says how those of the images were guessed, if they were.
    ``arrays`` has the file of each input where they are rows of arrays: ``paths`` are then their numbers, ``wanted``
    what the network takes, ``targets`` the file with labels that are no class of a whole row. ``output`` is the
    one that is measured, where the network has several.
    """

    text: str
    input_name: str
    contract: Preprocessing | None
    paths: tuple[str, ...]
    members: tuple[Member, ...]
    labels: tuple[int, ...] | None
    sha256: str
    notes: tuple[str, ...]
    classes: int = 0
    guess: str = ""
    answers: Answers = Answers.CLASSES
    arrays: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)
    targets: str = ""
    output: str = ""

    @property
    def labelled(self) -> bool:
        """Whether something says what is right."""
        return self.labels is not None or bool(self.targets)

    @property
    def measurable(self) -> bool:
        """Whether a drop can be measured: against labels, or of a direction that is to stay."""
        return self.labelled or self.answers is Answers.EMBEDDING

    @property
    def pictures(self) -> bool:
        """Whether rows can be recognised by what they show."""
        return not self.arrays or (len(self.arrays) == 1 and evaluation_arrays.mapped(*self.arrays.values()).ndim == 4)

    @property
    def pixels(self) -> bool:
        """Whether the images are pixels in [0, 255] before ``contract``, so that another can be tried."""
        files = self.arrays.items()
        made = (evaluation_arrays.mapped(file).dtype.name for name, file in files if self.wanted[name] != "uint8")
        return not self.arrays or all(name == "uint8" for name in made)

    @property
    def numbers(self) -> int:
        """How many numbers the largest input of one image has."""
        if not self.arrays:
            assert self.contract is not None
            return int(np.prod(self.contract.size)) * len(self.contract.mean)
        return max(int(np.prod(evaluation_arrays.mapped(file).shape[1:])) for file in self.arrays.values())

    def right(self, start: int, stop: int) -> npt.NDArray[Any] | None:
        """The targets of some rows, if there are any."""
        return np.asarray(evaluation_arrays.mapped(self.targets)[start:stop]) if self.targets else None

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self.members)

    def batches(self, size: int) -> Iterator[dict[str, Images]]:
        """Every image once, in order, as the network takes it, by the input's name; the last batch may be shorter.

        Raises SourceError if a file is not what it was when the set was opened.
        """
        for start in range(0, self.count, size):
            chosen = range(start, min(start + size, self.count))
            if self.arrays:
                yield self._rows([int(self.paths[index]) for index in chosen])
            else:
                yield {self.input_name: np.concatenate([self._image(index) for index in chosen])}

    def _rows(self, places: Sequence[int]) -> dict[str, Images]:
        return {
            name: evaluation_arrays.rows(file, places, self.wanted[name], self.contract)
            for name, file in self.arrays.items()
        }

    def _image(self, index: int) -> Images:
        path = Path(self.paths[index])
        if not path.is_file() or durable.file_digest(path) != self.members[index].sha256:
            raise SourceError(f"{path}: was changed while the run was using it", hint="run again")
        assert self.contract is not None
        return next(checks.image_blocks([path], self.contract, 1))
