"""MediaPipe's ImageClassifier as a consumer of TFLite files: does it load them, and does it see what kexport sees?

MediaPipe lives in an environment of its own (``pip install mediapipe``, 650 MB)::

    python tests/consumers/mediapipe_.py --client /path/to/its/python --images photos [-o parity/mediapipe.md] FILE...

Photographs are cut and resized to each network's own size first, so that no resize differs. Without ``--client`` this
file is the client: it answers with the class and the score of every image, as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER = (
    "file",
    "weights",
    "input",
    "output",
    "loads",
    "metadata as its classes read it",
    "same top-1",
    "different classes",
    "largest difference of its score",
)


def client(file: str, images: Sequence[str]) -> None:
    """Runs under MediaPipe's Python."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=file), max_results=1)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        found = []
        for path in images:
            (top,) = classifier.classify(mp.Image.create_from_file(path)).classifications[0].categories
            found.append((top.index, top.category_name, top.score))
    print(json.dumps({"version": mp.__version__, "found": found, "read": _read_back(Path(file).read_bytes())}))


def _read_back(content: bytes) -> str:
    """The metadata through MediaPipe's own generated classes: normalisation, size and file of labels."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(content, 0)
    entries = [model.Metadata(place) for place in range(model.MetadataLength())]
    found = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    if not found:
        return "none"
    stored = model.Buffers(found[0].Buffer()).DataAsNumpy().tobytes()
    whole = metadata.ModelMetadataT.InitFromObj(metadata.ModelMetadata.GetRootAsModelMetadata(stored, 0))
    (graph,) = whole.subgraphMetadata
    image, classes = graph.inputTensorMetadata[0], graph.outputTensorMetadata[0]
    unit, size = image.processUnits[0].options, image.content.contentProperties.defaultSize
    files = [file.name.decode() for file in classes.associatedFiles or ()]
    numbers = f"mean {unit.mean[0]:g}, std {unit.std[0]:g}"
    return f"{image.name.decode()} {size.width}x{size.height}, {numbers}, {', '.join(files) or 'no labels'}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file: what MediaPipe said, compared with kexport."""

    file: str
    cells: tuple[str, ...]
    right: bool


def compared(python: str, file: Path, photographs: Sequence[Path]) -> tuple[Row, str]:
    """MediaPipe's classes beside kexport's, and MediaPipe's version."""
    import kexport

    about = kexport.inspect(file, resize="squash")
    weights = about.record.source.weights if about.record and about.record.source else "not said"
    border = (Path(weights).name, about.contents.inputs[0].dtype, about.contents.outputs[0].dtype)
    with tempfile.TemporaryDirectory() as folder:
        images = [str(path) for path in _sized(photographs, about.contract.size, Path(folder))]
        done = subprocess.run(
            [python, __file__, str(file), *images], capture_output=True, text=True, check=False, timeout=900
        )
        if done.returncode:
            reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no word")
            return Row(file=file.name, cells=(*border, f"no: {reason[:90]}", "-", "-", "-", "-"), right=False), ""
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        ours = kexport.classify(file, images, top=1, resize="squash").images
    tops = [image.answers[0].guesses[0] for image in ours]
    same = [
        top.index == index and top.name == name for top, (index, name, _) in zip(tops, answer["found"], strict=True)
    ]
    apart = max(abs(top.value - score) for top, (_, _, score) in zip(tops, answer["found"], strict=True))
    several = str(len({top.index for top in tops}))
    cells = (*border, "yes", answer["read"], f"{sum(same)} of {len(same)}", several, f"{apart:.1e}")
    return Row(file=file.name, cells=cells, right=all(same)), answer["version"]


def _sized(photographs: Sequence[Path], size: tuple[int, int], folder: Path) -> Iterator[Path]:
    from PIL import Image

    for path in photographs:
        image = Image.open(path).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        target = folder / f"{path.stem}.png"
        image.crop((left, top, left + side, top + side)).resize(size[::-1], Image.Resampling.BILINEAR).save(target)
        yield target


def main() -> int:
    """Compares, or answers as the client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("paths", nargs="+")
    options = parser.parse_args()
    if options.client is None:
        client(options.paths[0], options.paths[1:])
        return 0
    found = sorted(options.images.glob("*.jpg"))
    photographs = found[:: max(1, len(found) // options.count)][: options.count]
    pairs = [compared(options.client, Path(file), photographs) for file in options.paths]
    rows = [row for row, _ in pairs]
    version = next((version for _, version in pairs if version), "of no version that answered")
    text = _page(rows, version, len(photographs))
    print(text)
    if options.output is not None:
        options.output.write_text(text)
    return 0 if all(row.right for row in rows) else 1


def _page(rows: Sequence[Row], version: str, count: int) -> str:
    lines = [
        "# MediaPipe's ImageClassifier",
        "",
        f"`tests/consumers/mediapipe_.py`, mediapipe {version}: {count} photographs of the network's own size,",
        "the largest class and its score beside those of `kexport classify FILE PHOTOGRAPH --resize squash`.",
        "Random weights say something where photographs have different classes: the last column but one tells.",
        "MobileNetV3Small's are ImageNet's, rebuilt from a dynamic-range file; int8 is calibrated on 100 photographs.",
        "",
        f"| {' | '.join(HEADER)} |",
        f"|{'---|' * len(HEADER)}",
        *(f"| {row.file} | {' | '.join(row.cells)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
