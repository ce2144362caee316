"""``kexport classify``: photographs to class names, through an artifact alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kexport.cli import output
from kexport.cli.options import STORED_HINT, Here, contract_options, json_option

if TYPE_CHECKING:
    from kexport.evidence.classification import Answer, Classification

ORDER = 32


@click.command("classify")
@click.argument("artifact", type=Here(hint=STORED_HINT), metavar="ARTIFACT")
@click.argument(
    "images", nargs=-1, required=True, type=Here(hint="kexport classify ARTIFACT FILE.jpg"), metavar="IMAGE..."
)
@click.option("--top", type=int, default=5, show_default=True, metavar="K", help="Classes told, e.g. --top 1")
@contract_options
@click.option(
    "--threads",
    type=int,
    metavar="N",
    help="Compute threads; as many as the runtime likes unless said, e.g. --threads 1",
)
@json_option
def command(
    *,
    artifact: Path,
    images: tuple[Path, ...],
    top: int,
    labels: str | None,
    preprocessing: str | None,
    resize: str | None,
    threads: int | None,
    as_json: bool,
) -> int:
    """Tell what is on photographs: the largest classes of an ONNX or TFLite file, through its own contract and labels.

    IMAGE is a file or a folder of them; an EXIF orientation is followed. Keras is not needed.

    Example: kexport classify artifacts/ResNet50/ResNet50-float32.onnx elephant.jpg
    """
    from kexport import api

    found = api.classify(
        artifact, images, top=top, labels=labels, preprocessing=preprocessing, resize=resize, threads=threads
    )
    if as_json:
        from kexport.records import encode

        output.data(encode(found))
    else:
        output.data("\n".join(_text(found)))
        for line in _about(found):
            output.message(line)
    for image in found.images:
        if image.problem:
            output.failure(image.problem, hint=None if as_json else _hint(artifact, image.image))
    return 2 if any(image.problem for image in found.images) else 0


def _hint(artifact: Path, image: str) -> str:
    """What helps: another name where nothing has this one, another file where something has."""
    if os.path.lexists(image):
        return "replace or remove the file"
    return f"kexport classify {artifact} FILE.jpg, or a folder of images"


def _about(found: Classification) -> Iterator[str]:
    contract = found.contract
    size = "x".join(map(str, contract.size))
    yield f"{found.artifact} on {found.effective}"
    feeding = f"{size} {contract.channel_order}, {contract.mode}, resize {contract.resize}"
    yield f"contract ({found.contract_from}): {feeding}; labels: {found.labels_from}"
    notes = {answer.note for image in found.images for answer in image.answers if answer.note}
    yield from (f"note: {note}" for note in (*found.notes, *sorted(notes)))


def _text(found: Classification) -> Iterator[str]:
    for image in found.images:
        if not image.problem:
            yield image.image
        for answer in image.answers:
            if len(image.answers) > 1:
                yield f"  {answer.output}:"
            yield from _guesses(answer)


def _guesses(answer: Answer) -> Iterator[str]:
    if not answer.guesses:
        yield f"  {answer.note}"
    for guess in answer.guesses:
        name = f"class {guess.index}" if guess.name is None else guess.name
        yield (
            f"  {guess.value:.6g}"
            if answer.head == "number" and guess.name is None
            else f"  {guess.value:7.4f}  {name}"
        )
