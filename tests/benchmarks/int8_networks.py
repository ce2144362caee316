"""Trained networks and photographs for the int8 comparison, and the two tasks that run in processes of their own.

`prepare` holds Keras: it writes what every quantizer starts from, and Keras's own answers. `evaluate` holds one
runtime: the answers of one file against Keras's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import int8_peers
import numpy as np
from evidence import figure

from kexport import runtimes
from kexport.errors import ArtifactError, UsageError
from kexport.evidence import accuracy
from kexport.images import photographs
from kexport.runtimes import Session, SessionOptions
from kexport.sources import catalog
from kexport.specs import Format, ModelSpec, WeightsSpec

CALIBRATION, EVALUATION, LABELS, KERAS = "calibration.npy", "evaluation.npy", "labels.npy", "keras.npy"
CALIBRATION_STEP = 10  # class indices that it divides calibrate, the others evaluate
SIDE = 224
BLOCK = 20
THREADS = 2
WITHOUT_DELEGATE = "cpu-builtin"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network with trained weights, and what its int8 files have to reach."""

    name: str
    application: str
    weights: str
    max_drop_points: float
    alpha: float | None = None
    min_agreement: float = 0.90
    min_mutual_agreement: float = 0.99

    def spec(self, lab: Path) -> ModelSpec:
        """The network as kexport names it."""
        return ModelSpec(
            application=self.application,
            alpha=self.alpha,
            input_shape=(SIDE, SIDE, 3),
            weights=WeightsSpec(kind="file", path=str(lab / self.weights)),
        )

    def arguments(self, lab: Path) -> list[str]:
        """The same on kexport's command line."""
        width = [] if self.alpha is None else ["--alpha", str(self.alpha)]
        shape = ["--input-shape", f"{SIDE},{SIDE},3"]
        return [self.application, *width, *shape, "--weights", str(lab / self.weights)]


NETWORKS = {
    network.name: network
    for network in (
        Network(
            name="MobileNet 0.25",
            application="MobileNet",
            alpha=0.25,
            weights="mobilenet_0.25_224.weights.h5",
            max_drop_points=0.5,
        ),
        Network(
            name="MobileNetV3Small",
            application="MobileNetV3Small",
            weights="mobilenetv3small_1.0_224.weights.h5",
            max_drop_points=1.0,
        ),
    )
}


def lab_folder() -> Path:
    """The folder of KEXPORT_LAB: weights, and photographs ``images/<class index>_*.jpg``. UsageError without it."""
    folder = Path(os.environ.get("KEXPORT_LAB", ""))
    if not os.environ.get("KEXPORT_LAB") or not (folder / "images").is_dir():
        raise UsageError(
            f"KEXPORT_LAB={os.environ.get('KEXPORT_LAB', '')!r}: expected a folder with images/ and weights",
            hint="KEXPORT_LAB=FOLDER python tests/benchmarks/int8_vs_peers.py",
        )
    return folder


def split(lab: Path) -> tuple[list[Path], list[Path]]:
    """The photographs that calibrate and those that evaluate, each in the order of the classes."""
    paths = sorted((lab / "images").glob("*.jpg"))
    chosen = [not class_index(path) % CALIBRATION_STEP for path in paths]
    calibration = [path for path, calibrates in zip(paths, chosen, strict=True) if calibrates]
    return calibration, [path for path, calibrates in zip(paths, chosen, strict=True) if not calibrates]


def class_index(path: Path) -> int:
    """The number that a photograph's name begins with."""
    return int(path.name.partition("_")[0])


def link(paths: Sequence[Path], folder: Path) -> Path:
    """A folder of links to the files: what `--calibration` and `--eval` read."""
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())
    return folder


def prepare(network: Network, lab: Path, folder: Path) -> dict[str, Any]:
    """Write the photographs as the network takes them, its labels, Keras's answers and the files of its exporters."""
    calibration, evaluation = split(lab)
    contract = catalog.preprocessing(catalog.application(network.application))
    for name, paths in ((CALIBRATION, calibration), (EVALUATION, evaluation)):
        images = [photographs.prepare(photographs.read(path, contract)[1], contract) for path in paths]
        np.save(folder / name, np.stack(images))
    np.save(folder / LABELS, np.array([class_index(path) for path in evaluation]))
    model = _build(network.spec(lab))
    answers = model.predict(np.load(folder / EVALUATION), batch_size=BLOCK, verbose=0)
    np.save(folder / KERAS, answers)
    export(model, folder)
    return {"calibration_images": len(calibration), "evaluation_images": len(evaluation)}


def _build(spec: ModelSpec) -> Any:
    from kexport.sources.build import build

    return build(spec)


def export(model: Any, folder: Path) -> None:
    """SavedModel, the converter's float file, and Keras's own ONNX."""
    import keras
    import tensorflow as tf

    saved = str(folder / int8_peers.SAVED_MODEL)
    signature = [keras.InputSpec(shape=(1, SIDE, SIDE, 3), dtype="float32", name="image")]
    model.export(saved, format="tf_saved_model", verbose=False, input_signature=signature)
    made = tf.lite.TFLiteConverter.from_saved_model(saved).convert()
    (folder / int8_peers.CONVERTER_TFLITE).write_bytes(made)
    model.export(str(folder / int8_peers.KERAS_ONNX), format="onnx", verbose=False)


def evaluate(path: Path, folder: Path, answers: Path) -> dict[str, Any]:
    """The file's answers to the evaluation photographs, kept in ``answers``, judged against Keras's.

    A file that its runtime refuses with its default delegate is told so, and run without it.
    """
    session, problem = opened(path)
    name, images = session.signature[0][0].name, np.load(folder / EVALUATION, mmap_mode="r")
    starts = range(0, len(images), BLOCK)
    blocks = [session.run_real({name: np.array(images[start : start + BLOCK])}) for start in starts]
    found = np.concatenate([next(iter(block.values())) for block in blocks])
    np.save(answers, found)
    labels = np.load(folder / LABELS).tolist()
    record = asdict(accuracy.measure([(np.load(folder / KERAS), found)], labels, softmax=True))
    return {
        "load_problem": problem.replace(str(path), path.name),
        "effective": session.effective,
        "operators": _operators(session),
        "accuracy": {key: figure(value) if isinstance(value, float) else value for key, value in record.items()},
    }


def opened(path: Path, *, threads: int = THREADS) -> tuple[Session, str]:
    """The session, and why it is not one with the default delegate; empty is good."""
    runtime = runtimes.for_format(Format(path.suffix.removeprefix(".")))
    try:
        return runtimes.open_session(runtime, path, options=SessionOptions(threads=threads)), ""
    except ArtifactError as error:
        if WITHOUT_DELEGATE not in runtime.devices:
            raise
        options = SessionOptions(device=WITHOUT_DELEGATE, threads=threads)
        return runtimes.open_session(runtime, path, options=options), error.message


def _operators(session: Session) -> dict[str, int] | None:
    """How many operators the delegate takes of how many; None where the runtime has no delegates."""
    from kexport.runtimes.litert import LitertSession

    if not isinstance(session, LitertSession):
        return None
    return {"delegated": sum(taken for _, taken in session.operators), "all": len(session.operators)}
