"""The shape of Keras's own tutorial on trained backbones: augmentation, preprocess_input, backbone, head.

    python tests/benchmarks/dog_heads.py [--json parity/dog-heads.json]

Dog (ImageNet's classes 151 to 268) against not dog. The head is trained on half of the photographs of the lab, the
other half is held out. Both precisions of both formats are then fed with photographs through the artifact's own
contract alone, and compared with Keras photograph by photograph: at most one point of 100 may flip more than flips
back. One head has one probability, the other two classes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.places import LAB

DOGS = range(151, 269)
SIDE, POINTS, LEAST = 224, 1.0, 90.0
CALIBRATED = 100


def photographs() -> tuple[list[Path], np.ndarray]:
    """All photographs, and whether each shows a dog."""
    paths = sorted((LAB / "images").glob("*.jpg"))
    return paths, np.array([int(path.name[:4]) in DOGS for path in paths], np.float32)


def pixels(paths: list[Path]) -> np.ndarray:
    """The centres, as a training pipeline reads them."""
    from PIL import Image

    edge = (256 - SIDE) // 2
    box = (edge, edge, edge + SIDE, edge + SIDE)
    return np.stack([np.asarray(Image.open(path).convert("RGB").crop(box), np.uint8) for path in paths])


def mobilenet() -> tuple[Any, Any]:
    """MobileNet 0.25 without its head, and what scales for it."""
    import keras

    whole = keras.applications.MobileNet(alpha=0.25, input_shape=(SIDE, SIDE, 3), weights=None)
    whole.load_weights(LAB / "mobilenet_0.25_224.weights.h5")
    cut = next(layer for layer in whole.layers if type(layer).__name__ == "GlobalAveragePooling2D")
    return keras.Model(whole.input, cut.input, name="mobilenet"), keras.applications.mobilenet.preprocess_input


def efficientnet_lite0() -> tuple[Any, Any]:
    """EfficientNet-Lite0 without its head; it scales itself."""
    import keras

    whole = keras.saving.load_model(LAB / "efficientnetlite0.keras", compile=False)
    cut = next(layer for layer in reversed(whole.layers) if type(layer).__name__ == "GlobalAveragePooling2D")
    return keras.Model(whole.input, cut.input, name="lite0"), lambda value: value


def fine_tuned(backbone: Any, scale: Any, images: np.ndarray, dogs: np.ndarray, *, classes: int, name: str) -> Any:
    """The whole model; only the head was trained, on the features of the frozen backbone."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    backbone.trainable = False
    features = np.concatenate([
        np.asarray(backbone(scale(images[start : start + 25].astype(np.float32)), training=False)).mean(axis=(1, 2))
        for start in range(0, len(images), 25)
    ])  # fmt: skip
    head = layers.Dense(classes, activation="softmax" if classes > 1 else "sigmoid", name="dog")
    trained = keras.Sequential(
        [keras.Input(features.shape[1:]), layers.BatchNormalization(), layers.Dropout(0.2), head]
    )
    loss = "sparse_categorical_crossentropy" if classes > 1 else "binary_crossentropy"
    trained.compile(keras.optimizers.Adam(3e-3), loss=loss)
    trained.fit(features, dogs, epochs=60, batch_size=32, verbose=0)
    image = keras.Input((SIDE, SIDE, 3))
    augmentation = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)], name="augmentation")
    value = layers.GlobalAveragePooling2D()(backbone(scale(augmentation(image)), training=False))
    return keras.Model(image, trained(value, training=False), name=name)


def folder_of(paths: list[Path], folder: Path, dogs: np.ndarray | None = None) -> Path:
    """A folder of the photographs, or a table of them with their classes."""
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path)
    if dogs is None:
        return folder
    table = folder / "held-out.csv"
    table.write_text("".join(f"{path.name},{int(dog)}\n" for path, dog in zip(paths, dogs, strict=True)))
    return table


def measured(model: Any, calibration: Path, held_out: Path, folder: Path) -> list[dict[str, Any]]:
    """One row for each artifact."""
    import kexport

    records = kexport.export(
        model, formats=("onnx", "tflite"), schemes=("float32", "int8"), calibration=calibration, eval=held_out,
        output=folder,
    )  # fmt: skip
    return [row(record) for record in records]


def row(record: Any) -> dict[str, Any]:
    """What is judged of one artifact."""
    found = record.accuracy
    told = {"model": record.model, "format": record.format, "scheme": record.scheme, "status": str(record.status)}
    if found is None:
        return {**told, "reason": record.reason}
    return {
        **told, "contract": record.source.preprocessing.mode, "images": found.images,
        "keras": 100 * found.keras_top1, "artifact": 100 * found.top1, "drop_points": found.top1_drop_points,
        "right_to_wrong": found.right_to_wrong, "wrong_to_right": found.wrong_to_right, "caveats": list(found.caveats),
        "met": found.keras_top1 * 100 >= LEAST and abs(found.top1_drop_points) <= POINTS and record.status == "PASS",
    }  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """What a reader sees of it."""
    head = "| model | format | scheme | Keras % | artifact % | drop, points | right to wrong | wrong to right | met |"
    lines = "\n".join(f"| {' | '.join(cells(each))} |" for each in found["rows"])
    return "\n".join([
        "# Heads on trained backbones",
        "",
        "Augmentation, `preprocess_input`, backbone, head, as Keras's tutorial builds it: dog or not. The head is",
        f"trained on half of 500 photographs; {found['dogs']} of the 250 held out show dogs. Each artifact is fed",
        "through its own contract alone (`tests/benchmarks/dog_heads.py`).",
        "",
        head,
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
        lines,
        "",
    ])  # fmt: skip


def cells(each: dict[str, Any]) -> list[str]:
    """One line of the table."""
    which = [each["model"], each["format"], each["scheme"]]
    if "keras" not in each:
        return [*which, f"{each['status']}: {each['reason']}", "", "", "", "", "no"]
    return [
        *which, f"{each['keras']:.1f}", f"{each['artifact']:.1f}", f"{each['drop_points']:+.2f}",
        str(each["right_to_wrong"]), str(each["wrong_to_right"]), "yes" if each["met"] else "no",
    ]  # fmt: skip


def main() -> int:
    """Print the rows; 1 if one is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not LAB.is_dir():
        print(f"{LAB} is not there: KEXPORT_LAB names the folder of the lab")
        return 3
    paths, dogs = photographs()
    images = pixels(paths)
    train, held = np.arange(len(paths)) % 2 == 0, np.arange(len(paths)) % 2 == 1
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        chosen = [path for path, kept in zip(paths, train, strict=True) if kept]
        calibration = folder_of(chosen[:: len(chosen) // CALIBRATED], folder / "calibration")
        out = [path for path, kept in zip(paths, held, strict=True) if kept]
        held_out = folder_of(out, folder / "held", dogs[held])
        for make, classes in ((mobilenet, 1), (efficientnet_lite0, 2)):
            name = f"dog-{make.__name__}"
            model = fine_tuned(*make(), images[train], dogs[train], classes=classes, name=name)
            rows += measured(model, calibration, held_out, folder / "out")
            print(json.dumps(rows[-4:], indent=1), flush=True)
    if options.json:
        found = {"dogs": int(dogs[held].sum()), "rows": rows}
        options.json.write_text(json.dumps(found, indent=1) + os.linesep)
        options.json.with_suffix(".md").write_text(page(found))
    return 0 if all(each.get("met") for each in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
