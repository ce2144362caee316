"""Train the network that ``kexport demo`` shows, on scikit-learn's handwritten digits; a few minutes on two cores.

Run from the repository, with ``pip install scikit-learn`` beside kexport's own packages::

    python tests/demo/train.py

It writes ``digits.keras`` (MobileNetV3Small of width 0.35 for 64 pixels, 10 classes) and ``digits.npz`` (the images
that the network has not seen, with their classes, and some that it has, for calibration) into kexport/pipeline/demo/.
The split, the order and the first weights are seeded; the figures that it prints are those of the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kexport.images import similarity
from kexport.images.similarity import Look
from kexport.pipeline.demo import digits

FOLDER = Path(digits.__file__).parent
SEED = 7
HELD_OUT, CALIBRATION = 540, 128  # at most so many are unlike those held out
WIDTH, EPOCHS, BATCH, RATE = 0.35, 80, 64, 2e-3
MOMENTUM = 0.9  # of the BatchNormalization: Keras's own 0.999 is for longer training


def main() -> None:
    """Train, measure on what was held out, write both files."""
    images, classes = _data()
    order = np.random.default_rng(SEED).permutation(len(images))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
    model = _trained(images[rest], classes[rest])
    right = model.predict(digits.enlarged(images[held_out]).astype(np.float32), verbose=0).argmax(1)
    print(f"held out: {np.mean(right == classes[held_out]):.4f} of {HELD_OUT}")
    model.save(FOLDER / digits.MODEL)
    known = _unlike(images[rest], images[held_out])
    known = rest[known[:CALIBRATION]]
    np.savez_compressed(
        FOLDER / digits.IMAGES, images=images[held_out], classes=classes[held_out], calibration=images[known]
    )
    for name in (digits.MODEL, digits.IMAGES):
        print(f"{name}: {(FOLDER / name).stat().st_size:,} bytes")


def _data() -> tuple[np.ndarray, np.ndarray]:
    """Dark ink on white paper, 8x8 uint8, and the digit."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.round(255 - found.images * 255 / 16).astype(np.uint8), found.target.astype(np.uint8)


def _unlike(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Places of the images whose bits alone are far from all of the others: digits look much alike."""
    looks = [[Look(bits=similarity.look(image).bits) for image in digits.enlarged(each)] for each in (images, others)]
    alike = {ours for ours, _ in similarity.near_pairs(*looks)}
    return np.array([place for place in range(len(images)) if place not in alike])


def _trained(images: np.ndarray, classes: np.ndarray) -> Any:
    import keras

    keras.utils.set_random_seed(SEED)
    model = _network()
    steps = EPOCHS * (len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(RATE / 10, steps, warmup_target=RATE, warmup_steps=steps // 20)
    loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(optimizer=keras.optimizers.AdamW(rate, weight_decay=1e-3), loss=loss, metrics=["accuracy"])
    rng = np.random.default_rng(SEED)
    large = digits.enlarged(images)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))[: len(images) // BATCH * BATCH]
        found = model.fit(_moved(large[order], rng), classes[order], batch_size=BATCH, shuffle=False, verbose=0)
        print(epoch, {name: round(values[0], 4) for name, values in found.history.items()}, flush=True)
    bare = _network()  # without the optimizer and its state
    bare.set_weights(model.get_weights())
    return bare


def _network() -> Any:
    import keras

    shape = (digits.SIDE, digits.SIDE, 3)
    model = keras.applications.MobileNetV3Small(input_shape=shape, alpha=WIDTH, weights=None, classes=10, name="digits")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    return model


def _moved(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image a little turned, scaled and shifted, on white paper."""
    from PIL import Image

    half = digits.SIDE / 2
    moved = []
    for image in images:
        angle, scale = rng.normal(0, 0.12), rng.uniform(0.88, 1.12)
        cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
        x, y = half + rng.uniform(-4, 4, 2)
        turn = (cosine, sine, half - cosine * x - sine * y, -sine, cosine, half + sine * x - cosine * y)
        made = Image.fromarray(image).transform(
            image.shape[:2], Image.Transform.AFFINE, turn, Image.Resampling.BILINEAR, fillcolor=(255, 255, 255)
        )
        moved.append(np.asarray(made))
    return np.stack(moved).astype(np.float32)


if __name__ == "__main__":
    main()
