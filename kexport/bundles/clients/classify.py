"""Class names of photographs, with numpy, Pillow and ONNX Runtime or LiteRT; the files beside this one say how.

``python classify.py photo.jpg`` names the five likeliest classes, ``python classify.py --self-test`` checks that this
machine computes what the model's maker computed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
Array = Any  # of numpy


class OnnxModel:
    """A model in ONNX Runtime."""

    def __init__(self, path: Path, contract: dict[str, Any], threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = contract["input"]["name"]
        self._outputs = [output["name"] for output in contract["outputs"]]

    def run(self, rows: Array) -> list[Array]:
        """The outputs, in the contract's order."""
        return [np.asarray(value) for value in self._session.run(self._outputs, {self._input: rows})]


class LitertModel:
    """A model in LiteRT."""

    def __init__(self, path: Path, contract: dict[str, Any], threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._runner = Interpreter(str(path), num_threads=threads).get_signature_runner()
        self._input = contract["input"]["name"]
        self._outputs = [output["name"] for output in contract["outputs"]]

    def run(self, rows: Array) -> list[Array]:
        """The outputs, in the contract's order."""
        found = self._runner(**{self._input: rows})
        return [found[name] for name in self._outputs]


RUNTIMES: dict[str, type[OnnxModel | LitertModel]] = {"onnx": OnnxModel, "tflite": LitertModel}


class Classifier:
    """The model of a folder, with its contract and labels."""

    def __init__(self, folder: Path = HERE, *, threads: int = 2) -> None:
        self.folder = folder
        self.contract: dict[str, Any] = json.loads((folder / "contract.json").read_text("utf-8"))
        labels = folder / "labels.txt"
        self.labels = labels.read_text("utf-8").splitlines() if labels.exists() else []
        self._model = RUNTIMES[self.contract["format"]](folder / self.contract["model_file"], self.contract, threads)
        self._batch = self.contract["input"]["shape"][0] or 1

    def classify(self, photograph: str | Path, top: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes of one photograph, with what the output says of each."""
        output = self.contract["outputs"][0]
        values = real(self.run(self.as_input(self.pixels(photograph)[None]))[0], output)[0]
        if len(self.contract["outputs"]) != 1 or values.ndim != 1:
            raise SystemExit(f"the outputs are no row of classes: {self.contract['outputs']}")
        order = np.argsort(-values, kind="stable")[:top]
        return [(self.labels[index] if self.labels else f"class {index}", float(values[index])) for index in order]

    def pixels(self, photograph: str | Path) -> Array:
        """``(height, width, channels)`` uint8 of the network's size, upright, resized as the contract says."""
        from PIL import Image, ImageOps

        rule = self.contract["preprocessing"]
        with Image.open(photograph) as opened:
            image = ImageOps.exif_transpose(opened).convert("L" if len(rule["mean"]) == 1 else "RGB")
        width, height = resized(image.size, rule)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = int((width - rule["size"][1]) / 2), int((height - rule["size"][0]) / 2)
        image = image.crop((left, top, left + rule["size"][1], top + rule["size"][0]))
        return np.asarray(image, np.uint8).reshape(*rule["size"], len(rule["mean"]))

    def as_input(self, pixels: Array) -> Array:
        """``(rows, height, width, channels)`` pixels in [0, 255], RGB, as the file takes them."""
        rule, spec = self.contract["preprocessing"], self.contract["input"]
        ordered = pixels[..., ::-1] if rule["channel_order"] == "BGR" else pixels
        values = ((ordered * rule["scale"] - np.array(rule["mean"])) / np.array(rule["std"])).astype(np.float32)
        kind = np.dtype(spec["dtype"])
        if kind.kind == "f":
            return values.astype(kind)
        steps = np.rint(values / np.float32(spec["scale"])) + spec["zero_point"] if "scale" in spec else np.rint(values)
        limits = np.iinfo(kind)
        return np.clip(steps, limits.min, limits.max).astype(kind)

    def run(self, rows: Array) -> list[Array]:
        """The outputs of each row, whatever batch the file has."""
        each = [self._model.run(np.repeat(row[None], self._batch, axis=0)) for row in rows]
        return [np.concatenate([outputs[place][:1] for outputs in each]) for place in range(len(each[0]))]

    def self_test(self) -> list[str]:
        """What differs from the golden files: nothing, if all is well."""
        golden = json.loads((self.folder / "golden" / "golden.json").read_text("utf-8"))
        spec = next(iter(golden["inputs"].values()))
        images, inputs = self._stored(golden["images"]), self._stored(spec)
        problems = compare("inputs", self.as_input(images), inputs, 1e-6)
        for (name, stored), found in zip(golden["outputs"].items(), self.run(inputs), strict=True):
            wanted = self._stored(stored)
            problems += compare(name, found, wanted, golden["tolerance"]["relative_to_largest"])
            if wanted.ndim == 2 and wanted.shape[1] > 1 and (found.argmax(1) != wanted.argmax(1)).any():
                problems.append(f"{name}: another class is the likeliest")
        return problems

    def _stored(self, spec: dict[str, Any]) -> Array:
        kind = np.dtype(spec["dtype"]).newbyteorder("<")
        return np.fromfile(self.folder / "golden" / spec["file"], kind).reshape(spec["shape"])


def resized(size: tuple[int, int], rule: dict[str, Any]) -> tuple[int, int]:
    """Width and height after the resize, before the centre is taken."""
    height, width = rule["size"]
    if rule["resize"] == "squash":
        return width, height
    if rule["resize"] == "pad":
        factor = min(width / size[0], height / size[1])
        return min(width, max(1, round(size[0] * factor))), min(height, max(1, round(size[1] * factor)))
    short = rule["resize_shorter_side"]
    factor = short / min(size)
    return max(short, round(size[0] * factor)), max(short, round(size[1] * factor))


def real(values: Array, spec: dict[str, Any]) -> Array:
    """The numbers that integers stand for; what is no integer stays."""
    if "scale" not in spec:
        return values
    return (values.astype(np.float32) - spec["zero_point"]) * np.float32(spec["scale"])


def compare(name: str, found: Array, wanted: Array, tolerance: float) -> list[str]:
    """A line if the largest difference is above ``tolerance`` of the largest value, or is no number."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype.newbyteorder("="):
        return [f"{name}: {found.dtype} {found.shape}, expected {wanted.dtype} {wanted.shape}"]
    difference = np.abs(found.astype(np.float64) - wanted).max()
    limit = tolerance * max(np.abs(wanted.astype(np.float64)).max(), 1e-30)
    return [] if difference <= limit else [f"{name}: differs by {difference:.6g}, expected at most {limit:.6g}"]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Class names of photographs.")
    parser.add_argument("photographs", nargs="*", metavar="IMAGE")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes per photograph (5)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="compute threads (2)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--self-test", action="store_true", help="check this machine against the golden files")
    options = parser.parse_args()
    if not options.photographs and not options.self_test:
        parser.error("expected an IMAGE, or --self-test")
    classifier = Classifier(threads=options.threads)
    if options.self_test:
        problems = classifier.self_test()
        sys.stdout.write("".join(f"{line}\n" for line in problems) or "self-test passed\n")
        return 1 if problems else 0
    found = {path: classifier.classify(path, options.top) for path in options.photographs}
    if options.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        return 0
    for path, classes in found.items():
        lines = [f"  {value:8.4f}  {name}\n" for name, value in classes]
        sys.stdout.write(f"{path}\n{''.join(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
